//! `hoist image import`, also as `hoist import`: an image of one layer from an archive of files.

use std::path::PathBuf;

use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};
use crate::target;

/// Make an image of a tar archive of files
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The archive, plain or compressed; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Name of the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
    /// Dockerfile instruction that changes the image's settings (can be repeated)
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    changes: Vec<String>,
    /// What to write into the history
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Platform of the image (default: this machine's)
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let mut terms: Vec<(&str, String)> = Vec::new();
    terms.extend(args.name.iter().map(|name| ("repo", name.clone())));
    terms.extend(args.message.iter().map(|text| ("message", text.clone())));
    terms.extend(args.platform.iter().map(|text| ("platform", text.clone())));
    terms.extend(
        args.changes
            .iter()
            .map(|change| ("changes", change.clone())),
    );
    let archive = target::source(Some(&args.file)).await?;
    let mut lines = ctx.client().await?.import_image(&terms, archive).await?;
    while let Some(line) = lines.next().await? {
        if let Some(error) = line.error {
            return Err(Failure::user(error));
        }
        if let Some(id) = line.status {
            ctx.ui.line(id)?;
        }
    }
    Ok(Exit::OK)
}
