//! `hoist network …`: networks apart from any stack.

mod connect;
mod create;
mod pairs;

use hoist_object::short;

use crate::commands::prune;
use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};
use crate::render::table::{Listing, Table};

/// Look at networks, make and remove them
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List networks
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    /// Print everything that is known of networks
    Inspect(InspectArgs),
    /// Make a network that stacks can join as an external one
    Create(create::CreateArgs),
    /// Remove networks
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
    /// Let a container join a network
    Connect(connect::ConnectArgs),
    /// Take a container off a network
    Disconnect(connect::DisconnectArgs),
    /// Remove networks that no container has
    Prune(prune::Args),
}

#[derive(Debug, clap::Args)]
pub(crate) struct LsArgs {
    /// Form of the output: table, json, or a Go template such as '{{.Name}}'
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Listing,
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// Names or ids
    #[arg(value_name = "NETWORK", required = true)]
    networks: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RmArgs {
    /// Names or ids
    #[arg(value_name = "NETWORK", required = true)]
    networks: Vec<String>,
    /// Do not complain about networks that do not exist
    #[arg(short, long)]
    force: bool,
}

pub(crate) async fn run(ctx: &Ctx, command: &Command) -> Result<Exit> {
    match command {
        Command::Ls(args) => ls(ctx, args).await,
        Command::Inspect(args) => inspect(ctx, args).await,
        Command::Create(args) => create::create(ctx, args).await,
        Command::Rm(args) => rm(ctx, args).await,
        Command::Connect(args) => connect::connect(ctx, args).await,
        Command::Disconnect(args) => connect::disconnect(ctx, args).await,
        Command::Prune(args) => prune::networks(ctx, args).await,
    }
}

async fn ls(ctx: &Ctx, args: &LsArgs) -> Result<Exit> {
    let mut networks = ctx.client().await?.networks(&[]).await?;
    // Docker's predefined ones that no container is on exist in name only.
    networks.retain(|network| !network.ipam.config.is_empty());
    networks.sort_by(|a, b| a.name.cmp(&b.name));
    if args.quiet {
        for network in &networks {
            ctx.ui.line(short(&network.id))?;
        }
        return Ok(Exit::OK);
    }
    let item = |network: &hoist_api::NetworkInspect| {
        serde_json::json!({
            "ID": short(&network.id), "Name": network.name, "Driver": network.driver, "Scope": network.scope,
            "Internal": network.internal.to_string(),
        })
    };
    let items: Vec<_> = networks.iter().map(item).collect();
    let table = || {
        let mut table = Table::new(["NETWORK ID", "NAME", "DRIVER", "SCOPE"]);
        networks
            .into_iter()
            .for_each(|n| table.row([short(&n.id).to_owned(), n.name, n.driver, n.scope]));
        table.to_string()
    };
    ctx.ui
        .data(args.format.text(table, &items).map_err(Failure::user)?)?;
    Ok(Exit::OK)
}

async fn inspect(ctx: &Ctx, args: &InspectArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    let mut found = Vec::new();
    for network in &args.networks {
        found.push(client.network(network).await?);
    }
    ctx.ui.documents(&found)?;
    Ok(Exit::OK)
}

/// All of them are tried; the first failure is the command's.
async fn rm(ctx: &Ctx, args: &RmArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    let mut failure = None;
    for network in &args.networks {
        match client.remove_network(network).await {
            Ok(()) => ctx.ui.line(network)?,
            Err(error) if args.force && error.not_found() => {}
            Err(error) if failure.is_none() => failure = Some(error),
            Err(error) => Failure::from(error).report(ctx.ui),
        }
    }
    match failure {
        None => Ok(Exit::OK),
        Some(error) => Err(error.into()),
    }
}
