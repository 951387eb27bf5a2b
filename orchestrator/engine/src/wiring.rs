//! Keeps the firewall and the name server in step with the world.
//!
//! Both are derived whole from the world (`firewall`, `zone`), so there is nothing to get out of step. Changes of a wave
//! are joined: while one state is being applied, all newer wishes wait for the next. Whoever needs his change to be
//! live waits for [`Wiring::settled`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use hoist_network::dns::{Candidate, Zone, ZoneEndpoint, ZoneNetwork};
use hoist_network::{FirewallEvent, FirewallState, FlushWatch, NetworkError, Protocol, Published};
use hoist_object::{Attachment, Health, NetworkDoc, Transport};
use tokio::io::Interest;
use tokio::sync::watch;

use crate::engine::Engine;
use crate::lower;
use crate::names::Moment;
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
}

#[derive(Debug, thiserror::Error)]
#[error("cannot set up networking: {0}")]
pub(crate) struct WiringError(Arc<str>);

impl Wiring {
    pub(crate) fn new() -> Self {
        Self {
            wanted: watch::Sender::new(0),
            tried: watch::Sender::new(Tried::default()),
        }
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
    /// Is everything live that a container in so many networks needs?
    pub(crate) fn check(&self, networks: usize) -> Result<(), WiringError> {
        match &self.firewall {
            Some(failure) if networks > 0 => Err(WiringError(Arc::clone(failure))),
            _ => Ok(()),
        }
    }
}

/// What is to be applied at one moment.
struct State {
    firewall: FirewallState,
    zone: Vec<ZoneNetwork>,
    /// Ids of the containers that are up.
    up: BTreeSet<String>,
}

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Applies what is wanted, for the engine's life.
pub(crate) async fn run(engine: Arc<Engine>) {
    let mut wanted = engine.wiring.wanted.subscribe();
    wanted.mark_changed();
    let mut pause = FIRST_PAUSE;
    while wanted.changed().await.is_ok() {
        let version = *wanted.borrow_and_update();
        let before = engine.names.now();
        let Ok(state) = engine.look(state).await else {
            return;
        };
        let applier = Arc::clone(&engine);
        let outcome = tokio::task::spawn_blocking(move || apply(&applier, state, before)).await;
        let firewall = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(crate::error::chain(&error).into()),
            Err(error) => Some(error.to_string().into()),
        };
        if let Some(failure) = &firewall {
            tracing::error!(%failure, "cannot apply networking; it is tried again");
            let again = Arc::clone(&engine);
            tokio::spawn(async move {
                tokio::time::sleep(pause).await;
                again.wiring.want();
            });
        }
        pause = if firewall.is_some() {
            (pause * 2).min(LONGEST_PAUSE)
        } else {
            FIRST_PAUSE
        };
        engine
            .wiring
            .tried
            .send_replace(Tried { version, firewall });
    }
}

