//! `hoist image bootstrap`: a base image without a registry.

use crate::ctx::Ctx;
use crate::error::{Exit, Result};

/// Make a Debian base image from Debian's signed packages, for machines that reach no registry
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the image: debian:SUITE or debian:SUITE-slim
    #[arg(value_name = "IMAGE")]
    image: String,
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let stream = ctx.client().await?.bootstrap_image(&args.image).await?;
    super::show(ctx, &args.image, stream).await?;
    ctx.ui.line(&args.image)?;
    Ok(Exit::OK)
}
