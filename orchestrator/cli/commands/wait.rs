//! `hoist wait`: until containers stop.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hoist_scheduler::{Down, Verb};

use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};
use crate::signals::Interrupts;
use crate::{apply, containers, project};

/// Wait until containers stop, and exit with their code
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Services to wait for
    #[arg(value_name = "SERVICE", required = true)]
    services: Vec<String>,
    /// Take the whole stack down when the first container stops
    #[arg(long)]
    down_project: bool,
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let project = project::find(&ctx.settings, ctx.ui, &args.services)?;
    let client = ctx.client().await?;
    let found = containers::of_services(&client, &project.name, &args.services, true).await?;
    if found.is_empty() {
        return Err(Failure::user(format!(
            "no container of {}",
            args.services.join(", ")
        )));
    }
    let mut interrupts = Interrupts::listen()?;
    let mut waiting: FuturesUnordered<_> = found
        .iter()
        .map(async |container| {
            (
                container,
                client.wait_container(&container.id, "not-running").await,
            )
        })
        .collect();
    let mut exit = Exit::OK;
    loop {
        let stopped = tokio::select! {
            stopped = waiting.next() => stopped,
            () = interrupts.next() => return Err(Failure::interrupted()),
        };
        let Some((container, result)) = stopped else {
            return Ok(exit);
        };
        let code = result?.status_code;
        exit = Exit::of_container(code);
        ctx.ui.note(&format!(
            "container {:?} exited with status code {code}",
            container.name()
        ));
        ctx.ui.line(code.to_string())?;
        if args.down_project {
            apply::apply(
                ctx,
                &apply::request_on(&project, Verb::Down(Down::default())),
            )
            .await?;
            return Ok(exit);
        }
    }
}
