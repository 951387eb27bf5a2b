//! `hoist network create`: networks that no stack declares.

use hoist_api::{IpamCreate, NetworkCreate, PoolCreate};

use super::pairs::{label, pair, table};
use crate::ctx::Ctx;
use crate::error::{Exit, Result};

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