/// Puts our rules back when somebody flushes the ruleset.
pub(crate) async fn keep(engine: Arc<Engine>) {
    let watch = match engine.net.watch_flush() {
        Ok(watch) => watch,
        Err(error) => {
            tracing::warn!(
                error = crate::error::chain(&error),
                "cannot watch the firewall"
            );
            return;
        }
    };
    let Ok(watch) = readiness::watch(Watch(watch), Interest::READABLE) else {
        return;
    };
    while let Ok(mut ready) = watch.readable().await {
        ready.clear_ready();
        match watch.get_ref().0.try_next_event() {
            Ok(Some(FirewallEvent::Changed)) => {
                let host = Arc::clone(&engine.net);
                let put_back = tokio::task::spawn_blocking(move || host.reassert_firewall()).await;
                if let Ok(Err(error)) = put_back {
                    tracing::warn!(
                        error = crate::error::chain(&error),
                        "cannot put the firewall back"
                    );
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

fn apply(engine: &Engine, state: State, before: Moment) -> Result<(), NetworkError> {
    engine.dns.set_zone(Zone::new(&state.zone));
    engine.names.keep(&state.up, before);
    engine.net.set_firewall(&state.firewall)
}

fn state(world: &World) -> State {
    let up = world
        .containers
        .values()
        .filter(|container| container.phase.is_up());
    let up = up.map(|container| container.doc.id.clone()).collect();
    State {
        firewall: firewall(world),
        zone: zone(world),
        up,
    }
}

fn firewall(world: &World) -> FirewallState {
    let mut published: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for container in world
        .containers
        .values()
        .filter(|container| container.phase.is_up())
    {
        let record = &container.doc.record;
        // The first network that is not internal carries published ports.
        let attachment = record.networks.iter().find(|attachment| {
            world
                .networks
                .get(&attachment.network)
                .is_some_and(|network| !network.internal)
        });
        let Some(address) = attachment.map(|attachment| attachment.address) else {
            continue;
        };
        for port in &record.ports {
            let host_ip = match port.host_ip {
                None => None,
                Some(IpAddr::V4(ip)) => (!ip.is_unspecified()).then_some(ip),
                Some(IpAddr::V6(ip)) if ip.is_unspecified() => None,
                Some(IpAddr::V6(_)) => continue,
            };
            let targets = published
                .entry((host_ip, port.host_port, protocol(port.transport)))
                .or_default();
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
    let networks = world.networks.values().map(lower::network_spec).collect();
    FirewallState {
        networks,
        published,
    }
}

/// The healthy ones; all, while there is none.
fn best<T: Copy>(targets: &[(Health, T)]) -> Vec<T> {
    let healthy: Vec<T> = targets
        .iter()
        .filter(|(health, _)| is_healthy(*health))
        .map(|(_, target)| *target)
        .collect();
    if healthy.is_empty() {
        targets.iter().map(|(_, target)| *target).collect()
    } else {
        healthy
    }
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
        .map(|network| zone_network(world, network))
        .collect()
}

fn zone_network(world: &World, network: &NetworkDoc) -> ZoneNetwork {
    let nameless = network.is_predefined();
    let (mut endpoints, mut reserved) = (Vec::new(), Vec::new());
    for container in world.containers.values() {
        let Some(attachment) = attachment(container, network) else {
            continue;
        };
        let aliases = attachment
            .aliases
            .iter()
            .chain(&container.config.hostname)
            .cloned();
        if container.phase.is_up() {
            endpoints.push(ZoneEndpoint {
                container: container.doc.id.clone(),
                name: container.doc.record.name.clone(),
                aliases: aliases.collect(),
                address: attachment.address,
                healthy: is_healthy(container.health()),
                resolvers: container.config.dns.clone(),
                links: links(world, container, network),
            });
        } else if !nameless {
            reserved.extend(aliases);
        }
    }
    ZoneNetwork {
        id: network.id.clone(),
        name: network.name.clone(),
        subnet: network.subnet,
        internal: network.internal,
        nameless,
        endpoints,
        reserved,
    }
}

fn attachment<'a>(container: &'a Container, network: &NetworkDoc) -> Option<&'a Attachment> {
    container
        .doc
        .record
        .networks
        .iter()
        .find(|attachment| attachment.network == network.name)
}

/// The names that `links` give to containers of other services, and those containers' own names.
fn links(
    world: &World,
    container: &Container,
    network: &NetworkDoc,
) -> BTreeMap<String, Vec<Candidate>> {
    let mut links: BTreeMap<String, Vec<Candidate>> = BTreeMap::new();
    for link in &container.config.links {
        let (service, alias) = link.split_once(':').unwrap_or((link, link));
        links.entry(alias.to_owned()).or_default();
        for target in world
            .containers
            .values()
            .filter(|target| target.phase.is_up())
        {
            let record = &target.doc.record;
            let linked = record.project == container.doc.record.project
                && record.service == service
                && !record.oneoff;
            let Some(attachment) = attachment(target, network).filter(|_| linked) else {
                continue;
            };
            let candidate = Candidate {
                address: attachment.address,
                healthy: is_healthy(target.health()),
            };
            for name in [
                alias.to_owned(),
                format!("{service}-{}", record.number),
                record.name.clone(),
            ] {
                let candidates = links.entry(name).or_default();
                if !candidates.contains(&candidate) {
                    candidates.push(candidate);
                }
            }
        }
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unhealthy_targets_are_used_only_while_there_is_no_other() {
        assert_eq!(best(&[(Health::Unhealthy, 1), (Health::Healthy, 2)]), [2]);
        assert_eq!(
            best(&[(Health::Unhealthy, 1), (Health::Starting, 2)]),
            [1, 2]
        );
    }

    #[test]
    fn a_failure_is_only_of_those_who_need_what_failed() {
        let tried = Tried {
            firewall: Some("busy".into()),
            ..Tried::default()
        };
        assert_eq!(
            tried.check(1).unwrap_err().to_string(),
            "cannot set up networking: busy"
        );
        assert!(tried.check(0).is_ok(), "a container without networks");
    }
}
