//! `hoist network connect` and `disconnect`: containers and networks apart from any stack.

use hoist_api::{EndpointAddresses, EndpointConfig, NetworkConnect, NetworkDisconnect};

use super::pairs::{pair, table};
use crate::ctx::Ctx;
use crate::error::{Exit, Result};

#[derive(Debug, clap::Args)]
pub(crate) struct ConnectArgs {
    /// Name or id
    network: String,
    /// Name or id
    container: String,
    /// Another name of the container on this network (can be repeated)
    #[arg(long = "alias")]
    aliases: Vec<String>,
    /// Address on this network; a free one unless given
    #[arg(long)]
    ip: Option<String>,
    /// Refused: networks are of IPv4
    #[arg(long, hide = true)]
    ip6: Option<String>,
    /// Refused: give the other container an alias
    #[arg(long = "link", hide = true)]
    links: Vec<String>,
    /// Refused
    #[arg(long = "driver-opt", hide = true, value_parser = pair)]
    options: Vec<(String, String)>,
    /// Refused
    #[arg(long = "link-local-ip", hide = true)]
    link_local: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DisconnectArgs {
    /// Name or id
    network: String,
    /// Name or id
    container: String,
    /// As docker has it
    #[arg(short, long)]
    force: bool,
}

pub(super) async fn connect(ctx: &Ctx, args: &ConnectArgs) -> Result<Exit> {
    let addresses = EndpointAddresses {
        ipv4: args.ip.clone().unwrap_or_default(),
        ipv6: args.ip6.clone().unwrap_or_default(),
        link_local: args.link_local.clone(),
    };
    let config = EndpointConfig {
        ipam: addresses,
        aliases: args.aliases.clone(),
        links: args.links.clone(),
        driver_opts: table(&args.options),
        ..EndpointConfig::default()
    };
    let wanted = NetworkConnect {
        container: args.container.clone(),
        endpoint_config: config,
    };
    ctx.client()
        .await?
        .connect_network(&args.network, &wanted)
        .await?;
    Ok(Exit::OK)
}

pub(super) async fn disconnect(ctx: &Ctx, args: &DisconnectArgs) -> Result<Exit> {
    let wanted = NetworkDisconnect {
        container: args.container.clone(),
        force: args.force,
    };
    ctx.client()
        .await?
        .disconnect_network(&args.network, &wanted)
        .await?;
    Ok(Exit::OK)
}
