//! Builds the scheduler's [`Observed`] from the world, the image store and the host.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use hoist_image::{ImageConfig, Platform};
use hoist_network::HostFacts;
use hoist_object::{NetworkDoc, Published, Transport, VolumeDoc};
use hoist_scheduler::{
    self as scheduler, Action, Desired, HeldPort, ImageName, Observed, Plan, PortHolder, State,
};
use hoist_spec::model::Protocol;

use crate::engine::{Engine, ShuttingDown, steady};
use crate::wiring::protocol;
use crate::world::{Container, Phase, World};

/// What a plan that is being carried out will take, for the plans of other projects.
#[derive(Debug, Clone, Default)]
pub(crate) struct Claims {
    networks: Vec<scheduler::Network>,
    /// With the container that will hold it.
    ports: Vec<(Published, String)>,
    /// Network, address, holder.
    addresses: Vec<(String, Ipv4Addr, String)>,
    names: BTreeSet<String>,
}

impl Claims {
    pub(crate) fn is_empty(&self) -> bool {
        self.networks.is_empty()
            && self.ports.is_empty()
            && self.addresses.is_empty()
            && self.names.is_empty()
    }

    pub(crate) fn subnets(&self) -> impl Iterator<Item = hoist_network::Ipv4Net> {
        self.networks.iter().map(|network| network.subnet)
    }

    /// Who will have an address of the network.
    pub(crate) fn holder_in(&self, network: &str) -> Option<&str> {
        self.addresses
            .iter()
            .find(|(of, ..)| of == network)
            .map(|(.., holder)| holder.as_str())
    }

    /// One address of a network.
    pub(crate) fn address(network: &str, address: Ipv4Addr, holder: &str) -> Self {
        Self {
            addresses: vec![(network.to_owned(), address, holder.to_owned())],
            ..Self::default()
        }
    }

    pub(crate) fn of(plan: &Plan, observed: &Observed) -> Self {
        let mut claims = Self::default();
        for step in &plan.steps {
            match &step.action {
                Action::CreateNetwork(spec) => claims.networks.push(scheduler::Network {
                    id: String::new(),
                    name: spec.name.clone(),
                    project: spec.project.clone(),
                    key: spec.key.clone(),
                    config_hash: spec.config_hash.clone(),
                    subnet: spec.subnet,
                    gateway: spec.gateway,
                    range: spec.range,
                    internal: spec.internal,
                    foreign: BTreeMap::new(),
                    reserved: spec.reserved.clone(),
                }),
                Action::CreateContainer(spec) => claims.record(&spec.record),
                Action::StartContainer { container } => {
                    if let Some(container) = observed.containers.get(container) {
                        claims.record(&container.record);
                    }
                }
                _ => {}
            }
        }
        claims
    }

