//! `hoist bundle …`: a stack in one file, for another machine.

pub(crate) mod inspect;
pub(crate) mod load;
pub(crate) mod save;

use crate::ctx::Ctx;
use crate::error::{Exit, Result};

/// Take a stack to another machine: images, volumes and the stack file in one file
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Save(save::Args),
    Load(load::Args),
    Inspect(inspect::Args),
}

pub(crate) async fn run(ctx: &Ctx, command: &Command) -> Result<Exit> {
    match command {
        Command::Save(args) => save::run(ctx, args).await,
        Command::Load(args) => load::run(ctx, args).await,
        Command::Inspect(args) => inspect::run(ctx, args),
    }
}
