//! `--dry-run`: the plan that a verb would carry out, without carrying it out. Owns which verbs have one.

use crate::args::{Cli, Command, PLANNED};
use crate::commands::{self, image};
use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};
use crate::options::PlanForm;
use crate::{apply, render};

pub(crate) async fn run(ctx: &Ctx, cli: &Cli, form: PlanForm) -> Result<Exit> {
    let request = match &cli.command {
        Command::Up(args) => commands::up::request(ctx, args),
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
        Command::Run(args) => commands::run::request(ctx, args),
        Command::Pull(args) => commands::pull::request(ctx, args),
        Command::Build(args) => commands::build::request(ctx, args),
        // These print by themselves what they would do.
        Command::Plan(args) => return commands::plan::run(ctx, args).await,
        Command::Push(args) => return commands::push::run(ctx, args).await,
        Command::Lock(args) => return commands::lock::run(ctx, args).await,
        Command::Image(image::Command::Build(args)) => return image::build::run(ctx, args).await,
        _ => return Err(refusal(&cli.verb)),
    };
    let plan = apply::plan(ctx, &request?).await?;
    ctx.ui.data(render::plan::printed(&plan, form, ctx.ui))?;
    Ok(if apply::has_problems(&plan) {
        Exit::PROBLEMS
    } else {
        Exit::OK
    })
}

fn refusal(verb: &str) -> Failure {
    Failure::user(format!(
        "`{verb}` has no plan, so there is nothing that --dry-run could print"
    ))
    .hint(format!(
        "{}, push, lock and image build can be tried with --dry-run",
        PLANNED.join(", ")
    ))
}
