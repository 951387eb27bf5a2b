//! `hoist image inspect`.

use crate::commands::Ctx;
use crate::error::{Exit, Failure, Result};

/// Print everything that is known of images
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names or ids
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let client = ctx.client().await?;
    let mut found = Vec::new();
    for image in &args.images {
        let inspect = client.image(image).await?;
        found.push(serde_json::to_value(inspect).map_err(|error| Failure::from(anyhow::Error::new(error)))?);
    }
    ctx.ui.data(format!("{:#}\n", serde_json::Value::from(found)))?;
    Ok(Exit::OK)
}
