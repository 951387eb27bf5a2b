//! `hoist export`: a container's files as a tar.

use std::path::PathBuf;

use crate::ctx::Ctx;
use crate::error::{Exit, Result};
use crate::target::Target;

/// Write the files of a service's container into a tar archive
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Service of the stack, or name or id of a container
    #[arg(value_name = "SERVICE")]
    container: String,
    /// File to write (default: standard output)
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The container with this number of the service
    #[arg(long, value_name = "NUMBER")]
    index: Option<u32>,
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let client = ctx.client().await?;
    let id = crate::containers::find_id(ctx, &client, &args.container, args.index).await?;
    let mut target = Target::open(ctx.ui, args.output.as_deref())?;
    let mut archive = client.export_container(&id).await?;
    while let Some(bytes) = archive.next().await? {
        target.write(&bytes)?;
    }
    target.finish()?;
    Ok(Exit::OK)
}
