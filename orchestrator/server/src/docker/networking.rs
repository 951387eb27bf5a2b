//! Networks outside of stacks, and containers that join and leave networks. Unsupported options are refused by name.

use std::net::{IpAddr, Ipv4Addr};

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use hoist_api::{NetworkConnect, NetworkCreate, NetworkCreated, NetworkDisconnect, PoolCreate};
use hoist_engine::{Endpoint, parse_mac};
use hoist_spec::model::{IpamPool, Network};
use ipnet::Ipv4Net;

use crate::answer::{ApiError, ApiResult, App};

const MTU: &str = "com.docker.network.driver.mtu";
const BRIDGE: &str = "com.docker.network.bridge.name";

pub(crate) async fn create(
    State(engine): App,
    Json(body): Json<NetworkCreate>,
) -> ApiResult<(StatusCode, Json<NetworkCreated>)> {
    let network = wanted(&body)?;
    let label = |name: &str| {
        body.labels
            .get(&format!("com.docker.compose.{name}"))
            .cloned()
            .unwrap_or_default()
    };
    let id = engine
        .create_network(&network, &label("project"), &label("network"))
        .await?;
    Ok((
        StatusCode::CREATED,
        Json(NetworkCreated {
            id,
            warning: String::new(),
        }),
    ))
}

fn wanted(body: &NetworkCreate) -> ApiResult<Network> {
    let refused = [
        (
            !matches!(body.driver.as_str(), "" | "bridge" | "default"),
            format!("the network driver {:?}", body.driver),
        ),
        (
            !matches!(body.scope.as_str(), "" | "local"),
            format!("the scope {:?}", body.scope),
        ),
        (body.enable_ipv6 == Some(true), "IPv6".to_owned()),
        (
            body.enable_ipv4 == Some(false),
            "a network without IPv4".to_owned(),
        ),
        (body.ingress, "an ingress network".to_owned()),
        (
            body.config_only || has_source(body),
            "a configuration-only network".to_owned(),
        ),
        (
            !matches!(body.ipam.driver.as_str(), "" | "default"),
            format!("the IPAM driver {:?}", body.ipam.driver),
        ),
        (
            !body.ipam.options.is_empty(),
            "options of the IPAM driver".to_owned(),
        ),
        (
            body.ipam.config.len() > 1,
            "more than one subnet".to_owned(),
        ),
    ];
    if let Some((_, what)) = refused.into_iter().find(|(wrong, _)| *wrong) {
        return Err(ApiError::bad(format!("{what}: not supported")));
    }
    for (option, value) in &body.options {
        match option.as_str() {
            MTU if value
                .parse::<u32>()
                .is_ok_and(|mtu| (68..=65535).contains(&mtu)) => {}
            BRIDGE if hoist_spec::is_bridge_name(value) => {}
            MTU | BRIDGE => {
                return Err(ApiError::bad(format!("{option}: {value:?} is not usable")));
            }
            other => {
                return Err(ApiError::bad(format!(
                    "the option {other:?} of a network: not supported"
                )));
            }
        }
    }
    Ok(Network {
        name: body.name.clone(),
        driver_opts: body.options.clone(),
        internal: body.internal,
        attachable: body.attachable,
        labels: body.labels.clone(),
        ipam_driver: Some(body.ipam.driver.clone()).filter(|driver| !driver.is_empty()),
        ipam: body
            .ipam
            .config
            .iter()
            .map(pool)
            .collect::<ApiResult<_>>()?,
        ..Network::default()
    })
}

/// Docker's clients send an empty source for none.
fn has_source(body: &NetworkCreate) -> bool {
    let named = |source: &serde_json::Value| {
        source
            .get("Network")
            .and_then(|name| name.as_str())
            .is_some_and(|name| !name.is_empty())
    };
    body.config_from.as_ref().is_some_and(named)
}

fn pool(pool: &PoolCreate) -> ApiResult<IpamPool> {
    let aux = pool
        .auxiliary_addresses
        .iter()
        .map(|(name, at)| Ok((name.clone(), v4(at)?.into())));
    Ok(IpamPool {
        subnet: net("subnet", &pool.subnet)?.map(|net| net.trunc().into()),
        ip_range: net("IP range", &pool.ip_range)?.map(Into::into),
        gateway: (!pool.gateway.is_empty())
            .then(|| v4(&pool.gateway))
            .transpose()?
            .map(IpAddr::V4),
        aux_addresses: aux.collect::<ApiResult<_>>()?,
    })
}

fn net(what: &str, text: &str) -> ApiResult<Option<Ipv4Net>> {
    let parsed = (!text.is_empty()).then(|| text.parse()).transpose();
    parsed.map_err(|_| ApiError::bad(format!("{text:?} is not an IPv4 {what} like 10.1.0.0/16")))
}

fn v4(text: &str) -> ApiResult<Ipv4Addr> {
    text.parse()
        .map_err(|_| ApiError::bad(format!("{text:?} is not an IPv4 address")))
}

pub(crate) async fn connect(
    State(engine): App,
    Path(name): Path<String>,
    Json(body): Json<NetworkConnect>,
) -> ApiResult<StatusCode> {
    let config = body.endpoint_config;
    let refused = [
        (!config.links.is_empty(), "links"),
        (!config.driver_opts.is_empty(), "driver options"),
        (config.gw_priority != 0, "a gateway priority"),
        (!config.ipam.ipv6.is_empty(), "an IPv6 address"),
        (!config.ipam.link_local.is_empty(), "link-local addresses"),
    ];
    if let Some((_, what)) = refused.into_iter().find(|(wrong, _)| *wrong) {
        return Err(ApiError::bad(format!(
            "{what} of a container on a network: not supported"
        )));
    }
    let address = (!config.ipam.ipv4.is_empty())
        .then(|| v4(&config.ipam.ipv4))
        .transpose()?;
    let mac = (!config.mac_address.is_empty())
        .then(|| parse_mac(&config.mac_address))
        .transpose()?;
    engine
        .connect(
            &body.container,
            &name,
            Endpoint {
                address,
                mac,
                aliases: config.aliases,
            },
        )
        .await?;
    Ok(StatusCode::OK)
}

/// `force` has no effect: only the engine's record and the kernel are involved.
pub(crate) async fn disconnect(
    State(engine): App,
    Path(name): Path<String>,
    Json(body): Json<NetworkDisconnect>,
) -> ApiResult<StatusCode> {
    engine.disconnect(&body.container, &name).await?;
    Ok(StatusCode::OK)
}
