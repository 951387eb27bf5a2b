//! `hoist image prune`: images that nothing uses.

use std::collections::BTreeSet;

use crate::commands::Ctx;
use crate::error::{Exit, Failure, Result};

/// Remove images that have no name and no container
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Remove images that have a name but no container too
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let client = ctx.client().await?;
    let used: BTreeSet<String> = client.containers(true, &[]).await?.into_iter().map(|c| c.image_id).collect();
    let mut unused = client.images().await?;
    unused.retain(|image| !used.contains(&image.id) && (args.all || image.repo_tags.is_empty()));
    if unused.is_empty() {
        return Ok(Exit::OK);
    }
    let which = if args.all { "all images without a container" } else { "all images without a name and a container" };
    if !args.force && !ctx.ui.confirm(&format!("This removes {which} ({}). Go on?", unused.len()))? {
        return Err(Failure::interrupted());
    }
    for image in &unused {
        for entry in client.remove_image(&image.id, true).await? {
            if let Some(id) = entry.deleted {
                ctx.ui.line(format!("Deleted: {id}"))?;
            }
        }
    }
    Ok(Exit::OK)
}
