//! `hoist builder …`: what builds keep.

use crate::commands::prune;
use crate::ctx::Ctx;
use crate::error::{Exit, Result};

/// Look after what builds keep
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Remove the build cache: layers of steps, downloads of ADD, folders of cache mounts (`--filter until=24h`: unused since)
    Prune(prune::Args),
}

pub(crate) async fn run(ctx: &Ctx, command: &Command) -> Result<Exit> {
    match command {
        Command::Prune(args) => prune::builder(ctx, args).await,
    }
}
