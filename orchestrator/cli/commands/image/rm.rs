//! `hoist image rm`, also as `hoist rmi`.

use crate::ctx::Ctx;
use crate::error::{Exit, Result};

/// Remove images
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names or ids
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// Remove even what has several names or is used by a stopped container
    #[arg(short, long)]
    force: bool,
}

/// All of them are tried; the first failure is the command's.
pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let client = ctx.client().await?;
    let mut failure = None;
    for image in &args.images {
        match client.remove_image(image, args.force).await {
            Ok(removed) => {
                for entry in removed {
                    if let Some(name) = entry.untagged {
                        ctx.ui.line(format!("Untagged: {name}"))?;
                    }
                    if let Some(id) = entry.deleted {
                        ctx.ui.line(format!("Deleted: {id}"))?;
                    }
                }
            }
            Err(error) => match failure {
                None => failure = Some(error),
                Some(_) => crate::error::Failure::from(error).report(ctx.ui),
            },
        }
    }
    match failure {
        None => Ok(Exit::OK),
        Some(error) => Err(error.into()),
    }
}
