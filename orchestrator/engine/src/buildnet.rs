//! The network of RUN steps: one bridge of its own with a way out and names, made for the first step that needs it and
//! taken away after the last build; or a network that is there already, in which a step is a guest.

mod guest;

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use hoist_build::NetworkMode;
use hoist_network::dns::{self, Asker, Serving, Sockets};
use hoist_network::{Endpoint, Ipv4Net, Mac};
use hoist_object::NetworkDoc;
use hoist_runtime::InjectedFile;
use hoist_scheduler::{Host as HostFacts, mac};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::actions::{StepError, blocking};
use crate::engine::{Engine, new_id, now};
use crate::lower;
use crate::world::Event;

const NAME: &str = "hoist-build";
/// Steps at a time; each has an address.
const SLOTS: u8 = 200;

#[derive(Debug, Default)]
pub(crate) struct BuildNetwork {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    network: Option<NetworkDoc>,
    used: Vec<u8>,
    /// Builds that go on: between two steps of one the network stays.
    builds: usize,
}

/// One build's interest in the network.
#[derive(Debug)]
pub(crate) struct Stay {
    engine: Option<Arc<Engine>>,
}

/// One step's place on the network.
#[derive(Debug)]
pub(crate) struct Lease {
    engine: Arc<Engine>,
    place: Option<Place>,
    /// While the step runs.
    names: OnceLock<Serving>,
}

#[derive(Debug)]
struct Place {
    /// The network's id.
    network: String,
    bridge: String,
    address: Ipv4Addr,
    prefix: u8,
    gateway: Ipv4Addr,
    /// Whether the network leads anywhere.
    internal: bool,
    held: Held,
}

/// What the step has to give back.
#[derive(Debug)]
enum Held {
    /// On the builds' own network.
    Slot(u8),
    /// As a guest, under this name.
    Claim(String),
}

impl BuildNetwork {
    /// The network stays, once a step has it, for as long as the result lives.
    pub(crate) async fn stay(engine: &Arc<Engine>) -> Stay {
        engine.build_network.state.lock().await.builds += 1;
        Stay {
            engine: Some(Arc::clone(engine)),
        }
    }

    /// `step`: the id under which the step is known.
    pub(crate) async fn lease(
        engine: &Arc<Engine>,
        mode: &NetworkMode,
        step: &str,
    ) -> Result<Lease, StepError> {
        let place = match mode {
            NetworkMode::None | NetworkMode::Host => None,
            NetworkMode::Named(name) => Some(guest::enter(engine, name, step).await?),
            NetworkMode::Default => Some(own_place(engine).await?),
        };
        Ok(Lease {
            engine: Arc::clone(engine),
            place,
            names: OnceLock::new(),
        })
    }
}

async fn own_place(engine: &Arc<Engine>) -> Result<Place, StepError> {
    let mut state = Arc::clone(&engine.build_network.state).lock_owned().await;
    let network = match &state.network {
        Some(network) => network.clone(),
        None => raise(engine, &mut state).await?,
    };
    let slot = (2..SLOTS).find(|slot| !state.used.contains(slot));
    let slot = slot.ok_or_else(|| StepError::engine("too many RUN steps at a time"))?;
    state.used.push(slot);
    Ok(Place {
        bridge: lower::bridge(&network),
        network: network.id,
        address: Ipv4Addr::from(u32::from(network.subnet.network()) + u32::from(slot)),
        prefix: network.subnet.prefix_len(),
        gateway: network.gateway,
        internal: false,
        held: Held::Slot(slot),
    })
}

async fn raise(
    engine: &Arc<Engine>,
    state: &mut OwnedMutexGuard<State>,
) -> Result<NetworkDoc, StepError> {
    let _planning = engine.turns.planning.lock().await;
    let taken = engine.look(|world| {
        let networks = world.networks.values().map(|network| network.subnet);
        networks
            .chain(
                world
                    .claims
                    .values()
                    .flat_map(crate::observe::Claims::subnets),
            )
            .collect::<Vec<_>>()
    });
    let taken = taken.await?;
    let facts = engine.net.facts()?;
    let subnet = free_subnet(&taken, &facts.routes, &facts.addresses)
        .ok_or_else(|| StepError::engine("every address pool is used up"))?;
    let gateway = Ipv4Addr::from(u32::from(subnet.network()) + 1);
    let network = NetworkDoc {
        id: new_id(),
        name: NAME.to_owned(),
        created: now(),
        project: String::new(),
        key: String::new(),
        config_hash: String::new(),
        subnet,
        gateway,
        range: subnet,
        reserved: Default::default(),
        internal: false,
        driver_opts: Default::default(),
        labels: Default::default(),
    };
    let (host, kernel) = (Arc::clone(&engine.net), lower::network_spec(&network));
    blocking(move || Ok(host.create_network(&kernel)?)).await?;
    engine.tell(Event::NetworkMade(Box::new(network.clone())));
    engine.wiring.settled().await.check(1)?;
    state.network = Some(network.clone());
    Ok(network)
}

