//! `hoist system …`: what the engine stores, as a whole.

pub(crate) mod check;

use crate::commands::Ctx;
use crate::error::{Exit, Result};

/// Look after what is stored
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Check(check::Args),
}

pub(crate) async fn run(ctx: &Ctx, command: &Command) -> Result<Exit> {
    match command {
        Command::Check(args) => check::run(ctx, args).await,
    }
}
