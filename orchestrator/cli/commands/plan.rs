//! `hoist plan`: what `up` would do, without doing it. The plans of other verbs are printed by `--dry-run`.

use hoist_scheduler::Verb;

use crate::commands::up;
use crate::ctx::Ctx;
use crate::error::{Exit, Result};
use crate::options::PlanForm;
use crate::{apply, render};

/// Show what `up` would do and why; exit code 2 when there is something to do
///
/// Exit code 1 when it cannot be done; the plan then begins with the reasons.
/// The plan of another command is printed by --dry-run: `hoist --dry-run down -v`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    options: up::UpOptions,
    /// Form of the output
    #[arg(long, value_enum, default_value = "text")]
    format: PlanForm,
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let loaded = args.options.load(ctx)?;
    let request = apply::request(&loaded, Verb::Up(args.options.up(ctx)))?;
    let plan = apply::plan(ctx, &request).await?;
    ctx.ui
        .data(render::plan::printed(&plan, args.format, ctx.ui))?;
    Ok(match plan.steps {
        _ if apply::has_problems(&plan) => Exit::PROBLEMS,
        0 => Exit::OK,
        _ => Exit::CHANGES,
    })
}