    fn record(&mut self, record: &hoist_object::Record) {
        self.names.insert(record.name.clone());
        self.ports
            .extend(record.ports.iter().map(|port| (*port, record.name.clone())));
        self.addresses
            .extend(record.networks.iter().map(|attachment| {
                (
                    attachment.network.clone(),
                    attachment.address,
                    record.name.clone(),
                )
            }));
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ObserveError {
    #[error(transparent)]
    ShuttingDown(#[from] ShuttingDown),
    #[error("cannot learn about the host's network: {0}")]
    Facts(String),
    #[error("observing was cut short: {0}")]
    Cut(String),
}

/// Everything that a plan for the desired stack's project may depend on.
pub(crate) async fn observe(
    engine: &Arc<Engine>,
    desired: &Desired,
) -> Result<Observed, ObserveError> {
    let project = desired.stack.name.clone();
    let mut observed = engine
        .look(move |world| from_world(world, &project))
        .await?;
    let mut names = desired.images();
    for container in observed.containers.values() {
        // What it was made from may have lost its name.
        names.extend([
            container.record.image.as_str().into(),
            container.image_id.as_str().into(),
        ]);
    }
    let wanted = wanted_ports(desired);
    let (engine, published) = (Arc::clone(engine), published_by_us(&observed));
    let gathered = tokio::task::spawn_blocking(move || {
        let images = images(&engine, names);
        let facts = engine
            .net
            .facts()
            .map_err(|error| ObserveError::Facts(crate::error::chain(&error)))?;
        Ok::<_, ObserveError>((images, facts, host_ports(&engine, &wanted, &published)))
    });
    let (images, facts, ports) = gathered
        .await
        .map_err(|error| ObserveError::Cut(error.to_string()))??;
    observed.images = images;
    observed.host.ports.extend(ports);
    observed.host.routes = routes(&facts, &observed);
    Ok(observed)
}

/// What the subnet of a network that no stack declares must keep clear of.
pub(crate) async fn for_networks(engine: &Arc<Engine>) -> Result<Observed, ObserveError> {
    let mut observed = engine.look(|world| from_world(world, "")).await?;
    let host = Arc::clone(&engine.net);
    let facts = tokio::task::spawn_blocking(move || host.facts()).await;
    let facts = facts.map_err(|error| ObserveError::Cut(error.to_string()))?;
    let facts = facts.map_err(|error| ObserveError::Facts(crate::error::chain(&error)))?;
    observed.host.routes = routes(&facts, &observed);
    Ok(observed)
}

/// A network as somebody sees it who has nothing in it: all of its addresses are held by others.
pub(crate) fn network(world: &World, name: &str, guest: &str) -> Option<scheduler::Network> {
    from_world(world, guest).networks.remove(name)
}

fn from_world(world: &World, project: &str) -> Observed {
    let mut observed = Observed {
        project: project.to_owned(),
        at: steady(),
        ..Observed::default()
    };
    let boot = world.boot();
    let is_ours = |container: &&Container| container.doc.record.project == project;
    for container in world.containers.values().filter(is_ours) {
        observed.containers.insert(
            container.doc.record.name.clone(),
            observed_container(container, boot),
        );
    }
    for network in world.networks.values() {
        observed
            .networks
            .insert(network.name.clone(), observed_network(network));
    }
    for volume in world.volumes.values() {
        observed
            .volumes
            .insert(volume.name.clone(), observed_volume(volume));
    }
    for container in world
        .containers
        .values()
        .filter(|container| !is_ours(container))
    {
        let record = &container.doc.record;
        observed
            .foreign_containers
            .insert(record.name.clone(), record.project.clone());
        for attachment in &record.networks {
            if let Some(network) = observed.networks.get_mut(&attachment.network) {
                network
                    .foreign
                    .insert(attachment.address, record.name.clone());
            }
        }
        for volume in &record.volumes {
            if let Some(volume) = observed.volumes.get_mut(volume) {
                volume.foreign_users.insert(record.name.clone());
            }
        }
        if container.phase.is_up() || matches!(container.phase, Phase::Restarting { .. }) {
            let held = record
                .ports
                .iter()
                .map(|port| held(port, &record.project, &record.name));
            observed.host.ports.extend(held);
        }
    }
    for (other, claims) in world.claims.iter().filter(|(other, _)| *other != project) {
        add_claims(&mut observed, other, claims);
    }
    observed
}

fn add_claims(observed: &mut Observed, project: &str, claims: &Claims) {
    for network in &claims.networks {
        observed
            .networks
            .entry(network.name.clone())
            .or_insert_with(|| network.clone());
    }
    for (network, address, holder) in &claims.addresses {
        if let Some(network) = observed.networks.get_mut(network) {
            network.foreign.insert(*address, holder.clone());
        }
    }
    observed.host.ports.extend(
        claims
            .ports
            .iter()
            .map(|(port, name)| held(port, project, name)),
    );
    for name in &claims.names {
        observed
            .foreign_containers
            .entry(name.clone())
            .or_insert_with(|| project.to_owned());
    }
}

fn held(port: &Published, project: &str, name: &str) -> HeldPort {
    HeldPort {
        ip: port.host_ip,
        port: port.host_port,
        transport: port.transport,
        holder: PortHolder::Container {
            project: project.to_owned(),
            name: name.to_owned(),
        },
    }
}

/// Times are of the steady clock: they are compared with each other and with the request's.
fn observed_container(container: &Container, boot: &str) -> scheduler::Container {
    let doc = &container.doc;
    let state = match &container.phase {
        Phase::Created => State::Created,
        Phase::Starting | Phase::Running => State::Running {
            health: container.health(),
        },
        Phase::Paused => State::Paused,
        Phase::Restarting { exit } => State::Restarting {
            code: exit.code,
            at: container.ended(exit, boot),
        },
        Phase::Exited(exit) => State::Exited {
            code: exit.code,
            at: container.ended(exit, boot),
        },
        Phase::Removed => State::Dead,
    };
    scheduler::Container {
        id: doc.id.clone(),
        image_id: doc.image_id.clone(),
        created: container
            .made
            .unwrap_or_else(|| hoist_object::Timestamp::before_boot(doc.created)),
        started: container.began(boot),
        state,
        stopped_by_request: container.state.wanted == hoist_object::Wanted::Stopped,
        lost_in_reboot: container.lost_in_reboot,
        signalled: container.signalled,
        history: container.state.history,
        anonymous: doc.anonymous.clone(),
        record: doc.record.clone(),
    }
}

fn observed_network(network: &NetworkDoc) -> scheduler::Network {
    scheduler::Network {
        id: network.id.clone(),
        name: network.name.clone(),
        project: network.project.clone(),
        key: network.key.clone(),
        config_hash: network.config_hash.clone(),
        subnet: network.subnet,
        gateway: network.gateway,
        range: network.range,
        internal: network.internal,
        foreign: BTreeMap::new(),
        reserved: network.reserved.clone(),
    }
}

fn observed_volume(volume: &VolumeDoc) -> scheduler::Volume {
    scheduler::Volume {
        name: volume.name.clone(),
        project: volume.project.clone(),
        key: volume.key.clone(),
        config_hash: volume.config_hash.clone(),
        foreign_users: BTreeSet::new(),
    }
}

/// When the store got it, by the steady clock: as long ago as by wall time, if that was not set back since.
fn refreshed(image: &hoist_image::Image) -> Option<hoist_object::Timestamp> {
    let ago = jiff::Timestamp::now()
        .as_nanosecond()
        .checked_sub(image.stored.as_nanosecond())
        .filter(|ago| *ago >= 0)?;
    Some(hoist_object::Timestamp(
        steady().0.saturating_sub(i64::try_from(ago).ok()?),
    ))
}

fn images(engine: &Engine, names: BTreeSet<ImageName>) -> BTreeMap<ImageName, scheduler::Image> {
    names
        .into_iter()
        .filter_map(|name| {
            let image = crate::actions::stored_image(engine, &name)?;
            let config = &image.config.config;
            let has_healthcheck = config
                .healthcheck
                .as_ref()
                .is_some_and(|check| check.test.len() > 1);
            let refreshed = refreshed(&image);
            let observed = scheduler::Image {
                id: image.id.to_string(),
                refreshed,
                has_healthcheck,
                stop_signal: config.stop_signal.clone(),
                volumes: config.volumes.clone(),
                other_platform: name
                    .platform
                    .parse()
                    .ok()
                    .and_then(|wanted| other_platform(&wanted, &image.config)),
            };
            Some((name, observed))
        })
        .collect()
}

/// The image's platform, if it is not the wanted one. An omitted variant matches any.
fn other_platform(wanted: &Platform, image: &ImageConfig) -> Option<String> {
    let own = image.platform();
    let variants = [&wanted.variant, &own.variant].map(Option::as_deref);
    let fits = wanted.os == own.os
        && wanted.architecture == own.architecture
        && (variants.contains(&None) || variants[0] == variants[1]);
    (!fits).then(|| own.to_string())
}

/// Destinations that no new network may cover. Our own bridges are in the networks already.
fn routes(facts: &HostFacts, observed: &Observed) -> Vec<hoist_network::Ipv4Net> {
    let ours: BTreeSet<_> = observed
        .networks
        .values()
        .map(|network| network.subnet)
        .collect();
    let all = facts.routes.iter().chain(&facts.addresses);
    let mut routes: Vec<_> = all
        .map(|net| net.trunc())
        .filter(|net| !ours.contains(net))
        .collect();
    routes.sort();
    routes.dedup();
    routes
}

/// Ports that the stack wants to publish by number.
type WantedPort = (Option<Ipv4Addr>, u16, Transport);

fn wanted_ports(desired: &Desired) -> Wanted {
    let mut wanted = Wanted::default();
    for port in desired
        .stack
        .services
        .values()
        .flat_map(|service| &service.ports)
    {
        let transport = match port.protocol {
            Protocol::Tcp => Transport::Tcp,
            Protocol::Udp => Transport::Udp,
        };
        let ip = match port.host_ip {
            Some(IpAddr::V4(ip)) if !ip.is_unspecified() => Some(ip),
            _ => None,
        };
        match port.published {
            Some((first, last)) => wanted
                .fixed
                .extend((first..=last).map(|number| (ip, number, transport))),
            None => wanted.ephemeral = true,
        }
    }
    wanted
}

#[derive(Debug, Default)]
struct Wanted {
    fixed: BTreeSet<WantedPort>,
    /// Some port is wanted without a number.
    ephemeral: bool,
}

fn published_by_us(observed: &Observed) -> BTreeSet<(u16, Transport)> {
    let own = observed
        .containers
        .values()
        .flat_map(|container| &container.record.ports);
    let own = own.map(|port| (port.host_port, port.transport));
    own.chain(
        observed
            .host
            .ports
            .iter()
            .map(|port| (port.port, port.transport)),
    )
    .collect()
}

fn host_ports(
    engine: &Engine,
    wanted: &Wanted,
    ours: &BTreeSet<(u16, Transport)>,
) -> Vec<HeldPort> {
    let mut ports: Vec<HeldPort> = wanted
        .fixed
        .iter()
        .filter(|(ip, port, transport)| {
            engine
                .net
                .port_free(*ip, *port, protocol(*transport))
                .is_err()
        })
        .map(|(ip, port, transport)| by_host(ip.map(IpAddr::V4), *port, *transport))
        .collect();
    if wanted.ephemeral {
        let listening = listening().into_iter().filter(|port| !ours.contains(port));
        ports.extend(listening.map(|(port, transport)| by_host(None, port, transport)));
    }
    ports
}

fn by_host(ip: Option<IpAddr>, port: u16, transport: Transport) -> HeldPort {
    HeldPort {
        ip,
        port,
        transport,
        holder: PortHolder::Host,
    }
}

/// Ports of sockets that wait for somebody, on any address.
fn listening() -> BTreeSet<(u16, Transport)> {
    const TABLES: [(&str, Transport, &str); 4] = [
        ("/proc/net/tcp", Transport::Tcp, "0A"),
        ("/proc/net/tcp6", Transport::Tcp, "0A"),
        ("/proc/net/udp", Transport::Udp, "07"),
        ("/proc/net/udp6", Transport::Udp, "07"),
    ];
    let mut ports = BTreeSet::new();
    for (table, transport, state) in TABLES {
        let text = std::fs::read_to_string(table).unwrap_or_default();
        ports.extend(
            text.lines()
                .filter_map(|line| listening_port(line, state))
                .map(|port| (port, transport)),
        );
    }
    ports
}

fn listening_port(line: &str, wanted: &str) -> Option<u16> {
    let mut fields = line.split_whitespace();
    let local = fields.nth(1)?;
    let state = fields.nth(1)?;
    let (_, port) = local.rsplit_once(':')?;
    (state == wanted)
        .then(|| u16::from_str_radix(port, 16).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_sockets_are_read_from_proc() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0";
        assert_eq!(listening_port(line, "0A"), Some(8080));
        assert_eq!(listening_port(line, "07"), None);
        assert_eq!(
            listening_port("  sl  local_address rem_address   st tx_queue", "0A"),
            None
        );
    }
}
