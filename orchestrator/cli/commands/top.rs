//! `hoist top`: the processes of containers.

use crate::ctx::Ctx;
use crate::error::{Exit, Result};
use crate::render::table::Table;
use crate::{containers, project};

/// Show the processes of containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let project = project::find(&ctx.settings, ctx.ui, &args.services)?;
    let client = ctx.client().await?;
    for container in containers::of_services(&client, &project.name, &args.services, false).await? {
        let top = client.container_top(&container.id).await?;
        let mut table = Table::of(top.titles);
        top.processes
            .into_iter()
            .for_each(|process| table.push(process));
        ctx.ui.data(format!("{}\n{table}\n", container.name()))?;
    }
    Ok(Exit::OK)
}
