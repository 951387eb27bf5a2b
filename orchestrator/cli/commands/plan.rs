//! `hoist plan`: what a verb would do, without doing it.

use clap::{Parser, ValueEnum};
use hoist_api::ApplyRequest;
use hoist_scheduler::Verb;
use serde_json::Value;

use crate::args::{Cli, Command};
use crate::commands::{self, Ctx, up};
use crate::error::{Exit, Failure, Result};
use crate::{apply, render};

/// Show what would be done and why; exit code 2 when there is something to do
///
/// Exit code 1 when it cannot be done; the plan then begins with the reasons.
/// Without a verb it is the plan of `up`. `hoist plan -- down -v` is the plan of that command.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    change: up::Change,
    /// Form of the output
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Another command to plan
    #[arg(last = true, value_name = "VERB")]
    verb: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let request = if args.verb.is_empty() {
        let loaded = args.change.load(ctx)?;
        apply::request(&loaded, Verb::Up(args.change.up(ctx)))?
    } else {
        request_of(ctx, &args.verb)?
    };
    let plan = ctx.client().await?.plan(&request).await?;
    ctx.ui.data(match args.format {
        Format::Text => render::plan::text(&plan, ctx.ui),
        Format::Json => render::plan::json(&plan),
    })?;
    let has_problems = plan.plan.get("problems").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    Ok(match plan.steps {
        _ if has_problems => Exit::PROBLEMS,
        0 => Exit::OK,
        _ => Exit::CHANGES,
    })
}

/// The request that another verb would send. Its options in front of the verb are this call's.
fn request_of(ctx: &Ctx, words: &[String]) -> Result<ApplyRequest> {
    let cli = Cli::try_parse_from(std::iter::once("hoist").chain(words.iter().map(String::as_str)))
        .map_err(|error| Failure::usage(&error))?;
    match &cli.command {
        Command::Up(args) => up::request(ctx, args),
        Command::Create(args) => commands::create::request(ctx, args),
        Command::Down(args) => commands::down::request(ctx, args),
        Command::Start(args) => commands::start::request(ctx, args),
        Command::Stop(args) => commands::stop::request(ctx, args),
        Command::Restart(args) => commands::restart::request(ctx, args),
        Command::Kill(args) => commands::kill::request(ctx, args),
        Command::Rm(args) => commands::rm::request(ctx, args),
        Command::Scale(args) => commands::scale::request(ctx, args),
        Command::Pause(args) => commands::pause::request(ctx, args),
        Command::Unpause(args) => commands::unpause::request(ctx, args),
        Command::Pull(args) => commands::pull::request(ctx, args),
        Command::Build(args) => commands::build::request(ctx, args),
        _ => Err(Failure::user(format!("`{}` has no plan", words.join(" ")))
            .hint("up, create, down, start, stop, restart, kill, rm, scale, pause, unpause, pull and build have one")),
    }
}
