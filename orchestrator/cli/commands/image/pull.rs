//! `hoist image pull`.

use crate::credentials;
use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};
use crate::options::ProgressMode;

/// Pull an image from its registry
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Platform in place of this machine's, as OS/ARCH[/VARIANT]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Every platform that there is
    #[arg(long, conflicts_with = "platform")]
    all_platforms: bool,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let client = ctx.client().await?;
    let auth = credentials::of_images([args.image.as_str()])
        .map_err(|error| Failure::from(anyhow::Error::new(error)))?;
    let platform = if args.all_platforms {
        Some("all")
    } else {
        args.platform.as_deref()
    };
    let stream = client.pull_image(&args.image, platform, &auth).await?;
    let quiet = ctx.with_ui(ctx.ui.with_progress(ProgressMode::Quiet));
    super::show(if args.quiet { &quiet } else { ctx }, &args.image, stream).await?;
    ctx.ui.line(&args.image)?;
    Ok(Exit::OK)
}
