//! Keeps the firewall and the name server in step with the world.
//!
//! Both are derived whole from the world (`firewall`, `zone`), so there is nothing to get out of step. Changes of a wave
//! are joined: while one state is being applied, all newer wishes wait for the next. Whoever needs his change to be
//! live waits for [`Wiring::settled`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;

use hoist_network::dns::{DnsNetwork, Zone, ZoneEndpoint, ZoneNetwork};
use hoist_network::{FirewallEvent, FirewallState, FlushWatch, Protocol, Published};
use hoist_scheduler::{Health, Transport};
use tokio::io::Interest;
use tokio::sync::watch;

use crate::engine::Engine;
use crate::readiness;
use crate::world::{Container, World};

#[derive(Debug)]
pub(crate) struct Wiring {
    wanted: watch::Sender<u64>,
    tried: watch::Sender<Tried>,
}

/// The outcome of applying the state of some moment: what could not be made live, and why.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tried {
    version: u64,
    firewall: Option<Arc<str>>,
    /// By network.
    names: BTreeMap<String, Arc<str>>,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot set up networking: {0}")]
pub(crate) struct WiringError(Arc<str>);

impl Wiring {
    pub(crate) fn new() -> Self {
        Self { wanted: watch::Sender::new(0), tried: watch::Sender::new(Tried::default()) }
    }

    /// The world has changed in a way that matters here.
    pub(crate) fn want(&self) {
        self.wanted.send_modify(|version| *version += 1);
    }

    /// Everything that was wanted up to now is live, but for what the answer says. Whoever takes something away need
    /// not look at it: a rule too many is no reason to keep a container.
    pub(crate) async fn settled(&self) -> Tried {
        let version = *self.wanted.borrow();
        let mut tried = self.tried.subscribe();
        let settled = tried.wait_for(|tried| tried.version >= version).await;
        // Nobody applies any more only while the process ends.
        settled.map(|tried| tried.clone()).unwrap_or_default()
    }
}

impl Tried {
    /// Is everything live that whoever lives in these networks (by id) needs? What fails elsewhere is not theirs.
    pub(crate) fn check<'a>(&self, networks: impl IntoIterator<Item = &'a str>) -> Result<(), WiringError> {
        for network in networks {
            if let Some(failure) = self.firewall.as_ref().or_else(|| self.names.get(network)) {
                return Err(WiringError(Arc::clone(failure)));
            }
        }
        Ok(())
    }

    fn complete(&self) -> bool {
        self.firewall.is_none() && self.names.is_empty()
    }
}

/// What is to be applied at one moment.
struct State {
    firewall: FirewallState,
    zone: Vec<ZoneNetwork>,
    listen: Vec<DnsNetwork>,
}

/// Applies what is wanted, for the engine's life.
pub(crate) async fn run(engine: Arc<Engine>) {
    let mut wanted = engine.wiring.wanted.subscribe();
    wanted.mark_changed();
    let mut listening = Vec::new();
    while wanted.changed().await.is_ok() {
        let version = *wanted.borrow_and_update();
        let port = engine.dns.port();
        let Ok(state) = engine.look(move |world| state(world, port)).await else { return };
        let (applier, known) = (Arc::clone(&engine), std::mem::take(&mut listening));
        let outcome = tokio::task::spawn_blocking(move || apply(&applier, state, known)).await;
        let tried = match outcome {
            Ok((now_listening, tried)) => {
                listening = now_listening;
                Tried { version, ..tried }
            }
            Err(error) => Tried { version, firewall: Some(error.to_string().into()), ..Tried::default() },
        };
        if !tried.complete() {
            tracing::error!(firewall = ?tried.firewall, names = ?tried.names, "cannot apply networking");
        }
        engine.wiring.tried.send_replace(tried);
    }
}

/// Puts our rules back when somebody flushes the ruleset.
pub(crate) async fn keep(engine: Arc<Engine>) {
    let watch = match engine.net.watch_flush() {
        Ok(watch) => watch,
        Err(error) => {
            tracing::warn!(error = crate::error::chain(&error), "cannot watch the firewall");
            return;
        }
    };
    let Ok(watch) = readiness::watch(Watch(watch), Interest::READABLE) else { return };
    while let Ok(mut ready) = watch.readable().await {
        ready.clear_ready();
        match watch.get_ref().0.try_next_event() {
            Ok(Some(FirewallEvent::Changed)) => {
                let host = Arc::clone(&engine.net);
                let put_back = tokio::task::spawn_blocking(move || host.reassert_firewall()).await;
                if let Ok(Err(error)) = put_back {
                    tracing::warn!(error = crate::error::chain(&error), "cannot put the firewall back");
                }
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "the firewall's news are lost"),
        }
    }
}

