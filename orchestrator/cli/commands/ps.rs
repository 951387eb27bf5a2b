//! `hoist ps`: the stack's containers.

use std::collections::BTreeSet;

use clap::ValueEnum;
use hoist_api::ContainerSummary;
use jiff::Timestamp;

use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};
use crate::render::containers::{self as show, Shown};
use crate::render::table::Listing;
use crate::{containers, project};

/// List the stack's containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Containers of all projects (needs no Compose file)
    #[arg(long)]
    all_projects: bool,
    /// Stopped containers and one-off ones too
    #[arg(short, long)]
    all: bool,
    /// Form of the output: table, json, or a Go template such as '{{.Name}}'
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Listing,
    /// Only ids
    #[arg(short, long, conflicts_with = "list_services")]
    quiet: bool,
    /// Only names of services
    #[arg(long = "services")]
    list_services: bool,
    /// Only containers in this state (can be repeated)
    #[arg(long, value_enum, value_name = "STATE")]
    status: Vec<State>,
    /// Only containers in this state, as `status=STATE`
    #[arg(long, value_name = "FILTER", value_parser = status_filter)]
    filter: Vec<State>,
    /// Whether containers of services that the file does not have (any more) are listed
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true")]
    #[arg(default_missing_value = "true", action = clap::ArgAction::Set)]
    orphans: bool,
    /// Do not shorten ids and commands
    #[arg(long)]
    no_trunc: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    Created,
    Running,
    Paused,
    Restarting,
    Removing,
    Exited,
    Dead,
}

impl State {
    fn is(self, state: &str) -> bool {
        self.to_possible_value()
            .is_some_and(|value| value.matches(state, false))
    }
}

fn status_filter(text: &str) -> Result<State, String> {
    let state = text
        .strip_prefix("status=")
        .ok_or("only `status=STATE` is a filter here")?;
    State::from_str(state, false)
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let project = match args.all_projects {
        true => None,
        false => Some(project::find(&ctx.settings, ctx.ui, &args.services)?),
    };
    let client = ctx.client().await?;
    let wanted: Vec<State> = args.status.iter().chain(&args.filter).copied().collect();
    let all = args.all || wanted.iter().any(|state| *state != State::Running);
    let mut found = match &project {
        Some(project) => containers::of_project(&client, &project.name, all).await?,
        None => containers::of_all(&client, all).await?,
    };
    let loaded = project.and_then(|project| project.loaded);
    if !args.services.is_empty() && found.is_empty() && loaded.is_none() {
        return Err(Failure::user(format!(
            "no such service: {}",
            args.services[0]
        )));
    }
    let known: Option<BTreeSet<&String>> = loaded
        .as_ref()
        .map(|l| l.stack.services.keys().chain(&l.stack.inactive).collect());
    found.retain(|container| {
        let service = container.service();
        (args.all || !container.one_off())
            && (args.services.is_empty() || args.services.iter().any(|name| name == service))
            && (args.orphans
                || known
                    .as_ref()
                    .is_none_or(|known| known.iter().any(|name| *name == service)))
            && (wanted.is_empty() || wanted.iter().any(|state| state.is(&container.state)))
    });
    print(ctx, args, &found)?;
    Ok(Exit::OK)
}

fn print(ctx: &Ctx, args: &Args, found: &[ContainerSummary]) -> Result<()> {
    let ui = ctx.ui;
    if args.quiet {
        for container in found {
            ui.line(&container.id)?;
        }
    } else if args.list_services {
        let services: BTreeSet<_> = found.iter().map(ContainerSummary::service).collect();
        for service in services {
            ui.line(service)?;
        }
    } else {
        let shown: Vec<_> = found
            .iter()
            .map(|c| Shown::new(c, Timestamp::now(), args.no_trunc))
            .collect();
        let items: Vec<_> = shown.iter().map(Shown::json).collect();
        ui.data(
            args.format
                .text(|| show::table(&shown, args.all_projects), &items)
                .map_err(Failure::user)?,
        )?;
    }
    Ok(())
}
