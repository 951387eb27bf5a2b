//! `hoist image load`: images from an archive.

use std::path::PathBuf;

use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};
use crate::options::ProgressMode;

/// Load images from a docker or OCI archive
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The archive (default: standard input)
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let quiet = ctx.with_ui(ctx.ui.with_progress(ProgressMode::Quiet));
    let ctx = if args.quiet { &quiet } else { ctx };
    match &args.input {
        Some(path) => {
            let file = tokio::fs::File::open(path).await.map_err(|error| {
                Failure::from(
                    anyhow::Error::new(error).context(format!("cannot open {}", path.display())),
                )
            })?;
            let stream = ctx.client().await?.load_image(file).await?;
            super::show(ctx, &path.display().to_string(), stream).await?;
        }
        None => {
            let stream = ctx.client().await?.load_image(tokio::io::stdin()).await?;
            super::show(ctx, "standard input", stream).await?;
        }
    }
    Ok(Exit::OK)
}
