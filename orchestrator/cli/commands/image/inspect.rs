//! `hoist image inspect`.

use crate::ctx::Ctx;
use crate::error::{Exit, Result};

/// Print everything that is known of images
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names or ids
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// Which of the images of a name: OS/ARCH[/VARIANT] (default: this machine's)
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let client = ctx.client().await?;
    let mut found = Vec::new();
    for image in &args.images {
        found.push(client.image(image, args.platform.as_deref()).await?);
    }
    ctx.ui.documents(&found)?;
    Ok(Exit::OK)
}
