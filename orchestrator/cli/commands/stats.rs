//! `hoist stats`: what containers use, again and again.

use std::collections::BTreeMap;

use hoist_api::{ContainerSummary, Stats};
use hoist_client::{Client, ClientError};
use tokio::sync::mpsc;

use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};
use crate::render::stats::{self as show, Sample};
use crate::render::table::Listing;
use crate::signals::Interrupts;
use crate::{containers, project};

/// Show what containers use of the machine, again and again
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Stopped containers too
    #[arg(short, long)]
    all: bool,
    /// Form of the output: table, json, or a Go template such as '{{.Name}}'
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Listing,
    /// Show it once
    #[arg(long)]
    no_stream: bool,
    /// Do not shorten ids
    #[arg(long)]
    no_trunc: bool,
}

type Update = (String, Result<Stats, ClientError>);

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let project = project::find(&ctx.settings, ctx.ui, &args.services)?;
    let client = ctx.client().await?;
    let found = containers::of_services(&client, &project.name, &args.services, args.all).await?;
    let (sender, mut updates) = mpsc::channel(found.len().max(1));
    let running: Vec<_> = found
        .iter()
        .filter(|c| matches!(c.state.as_str(), "running" | "paused"))
        .collect();
    for container in &running {
        tokio::spawn(watch(
            client.clone(),
            container.id.clone(),
            !args.no_stream,
            sender.clone(),
        ));
    }
    drop(sender);
    let mut interrupts = Interrupts::listen()?;
    let mut latest: BTreeMap<String, Stats> = BTreeMap::new();
    let mut fresh = 0;
    loop {
        let update = tokio::select! {
            update = updates.recv() => update,
            () = interrupts.next() => return Ok(Exit::INTERRUPTED),
        };
        match update {
            Some((id, Ok(stats))) => {
                latest.insert(id, stats);
                fresh += 1;
            }
            // It went away in the meantime: what it used last is not what it uses.
            Some((id, Err(error))) if error.not_found() => drop(latest.remove(&id)),
            Some((_, Err(error))) => return Err(error.into()),
            None => {
                print(ctx, args, &found, &latest)?;
                return Ok(Exit::OK);
            }
        }
        if !args.no_stream && fresh >= running.len() {
            fresh = 0;
            print(ctx, args, &found, &latest)?;
        }
    }
}

/// Passes on a container's figures until it ends.
async fn watch(client: Client, id: String, stream: bool, updates: mpsc::Sender<Update>) {
    let mut figures = match client.container_stats(&id, stream).await {
        Ok(figures) => figures,
        Err(error) => return drop(updates.send((id, Err(error))).await),
    };
    loop {
        let update = match figures.next().await {
            Ok(Some(stats)) => Ok(stats),
            Ok(None) => return,
            Err(error) => Err(error),
        };
        if updates.send((id.clone(), update)).await.is_err() {
            return;
        }
    }
}

fn print(
    ctx: &Ctx,
    args: &Args,
    found: &[ContainerSummary],
    latest: &BTreeMap<String, Stats>,
) -> Result<()> {
    let nothing = Stats::default();
    let samples: Vec<Sample> = found
        .iter()
        .map(|c| {
            Sample::new(
                &c.id,
                c.name(),
                latest.get(&c.id).unwrap_or(&nothing),
                args.no_trunc,
            )
        })
        .collect();
    let text = args
        .format
        .text(|| show::table(&samples), &show::items(&samples))
        .map_err(Failure::user)?;
    let again = !args.no_stream && args.format.is_table() && crate::terminal::stdout_is_terminal();
    ctx.ui.data(if again {
        format!("{}{text}", show::CLEAR)
    } else {
        text
    })?;
    Ok(())
}