fn free_subnet(taken: &[Ipv4Net], routes: &[Ipv4Net], addresses: &[Ipv4Net]) -> Option<Ipv4Net> {
    let clashes = |net: &Ipv4Net| {
        let overlaps =
            |other: &Ipv4Net| other.contains(&net.network()) || net.contains(&other.network());
        taken.iter().any(overlaps) || routes.iter().any(overlaps) || addresses.iter().any(overlaps)
    };
    // From the end: stacks are given theirs from the beginning.
    let pools = HostFacts::default().pools;
    pools
        .iter()
        .rev()
        .find_map(|pool| pool.net.subnets(pool.size).ok()?.find(|net| !clashes(net)))
}

impl Lease {
    fn endpoint(&self, id: &str) -> Endpoint {
        let place = self
            .place
            .as_ref()
            .expect("only steps with a network ask for an endpoint");
        Endpoint {
            container: id.to_owned(),
            index: 0,
            network: place.network.clone(),
            bridge: place.bridge.clone(),
            interface: "eth0".to_owned(),
            address: place.address,
            prefix: place.prefix,
            gateway: (!place.internal).then_some(place.gateway),
            mac: Some(Mac(mac(place.address))),
        }
    }

    /// The step's namespace, attached to its network and with a name server.
    pub(crate) fn namespace(&self, id: &str) -> Result<OwnedFd, StepError> {
        let netns = hoist_network::new_netns(&[])?;
        let endpoint = self.endpoint(id);
        let asker = Asker {
            container: id.to_owned(),
            home: vec![endpoint.network.clone()],
        };
        self.engine.net.attach(netns.as_fd(), &[endpoint])?;
        let serving = self.engine.dns.serve(asker, Sockets::open(netns.as_fd())?);
        // A lease is for one step.
        let _ = self.names.set(serving);
        Ok(netns)
    }

    /// Laid over the root for the step; nothing of it gets into the layer.
    pub(crate) fn etc_files(&self, extra_hosts: &[(String, String)]) -> Vec<InjectedFile> {
        let file = |path: &str, text: String| InjectedFile {
            path: path.to_owned(),
            content: text.into_bytes(),
            uid: 0,
            gid: 0,
            mode: 0o644,
            writable: true,
        };
        let mut hosts = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost\n");
        let gateway = self
            .place
            .as_ref()
            .map_or(Ipv4Addr::LOCALHOST, |place| place.gateway);
        for (name, address) in extra_hosts {
            let address = if address == "host-gateway" {
                gateway.to_string()
            } else {
                address.clone()
            };
            // Writing to a string cannot fail.
            let _ = writeln!(hosts, "{address}\t{name}");
        }
        let resolv = match &self.place {
            Some(_) => format!("nameserver {}\noptions ndots:0\n", dns::ADDRESS),
            None => std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
        };
        vec![file("/etc/hosts", hosts), file("/etc/resolv.conf", resolv)]
    }

    /// The last one takes the network away.
    pub(crate) async fn release(mut self) {
        self.names.take();
        if let Some(place) = self.place.take() {
            give_back(Arc::clone(&self.engine), place).await;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let (Some(place), Ok(handle)) =
            (self.place.take(), tokio::runtime::Handle::try_current())
        {
            handle.spawn(give_back(Arc::clone(&self.engine), place));
        }
    }
}

impl Stay {
    /// Returns when the network is gone, if it went with this build.
    pub(crate) async fn end(mut self) {
        if let Some(engine) = self.engine.take() {
            end_build(engine).await;
        }
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        if let (Some(engine), Ok(handle)) =
            (self.engine.take(), tokio::runtime::Handle::try_current())
        {
            handle.spawn(end_build(engine));
        }
    }
}

async fn end_build(engine: Arc<Engine>) {
    let mut state = Arc::clone(&engine.build_network.state).lock_owned().await;
    state.builds -= 1;
    take_away_when_idle(&engine, &mut state).await;
}

async fn give_back(engine: Arc<Engine>, place: Place) {
    let slot = match place.held {
        Held::Slot(slot) => slot,
        Held::Claim(claim) => return guest::leave(&engine, claim),
    };
    let mut state = Arc::clone(&engine.build_network.state).lock_owned().await;
    state.used.retain(|used| *used != slot);
    take_away_when_idle(&engine, &mut state).await;
}

async fn take_away_when_idle(engine: &Arc<Engine>, state: &mut OwnedMutexGuard<State>) {
    if state.builds > 0 || !state.used.is_empty() {
        return;
    }
    let Some(network) = state.network.take() else {
        return;
    };
    engine.tell(Event::NetworkGone {
        name: NAME.to_owned(),
    });
    let _ = engine.wiring.settled().await;
    let (host, bridge) = (Arc::clone(&engine.net), lower::bridge(&network));
    let removed = blocking(move || Ok(host.remove_network(&bridge)?)).await;
    if let Err(error) = removed {
        tracing::warn!(%error, "cannot remove the build network");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_network_keeps_clear_of_what_is_there() {
        let first = free_subnet(&[], &[], &[]).unwrap();
        let second = free_subnet(&[first], &[], &[]).unwrap();
        assert_ne!(first, second);
        assert_eq!(free_subnet(&[], &["0.0.0.0/0".parse().unwrap()], &[]), None);
    }
}
