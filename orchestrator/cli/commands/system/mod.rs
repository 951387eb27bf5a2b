//! `hoist system …`: what the engine stores, as a whole.

pub(crate) mod check;
pub(crate) mod df;

use crate::commands::prune;
use crate::ctx::Ctx;
use crate::error::{Exit, Result};

/// Look after what is stored
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Check(check::Args),
    Df(df::Args),
    /// Remove what nothing uses: containers, networks, images, the build cache
    Prune(prune::SystemArgs),
}

pub(crate) async fn run(ctx: &Ctx, command: &Command) -> Result<Exit> {
    match command {
        Command::Check(args) => check::run(ctx, args).await,
        Command::Df(args) => df::run(ctx, args).await,
        Command::Prune(args) => prune::system(ctx, args).await,
    }
}
