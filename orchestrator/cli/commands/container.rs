//! `hoist container …`: containers apart from any stack.

use crate::commands::prune;
use crate::ctx::Ctx;
use crate::error::{Exit, Result};

/// Look after containers
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Remove all stopped containers
    Prune(prune::Args),
}

pub(crate) async fn run(ctx: &Ctx, command: &Command) -> Result<Exit> {
    match command {
        Command::Prune(args) => prune::containers(ctx, args).await,
    }
}
