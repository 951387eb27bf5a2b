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
    applied: watch::Sender<Applied>,
}

#[derive(Debug, Clone, Default)]
struct Applied {
    version: u64,
    /// Why the last attempt failed.
    failure: Option<Arc<str>>,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot set up networking: {0}")]
pub(crate) struct WiringError(Arc<str>);

impl Wiring {
    pub(crate) fn new() -> Self {
        Self { wanted: watch::Sender::new(0), applied: watch::Sender::new(Applied::default()) }
    }

    /// The world has changed in a way that matters here.
    pub(crate) fn want(&self) {
        self.wanted.send_modify(|version| *version += 1);
    }

    /// Everything that was wanted up to now is live.
    pub(crate) async fn settled(&self) -> Result<(), WiringError> {
        let version = *self.wanted.borrow();
        let mut applied = self.applied.subscribe();
        let state = applied.wait_for(|applied| applied.version >= version).await;
        match state.map(|state| state.failure.clone()) {
            Ok(Some(failure)) => Err(WiringError(failure)),
            Ok(None) | Err(_) => Ok(()),
        }
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
        let failure = match outcome {
            Ok((now_listening, failure)) => {
                listening = now_listening;
                failure
            }
            Err(error) => Some(error.to_string()),
        };
        if let Some(failure) = &failure {
            tracing::error!(failure, "cannot apply networking");
        }
        engine.wiring.applied.send_replace(Applied { version, failure: failure.map(Arc::from) });
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

fn apply(engine: &Engine, state: State, known: Vec<DnsNetwork>) -> (Vec<DnsNetwork>, Option<String>) {
    let mut failure = None;
    engine.dns.set_zone(Zone::new(&state.zone));
    if known != state.listen
        && let Err(error) = engine.dns.listen(&state.listen)
    {
        failure = Some(crate::error::chain(&error));
    }
    if let Err(error) = engine.net.set_firewall(&state.firewall) {
        failure = Some(crate::error::chain(&error));
    }
    (state.listen, failure)
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
}
