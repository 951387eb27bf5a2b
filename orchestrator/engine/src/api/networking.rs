//! Networks outside of stacks, and containers that join and leave networks. Unsupported options are refused by name.

use std::net::{IpAddr, Ipv4Addr};

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use hoist_api::{NetworkConnect, NetworkCreate, NetworkCreated, NetworkDisconnect, PoolCreate};
use hoist_network::Mac;
use hoist_object::PREDEFINED_NETWORK;
use hoist_scheduler::network_spec;
use hoist_spec::model::{IpamPool, Network};

use super::{ApiError, ApiResult, App, objects};
use crate::actions::{self, StepError, Wish};
use crate::observe;

const MTU: &str = "com.docker.network.driver.mtu";
const BRIDGE: &str = "com.docker.network.bridge.name";

pub(super) async fn create(
    State(engine): App,
    Json(body): Json<NetworkCreate>,
) -> ApiResult<(StatusCode, Json<NetworkCreated>)> {
    let network = wanted(&body)?;
    let label = |name: &str| body.labels.get(&format!("com.docker.compose.{name}")).cloned().unwrap_or_default();
    let (project, key) = (label("project"), label("network"));
    // No plan may choose the same subnet concurrently.
    let planning = engine.turns.planning.lock().await;
    if engine
        .look({
            let name = body.name.clone();
            move |world| world.networks.contains_key(&name)
        })
        .await?
    {
        return Err(ApiError::new(StatusCode::CONFLICT, format!("network with name {} already exists", body.name)));
    }
    let observed =
        observe::for_networks(&engine).await.map_err(|error| StepError::engine(crate::error::chain(&error)))?;
    let spec = network_spec(&observed, (&project, &key), &network)
        .map_err(|problem| ApiError::new(StatusCode::FORBIDDEN, problem.to_string()))?;
    actions::create_network(&engine, &spec).await?;
    drop(planning);
    engine.store.durable(Vec::new()).await.map_err(StepError::from)?;
    let name = body.name.clone();
    let id = engine.look(move |world| world.networks.get(&name).map(|network| network.id.clone())).await?;
    let id = id.ok_or_else(|| objects::no_network(&body.name))?;
    Ok((StatusCode::CREATED, Json(NetworkCreated { id, warning: String::new() })))
}

fn wanted(body: &NetworkCreate) -> ApiResult<Network> {
    check_name(&body.name)?;
    let refused = [
        (!matches!(body.driver.as_str(), "" | "bridge" | "default"), format!("the network driver {:?}", body.driver)),
        (!matches!(body.scope.as_str(), "" | "local"), format!("the scope {:?}", body.scope)),
        (body.enable_ipv6 == Some(true), "IPv6".to_owned()),
        (body.enable_ipv4 == Some(false), "a network without IPv4".to_owned()),
        (body.ingress, "an ingress network".to_owned()),
        (body.config_only || has_source(body), "a configuration-only network".to_owned()),
        (!matches!(body.ipam.driver.as_str(), "" | "default"), format!("the IPAM driver {:?}", body.ipam.driver)),
        (!body.ipam.options.is_empty(), "options of the IPAM driver".to_owned()),
        (body.ipam.config.len() > 1, "more than one subnet".to_owned()),
    ];
    if let Some((_, what)) = refused.into_iter().find(|(wrong, _)| *wrong) {
        return Err(ApiError::bad(format!("{what}: not supported")));
    }
    for (option, value) in &body.options {
        match option.as_str() {
            MTU if value.parse::<u32>().is_ok_and(|mtu| (68..=65535).contains(&mtu)) => {}
            BRIDGE if hoist_spec::is_bridge_name(value) => {}
            MTU | BRIDGE => return Err(ApiError::bad(format!("{option}: {value:?} is not usable"))),
            other => return Err(ApiError::bad(format!("the option {other:?} of a network: not supported"))),
        }
    }
    Ok(Network {
        name: body.name.clone(),
        driver_opts: body.options.clone(),
        internal: body.internal,
        attachable: body.attachable,
        labels: body.labels.clone(),
        ipam_driver: Some(body.ipam.driver.clone()).filter(|driver| !driver.is_empty()),
        ipam: body.ipam.config.iter().map(pool).collect::<ApiResult<_>>()?,
        ..Network::default()
    })
}

