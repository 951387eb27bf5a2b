//! `hoist network create`, `rm`, `connect` and `disconnect`: networks that no stack declares.

use std::collections::BTreeMap;

use hoist_api::{
    EndpointAddresses, EndpointConfig, IpamCreate, NetworkConnect, NetworkCreate, NetworkDisconnect, PoolCreate,
};

use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};

#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// Name of the network
    name: String,
    /// Driver: bridge is the only one
    #[arg(short, long, default_value = "bridge")]
    driver: String,
    /// Subnet, such as 10.1.0.0/24; a free one unless given
    #[arg(long)]
    subnet: Option<String>,
    /// Part of the subnet that containers are given addresses of
    #[arg(long = "ip-range", value_name = "RANGE", requires = "subnet")]
    ip_range: Option<String>,
    /// Address of the gateway; the first of the subnet unless given
    #[arg(long, requires = "subnet")]
    gateway: Option<String>,
    /// Address that no container is given, such as router=10.1.0.5 (can be repeated)
    #[arg(long = "aux-address", value_name = "NAME=ADDRESS", value_parser = pair, requires = "subnet")]
    aux_addresses: Vec<(String, String)>,
    /// No way out of the network
    #[arg(long)]
    internal: bool,
    /// Accepted: containers can always join
    #[arg(long)]
    attachable: bool,
    /// Label of the network (can be repeated)
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Option of the driver: com.docker.network.driver.mtu or com.docker.network.bridge.name (can be repeated)
    #[arg(short, long = "opt", value_name = "KEY=VALUE", value_parser = pair)]
    options: Vec<(String, String)>,
    /// Refused: networks are of IPv4
    #[arg(long, hide = true)]
    ipv6: bool,
    /// Refused unless it is `default`
    #[arg(long = "ipam-driver", hide = true, default_value = "default")]
    ipam_driver: String,
    /// Refused: of clusters
    #[arg(long, hide = true)]
    ingress: bool,
    /// Refused unless it is `local`
    #[arg(long, hide = true, default_value = "local")]
    scope: String,
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

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() { Err("a label needs a key".to_owned()) } else { Ok((key.to_owned(), value.to_owned())) }
}

pub(super) async fn create(ctx: &Ctx, args: &CreateArgs) -> Result<Exit> {
    let pool = args.subnet.as_ref().map(|subnet| PoolCreate {
        subnet: subnet.clone(),
        ip_range: args.ip_range.clone().unwrap_or_default(),
        gateway: args.gateway.clone().unwrap_or_default(),
        auxiliary_addresses: table(&args.aux_addresses),
    });
    let wanted = NetworkCreate {
        name: args.name.clone(),
        driver: args.driver.clone(),
        scope: args.scope.clone(),
        enable_ipv6: args.ipv6.then_some(true),
        internal: args.internal,
        attachable: args.attachable,
        ingress: args.ingress,
        ipam: IpamCreate {
            driver: args.ipam_driver.clone(),
            config: pool.into_iter().collect(),
            ..IpamCreate::default()
        },
        options: table(&args.options),
        labels: table(&args.labels),
        ..NetworkCreate::default()
    };
    let made = ctx.client().await?.create_network(&wanted).await?;
    ctx.ui.line(made.id)?;
    Ok(Exit::OK)
}

fn table(pairs: &[(String, String)]) -> BTreeMap<String, String> {
    pairs.iter().cloned().collect()
}

/// All of them are tried; the first failure is the command's.
pub(super) async fn rm(ctx: &Ctx, args: &RmArgs) -> Result<Exit> {
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
    let wanted = NetworkConnect { container: args.container.clone(), endpoint_config: config };
    ctx.client().await?.connect_network(&args.network, &wanted).await?;
    Ok(Exit::OK)
}

pub(super) async fn disconnect(ctx: &Ctx, args: &DisconnectArgs) -> Result<Exit> {
    let wanted = NetworkDisconnect { container: args.container.clone(), force: args.force };
    ctx.client().await?.disconnect_network(&args.network, &wanted).await?;
    Ok(Exit::OK)
}
