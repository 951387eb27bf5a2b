//! Networks that a container joins and leaves while it exists. Its record says so before the kernel does.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::sync::Arc;

use hoist_api::ErrorKind;
use hoist_network::{Endpoint, Mac};
use hoist_object::{Attachment, ContainerDoc, NetworkDoc};
use hoist_scheduler as scheduler;
use hoist_spec::model::NetworkMode;

use super::{StepError, blocking};
use crate::engine::Engine;
use crate::lower;
use crate::observe;
use crate::world::{Event, Phase};

/// What is asked for beside the network itself.
#[derive(Debug, Default)]
pub struct Wish {
    pub address: Option<Ipv4Addr>,
    pub mac: Option<[u8; 6]>,
    pub aliases: Vec<String>,
}

/// Both, at one moment.
struct Pair {
    doc: Arc<ContainerDoc>,
    mode: Option<NetworkMode>,
    /// Absent: it is down.
    pid: Option<i32>,
    network: NetworkDoc,
    observed: scheduler::Network,
}

pub(crate) async fn connect(
    engine: &Arc<Engine>,
    id: &str,
    network: &str,
    wish: Wish,
) -> Result<(), StepError> {
    // Addresses are given away one at a time.
    let _planning = engine.turns.planning.lock().await;
    let pair = look(engine, id, network).await?;
    let name = &pair.doc.record.name;
    let shares = matches!(
        pair.mode,
        Some(NetworkMode::Host | NetworkMode::Service(_) | NetworkMode::Container(_))
    );
    if shares || pair.mode == Some(NetworkMode::None) {
        let text = format!(
            "container {name} has no network namespace of its own that could join a network"
        );
        return Err(StepError::of(ErrorKind::Forbidden, text));
    }
    if pair
        .doc
        .record
        .networks
        .iter()
        .any(|attachment| attachment.network == network)
    {
        let text = format!("container {name} is in network {network} already");
        return Err(StepError::of(ErrorKind::Forbidden, text));
    }
    let attachment = attachment(&pair, wish)?;
    let mut networks = pair.doc.record.networks.clone();
    networks.push(attachment.clone());
    record(engine, &pair.doc, networks).await?;
    if let Some(pid) = pair.pid {
        let (joiner, doc, network) = (
            Arc::clone(engine),
            Arc::clone(&pair.doc),
            pair.network.clone(),
        );
        let joined = blocking(move || join(&joiner, &doc, &network, &attachment, pid)).await;
        if let Err(error) = joined {
            record(engine, &pair.doc, pair.doc.record.networks.clone()).await?;
            return Err(error);
        }
    }
    Ok(engine.wiring.settled().await.check(1)?)
}

pub(crate) async fn disconnect(
    engine: &Arc<Engine>,
    id: &str,
    network: &str,
) -> Result<(), StepError> {
    let _planning = engine.turns.planning.lock().await;
    let pair = look(engine, id, network).await?;
    let mut networks = pair.doc.record.networks.clone();
    let Some(position) = networks
        .iter()
        .position(|attachment| attachment.network == network)
    else {
        let text = format!(
            "container {} is not in network {network}",
            pair.doc.record.name
        );
        return Err(StepError::not_found(text));
    };
    let gone = networks.remove(position);
    let way_out = if gone.gateway.is_some() {
        other_gateway(engine, &mut networks).await?
    } else {
        None
    };
    record(engine, &pair.doc, networks).await?;
    engine.wiring.settled().await;
    let Some(pid) = pair.pid else { return Ok(()) };
    let (leaver, id, bridge) = (
        Arc::clone(engine),
        id.to_owned(),
        lower::bridge(&pair.network),
    );
    blocking(move || {
        leaver.net.leave(&id, &bridge)?;
        if let Some(gateway) = way_out {
            leaver
                .net
                .set_default_route(namespace(pid)?.as_fd(), gateway)?;
        }
        Ok(())
    })
    .await
}

async fn look(engine: &Arc<Engine>, id: &str, network: &str) -> Result<Pair, StepError> {
    let (wanted, whose) = (network.to_owned(), id.to_owned());
    let found = engine.look(move |world| {
        let container = world.containers.get(&whose)?;
        let starting = container.phase == Phase::Starting;
        let pair = Pair {
            doc: Arc::clone(&container.doc),
            mode: container.config.network_mode.clone(),
            pid: container.pid.filter(|_| container.phase.has_processes()),
            network: world.networks.get(&wanted)?.clone(),
            observed: observe::network(world, &wanted, "")?,
        };
        Some((pair, starting))
    });
    match found.await? {
        None => Err(StepError::not_found(format!(
            "container {id} or network {network} is gone"
        ))),
        Some((pair, true)) => Err(StepError::conflict(format!(
            "container {} is being started; try again",
            pair.doc.record.name
        ))),
        Some((pair, false)) => Ok(pair),
    }
}