/// Docker's clients send an empty source for none.
fn has_source(body: &NetworkCreate) -> bool {
    let named = |source: &serde_json::Value| {
        source.get("Network").and_then(|name| name.as_str()).is_some_and(|name| !name.is_empty())
    };
    body.config_from.as_ref().is_some_and(named)
}

fn check_name(name: &str) -> ApiResult<()> {
    if matches!(name, PREDEFINED_NETWORK | "host" | "none" | "default") {
        let text = format!("operation is not permitted on predefined {name} network");
        return Err(ApiError::new(StatusCode::FORBIDDEN, text));
    }
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if plain && name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric) && name.len() <= 255 {
        return Ok(());
    }
    Err(ApiError::bad(format!("{name:?} is not a name for a network: letters, digits, `_`, `.` and `-`")))
}

fn pool(pool: &PoolCreate) -> ApiResult<IpamPool> {
    let aux = pool.auxiliary_addresses.iter().map(|(name, at)| Ok((name.clone(), v4(at)?.into())));
    Ok(IpamPool {
        subnet: net("subnet", &pool.subnet)?.map(|net| net.trunc().into()),
        ip_range: net("IP range", &pool.ip_range)?.map(Into::into),
        gateway: (!pool.gateway.is_empty()).then(|| v4(&pool.gateway)).transpose()?.map(IpAddr::V4),
        aux_addresses: aux.collect::<ApiResult<_>>()?,
    })
}

fn net(what: &str, text: &str) -> ApiResult<Option<hoist_network::Ipv4Net>> {
    let parsed = (!text.is_empty()).then(|| text.parse()).transpose();
    parsed.map_err(|_| ApiError::bad(format!("{text:?} is not an IPv4 {what} like 10.1.0.0/16")))
}

fn v4(text: &str) -> ApiResult<Ipv4Addr> {
    text.parse().map_err(|_| ApiError::bad(format!("{text:?} is not an IPv4 address")))
}

pub(super) async fn connect(
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
        return Err(ApiError::bad(format!("{what} of a container on a network: not supported")));
    }
    let address = (!config.ipam.ipv4.is_empty()).then(|| v4(&config.ipam.ipv4)).transpose()?;
    let mac: Option<Mac> = (!config.mac_address.is_empty())
        .then(|| config.mac_address.parse())
        .transpose()
        .map_err(|error: hoist_network::InvalidMac| ApiError::bad(error.to_string()))?;
    let wish = Wish { address, mac: mac.map(|mac| mac.0), aliases: config.aliases };
    let (container, network) = found(&engine, &body.container, &name).await?;
    actions::connect(&engine, &container, &network, wish).await?;
    engine.store.durable(Vec::new()).await.map_err(StepError::from)?;
    Ok(StatusCode::OK)
}

/// `force` has no effect: only the engine's record and the kernel are involved.
pub(super) async fn disconnect(
    State(engine): App,
    Path(name): Path<String>,
    Json(body): Json<NetworkDisconnect>,
) -> ApiResult<StatusCode> {
    let (container, network) = found(&engine, &body.container, &name).await?;
    actions::disconnect(&engine, &container, &network).await?;
    engine.store.durable(Vec::new()).await.map_err(StepError::from)?;
    Ok(StatusCode::OK)
}

/// Id of the container and real name of the network.
async fn found(
    engine: &std::sync::Arc<crate::engine::Engine>,
    container: &str,
    network: &str,
) -> ApiResult<(String, String)> {
    let (wanted, whose) = (network.to_owned(), container.to_owned());
    let (known, id) = engine
        .look(move |world| {
            let known = world.network(&wanted).map(|network| network.name.clone());
            (known, world.resolve(&whose).map(|container| container.doc.id.clone()))
        })
        .await?;
    let known = known.ok_or_else(|| objects::no_network(network))?;
    Ok((id.ok_or_else(|| ApiError::no_container(container))?, known))
}