struct Watch(FlushWatch);

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Answers also on which networks there is a name server now, as far as that is sure.
fn apply(engine: &Engine, state: State, known: Vec<DnsNetwork>) -> (Vec<DnsNetwork>, Tried) {
    let mut tried = Tried::default();
    engine.dns.set_zone(Zone::new(&state.zone));
    if known != state.listen {
        let failed = engine.dns.listen(&state.listen).into_iter();
        tried.names = failed.map(|(network, error)| (network, crate::error::chain(&error).into())).collect();
    }
    if let Err(error) = engine.net.set_firewall(&state.firewall) {
        tried.firewall = Some(crate::error::chain(&error).into());
    }
    let listening = if tried.names.is_empty() { state.listen } else { Vec::new() };
    (listening, tried)
}

fn state(world: &World, dns_port: u16) -> State {
    let listen = world
        .networks
        .values()
        .map(|network| DnsNetwork { id: network.id.clone(), gateway: network.gateway })
        .collect();
    State { firewall: firewall(world, dns_port), zone: zone(world), listen }
}

fn firewall(world: &World, dns_port: u16) -> FirewallState {
    let mut published: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for container in world.containers.values().filter(|container| container.phase.is_up()) {
        let record = &container.doc.record;
        // The first network that is not internal carries published ports.
        let attachment = record
            .networks
            .iter()
            .find(|attachment| world.networks.get(&attachment.network).is_some_and(|network| !network.internal));
        let Some(address) = attachment.map(|attachment| attachment.address) else { continue };
        for port in &record.ports {
            let host_ip = match port.host_ip {
                None => None,
                Some(IpAddr::V4(ip)) => (!ip.is_unspecified()).then_some(ip),
                Some(IpAddr::V6(ip)) if ip.is_unspecified() => None,
                Some(IpAddr::V6(_)) => continue,
            };
            let targets = published.entry((host_ip, port.host_port, protocol(port.transport))).or_default();
            targets.push((container.health(), (address, port.target)));
        }
    }
    let published = published
        .into_iter()
        .map(|((host_ip, host_port, protocol), targets)| Published {
            host_ip,
            host_port,
            protocol,
            targets: best(&targets),
        })
        .collect();
    let networks: Vec<_> = world.networks.values().map(|network| network.spec()).collect();
    let dns_port = (!networks.is_empty()).then_some(dns_port);
    FirewallState { networks, published, dns_port }
}

/// The healthy ones; all, while there is none.
fn best<T: Copy>(targets: &[(Health, T)]) -> Vec<T> {
    let healthy: Vec<T> = targets.iter().filter(|(health, _)| is_healthy(*health)).map(|(_, target)| *target).collect();
    if healthy.is_empty() { targets.iter().map(|(_, target)| *target).collect() } else { healthy }
}

fn is_healthy(health: Health) -> bool {
    matches!(health, Health::None | Health::Healthy)
}

pub(crate) fn protocol(transport: Transport) -> Protocol {
    match transport {
        Transport::Tcp => Protocol::Tcp,
        Transport::Udp => Protocol::Udp,
    }
}

fn zone(world: &World) -> Vec<ZoneNetwork> {
    world
        .networks
        .values()
        .map(|network| {
            let attached = |container: &Container| {
                container.doc.record.networks.iter().find(|attachment| attachment.network == network.name).cloned()
            };
            let (mut endpoints, mut reserved) = (Vec::new(), Vec::new());
            for container in world.containers.values() {
                let Some(attachment) = attached(container) else { continue };
                if container.phase.is_up() {
                    endpoints.push(ZoneEndpoint {
                        container: container.doc.id.clone(),
                        name: container.doc.record.name.clone(),
                        aliases: attachment.aliases,
                        address: attachment.address,
                        healthy: is_healthy(container.health()),
                        resolvers: container.service.dns.clone(),
                    });
                } else {
                    reserved.extend(attachment.aliases);
                }
            }
            ZoneNetwork {
                id: network.id.clone(),
                name: network.name.clone(),
                subnet: network.subnet,
                internal: network.internal,
                endpoints,
                reserved,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unhealthy_targets_are_used_only_while_there_is_no_other() {
        assert_eq!(best(&[(Health::Unhealthy, 1), (Health::Healthy, 2)]), [2]);
        assert_eq!(best(&[(Health::Unhealthy, 1), (Health::Starting, 2)]), [1, 2]);
    }

    #[test]
    fn a_failure_is_only_of_those_who_need_what_failed() {
        let names = BTreeMap::from([("one".to_owned(), "taken".into())]);
        let tried = Tried { names, ..Tried::default() };
        assert_eq!(tried.check(["one"]).unwrap_err().to_string(), "cannot set up networking: taken");
        assert!(tried.check(["two"]).is_ok());
        let tried = Tried { firewall: Some("busy".into()), ..Tried::default() };
        assert!(tried.check(["two"]).is_err());
        assert!(tried.check([]).is_ok(), "a container without networks");
    }
}