fn attachment(pair: &Pair, wish: Wish) -> Result<Attachment, StepError> {
    let (network, record) = (&pair.observed, &pair.doc.record);
    let address = match wish.address {
        None => network.free_address().ok_or_else(|| {
            StepError::conflict(format!(
                "no free address is left in network {} ({})",
                network.name, network.subnet
            ))
        })?,
        Some(address) if network.is_free(address) => address,
        Some(address) => {
            let text = format!(
                "address {address} is not free in network {} ({})",
                network.name, network.subnet
            );
            return Err(StepError::conflict(text));
        }
    };
    let taken: BTreeSet<&str> = record
        .networks
        .iter()
        .map(|attachment| attachment.interface.as_str())
        .collect();
    let interface = (0..)
        .map(|number| format!("eth{number}"))
        .find(|name| !taken.contains(name.as_str()));
    let leads_out = record
        .networks
        .iter()
        .any(|attachment| attachment.gateway.is_some());
    let mut aliases = vec![record.name.clone()];
    aliases.extend(wish.aliases);
    Ok(Attachment {
        network: network.name.clone(),
        interface: interface.unwrap_or_default(),
        address,
        prefix: network.subnet.prefix_len(),
        gateway: (!leads_out && !network.internal).then_some(network.gateway),
        mac: wish.mac.unwrap_or_else(|| scheduler::mac(address)),
        aliases,
    })
}

/// The first of the other networks that leads out takes over.
async fn other_gateway(
    engine: &Arc<Engine>,
    networks: &mut [Attachment],
) -> Result<Option<Ipv4Addr>, StepError> {
    let names: Vec<String> = networks
        .iter()
        .map(|attachment| attachment.network.clone())
        .collect();
    let gateways = engine.look(move |world| {
        let gateway = |name: &String| {
            world
                .networks
                .get(name)
                .filter(|network| !network.internal)
                .map(|network| network.gateway)
        };
        names.iter().map(gateway).collect::<Vec<_>>()
    });
    let next = gateways
        .await?
        .into_iter()
        .zip(networks)
        .find_map(|(gateway, at)| gateway.map(|gateway| (gateway, at)));
    Ok(next.map(|(gateway, attachment)| {
        attachment.gateway = Some(gateway);
        gateway
    }))
}

async fn record(
    engine: &Arc<Engine>,
    doc: &ContainerDoc,
    networks: Vec<Attachment>,
) -> Result<(), StepError> {
    let mut doc = doc.clone();
    doc.record.networks = networks;
    engine.store.put_container(&doc);
    engine
        .store
        .written(vec![engine.store.layout.container(&doc.id)])
        .await?;
    engine.tell(Event::Rewired(Box::new(doc)));
    Ok(())
}

fn join(
    engine: &Engine,
    doc: &ContainerDoc,
    network: &NetworkDoc,
    attachment: &Attachment,
    pid: i32,
) -> Result<(), StepError> {
    let netns = namespace(pid)?;
    let index = engine.net.free_index(&doc.id)?;
    let index =
        index.ok_or_else(|| StepError::conflict("a container can be in ten networks at most"))?;
    let endpoint = Endpoint {
        container: doc.id.clone(),
        index,
        network: network.id.clone(),
        bridge: lower::bridge(network),
        interface: attachment.interface.clone(),
        address: attachment.address,
        prefix: attachment.prefix,
        gateway: attachment.gateway,
        mac: Some(Mac(attachment.mac)),
    };
    engine.net.attach(netns.as_fd(), &[endpoint])?;
    if !engine.names.serves(&doc.id) {
        engine.names.serve(
            &engine.dns,
            &doc.id,
            vec![network.id.clone()],
            netns.as_fd(),
        )?;
    }
    Ok(())
}

fn namespace(pid: i32) -> Result<File, StepError> {
    let path = format!("/proc/{pid}/ns/net");
    File::open(&path).map_err(|error| StepError::engine(format!("opening {path}: {error}")))
}
