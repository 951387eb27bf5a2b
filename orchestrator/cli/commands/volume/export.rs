//! `hoist volume export` and `import`: one volume as a tar.

use std::path::PathBuf;

use crate::ctx::Ctx;
use crate::error::{Exit, Result};
use crate::target::{self, Target};

#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// Name
    #[arg(value_name = "VOLUME")]
    volume: String,
    /// File to write (default: standard output)
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Let containers go on while the volume is read: what they write meanwhile may be torn
    #[arg(long)]
    live: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// Name; the volume is made when there is none
    #[arg(value_name = "VOLUME")]
    volume: String,
    /// A tar, plain or compressed (default: standard input)
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Drop what the volume has
    #[arg(long)]
    replace: bool,
}

pub(crate) async fn export(ctx: &Ctx, args: &ExportArgs) -> Result<Exit> {
    let mut target = Target::open(ctx.ui, args.output.as_deref())?;
    let (mut archive, paused) = ctx
        .client()
        .await?
        .export_volume(&args.volume, args.live)
        .await?;
    if !paused.is_empty() {
        ctx.ui.note(&format!(
            "{} paused while the volume is read",
            paused.join(", ")
        ));
    }
    while let Some(bytes) = archive.next().await? {
        target.write(&bytes)?;
    }
    target.finish()?;
    Ok(Exit::OK)
}

pub(crate) async fn import(ctx: &Ctx, args: &ImportArgs) -> Result<Exit> {
    let archive = target::source(args.file.as_deref()).await?;
    ctx.client()
        .await?
        .import_volume(&args.volume, args.replace, archive)
        .await?;
    ctx.ui.line(&args.volume)?;
    Ok(Exit::OK)
}
