//! `hoist completion`: scripts for shells.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Cli;
use crate::commands::Ctx;
use crate::error::{Exit, Result};

/// Print the completion script of a shell
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Shell to complete in
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "hoist", &mut script);
    ctx.ui.data(script)?;
    Ok(Exit::OK)
}
