//! `hoist engine`: the long-lived process, in the foreground.

use std::time::Duration;

use hoist_server::EngineConfig;

use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};

/// Run the engine in the foreground; other commands start one by themselves
///
/// HOIST_LOG sets what is logged to standard error, or to engine.log in the data root of an engine that was started by
/// itself: error, warn (the default), info, debug or trace, also for single parts, as in `warn,hoist_network=debug`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Leave after this many seconds without anything to supervise; 0: stay
    #[arg(long, value_name = "SECONDS")]
    idle_exit: Option<u64>,
}

pub(crate) fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let mut config = EngineConfig::new(ctx.settings.places.clone());
    match args.idle_exit {
        None => {}
        Some(0) => config.idle_exit = None,
        Some(seconds) => config.idle_exit = Some(Duration::from_secs(seconds)),
    }
    hoist_server::serve(config).map_err(|error| Failure::from(anyhow::Error::new(error)))?;
    Ok(Exit::OK)
}
