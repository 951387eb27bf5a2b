//! `hoist image save`, also as `hoist save`: images as one archive.

use std::path::PathBuf;

use crate::ctx::Ctx;
use crate::error::{Exit, Result};
use crate::target::Target;

/// Save images to an archive that hoist, docker and podman load
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names or ids; a repository without a tag means all of its tags
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// File to write (default: standard output)
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let mut target = Target::open(ctx.ui, args.output.as_deref())?;
    let mut archive = ctx.client().await?.save_images(&args.images).await?;
    while let Some(bytes) = archive.next().await? {
        target.write(&bytes)?;
    }
    target.finish()?;
    Ok(Exit::OK)
}
