//! `hoist image tag`.

use crate::ctx::Ctx;
use crate::error::{Exit, Result};

/// Give an image one more name
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name or id of the image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The new name; without a tag, `latest`
    #[arg(value_name = "NAME")]
    name: String,
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    ctx.client()
        .await?
        .tag_image(&args.image, &args.name)
        .await?;
    Ok(Exit::OK)
}
