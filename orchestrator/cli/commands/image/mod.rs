//! `hoist image …`: the images in the engine's store, apart from any stack.

pub(crate) mod artifacts;
pub(crate) mod bootstrap;
pub(crate) mod build;
pub(crate) mod history;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod load;
pub(crate) mod ls;
mod options;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod rm;
pub(crate) mod save;
mod stdin;
pub(crate) mod tag;

use hoist_api::{PullLine, PushResult};
use hoist_client::JsonStream;

use crate::commands::prune;
use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};
use crate::render::progress::Progress;
use crate::signals::Interrupts;

/// Manage the images in the store
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    Inspect(inspect::Args),
    Rm(rm::Args),
    Pull(pull::Args),
    Push(push::Args),
    Tag(tag::Args),
    Load(load::Args),
    Save(save::Args),
    Bootstrap(bootstrap::Args),
    Build(Box<build::Args>),
    /// Remove images that nothing uses
    Prune(prune::ImageArgs),
    History(history::Args),
    Artifacts(artifacts::Args),
    Import(import::Args),
}

pub(crate) async fn run(ctx: &Ctx, command: &Command) -> Result<Exit> {
    match command {
        Command::Ls(args) => ls::run(ctx, args).await,
        Command::Inspect(args) => inspect::run(ctx, args).await,
        Command::Rm(args) => rm::run(ctx, args).await,
        Command::Pull(args) => pull::run(ctx, args).await,
        Command::Push(args) => push::run(ctx, args).await,
        Command::Tag(args) => tag::run(ctx, args).await,
        Command::Load(args) => load::run(ctx, args).await,
        Command::Save(args) => save::run(ctx, args).await,
        Command::Bootstrap(args) => bootstrap::run(ctx, args).await,
        Command::Build(args) => build::run(ctx, args).await,
        Command::Prune(args) => prune::images(ctx, args).await,
        Command::Artifacts(args) => artifacts::run(ctx, args).await,
        Command::History(args) => history::run(ctx, args).await,
        Command::Import(args) => import::run(ctx, args).await,
    }
}

/// Shows a stream of pull lines up to its end, which may be an error; a push ends with what the registry has now.
async fn show(
    ctx: &Ctx,
    subject: &str,
    mut stream: JsonStream<PullLine>,
) -> Result<Option<PushResult>> {
    let mut interrupts = Interrupts::listen()?;
    let mut progress = Progress::new(ctx.ui);
    let mut pushed = None;
    loop {
        let line = tokio::select! {
            line = stream.next() => line?,
            () = interrupts.next() => return Err(Failure::interrupted()),
        };
        let Some(line) = line else { break };
        if let Some(error) = line.error {
            return Err(Failure::user(error));
        }
        match line.aux {
            Some(aux) => pushed = Some(aux),
            None => progress.pull(subject, &line),
        }
    }
    progress.finish();
    Ok(pushed)
}
