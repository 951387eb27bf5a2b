//! Owns which networks must be there, and their subnets. A changed network is made anew together with the containers
//! on it, since addresses and isolation hang on it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use hoist_object::{Attachment, PREDEFINED_NETWORK};
use hoist_spec::model;
use ipnet::{IpNet, Ipv4Net};

use crate::action::NetworkSpec;
use crate::desired::Desired;
use crate::digest::network_hash;
use crate::graph::ServiceGraph;
use crate::ipam;
use crate::labels;
use crate::observed::{Network, Observed};
use crate::planner::Context;
use crate::planner::assemble::is_attached;
use crate::planner::draft::Draft;
use crate::planner::subject::Subjects;
use crate::problem::Problem;
use crate::request::{Request, Verb};

/// A network as it will be, by what a container needs to know of it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) subnet: Ipv4Net,
    pub(crate) gateway: Ipv4Addr,
    pub(crate) range: Ipv4Net,
    pub(crate) reserved: BTreeSet<Ipv4Addr>,
    pub(crate) internal: bool,
    /// Addresses held by other projects.
    pub(crate) foreign: BTreeMap<Ipv4Addr, String>,
    pub(crate) origin: Origin,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Origin {
    Existing,
    Missing(Box<NetworkSpec>),
    Changed(Box<NetworkSpec>),
}

/// By key in the stack. Keys with a problem have no place.
pub(crate) type Places = BTreeMap<String, Place>;

/// Names of the project's networks that differ from what the stack says now, or that were lost and cannot come back in a
/// way that suits the containers on them.
pub(crate) fn changed(context: Context<'_>) -> BTreeSet<String> {
    let stack = &context.desired.stack;
    let own = stack.networks.values().filter(|network| !network.external);
    own.filter(
        |network| match context.observed.networks.get(&network.name) {
            Some(found) => {
                found.project == stack.name && found.config_hash != network_hash(network)
            }
            None => {
                let attached = || {
                    context
                        .observed
                        .containers
                        .values()
                        .filter(|found| is_attached(found, &network.name))
                };
                attached().any(|found| found.state.is_running())
                    || attached().next().is_some() && former(context, network).is_none()
            }
        },
    )
    .map(|network| network.name.clone())
    .collect()
}

fn attachments<'a>(context: Context<'a>, network: &str) -> impl Iterator<Item = &'a Attachment> {
    let all = context
        .observed
        .containers
        .values()
        .flat_map(|container| &container.record.networks);
    all.filter(move |attachment| attachment.network == network)
}

/// The subnet of a network that was lost, by the containers that were on it: they can stay as they are if it gets that
/// again.
fn former(context: Context<'_>, network: &model::Network) -> Option<Ipv4Net> {
    let first = attachments(context, &network.name).next()?;
    let subnet = Ipv4Net::new(first.address, first.prefix).ok()?.trunc();
    let gateway = own_gateway(network).unwrap_or_else(|| ipam::first_host(subnet));
    let suits = |attachment: &Attachment| {
        attachment.prefix == first.prefix
            && subnet.contains(&attachment.address)
            && attachment.gateway.is_none_or(|found| found == gateway)
    };
    let used = subnets_in_use(context, &BTreeSet::new(), &BTreeSet::new());
    let free = match fixed_subnet(network) {
        Some(fixed) => fixed == subnet,
        None => !used.iter().any(|(other, _)| ipam::overlaps(subnet, *other)),
    };
    (free && attachments(context, &network.name).all(suits)).then_some(subnet)
}

fn own_pool(network: &model::Network) -> Option<&model::IpamPool> {
    let pool = network
        .ipam
        .iter()
        .find(|pool| matches!(pool.subnet, Some(IpNet::V4(_))));
    pool.or_else(|| network.ipam.iter().find(|pool| pool.subnet.is_none()))
}

fn own_gateway(network: &model::Network) -> Option<Ipv4Addr> {
    own_pool(network)
        .and_then(|pool| pool.gateway.as_ref())
        .and_then(v4)
}

fn v4(address: &IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    }
}

/// Places for the keys; `remake` holds the names of existing networks to make anew.
pub(crate) fn decide(
    context: Context<'_>,
    draft: &mut Draft,
    keys: &BTreeSet<&String>,
    remake: &BTreeSet<String>,
) -> Places {
    let stack = &context.desired.stack;
    let mut used = subnets_in_use(context, keys, remake);
    let mut places = Places::new();
    // What exists and what is fixed first, so that a free choice never takes what a later network needs.
    let (fixed, free): (Vec<&String>, Vec<&String>) = keys.iter().partition(|key| {
        stack
            .networks
            .get(**key)
            .is_some_and(|network| fixed_subnet(network).is_some())
    });
    for key in fixed.into_iter().chain(free) {
        let Some(network) = stack.networks.get(key) else {
            continue;
        };
        let existing = context.observed.networks.get(&network.name);
        let place = match existing {
            found if network.external && network.name == PREDEFINED_NETWORK => {
                // A stack may come to it by its mode and by a name of its own.
                let known = places.values().find(|place| place.name == network.name);
                let known = known.map(|place| Place {
                    origin: Origin::Existing,
                    ..place.clone()
                });
                known.or_else(|| predefined(context, draft, network, found, &mut used))
            }
            _ if network.name == PREDEFINED_NETWORK => {
                draft.problem(Problem::NetworkPredefined {
                    network: network.name.clone(),
                });
                None
            }
            Some(found) if network.external => Some(Place::existing(found)),
            None if network.external => {
                draft.problem(Problem::ExternalNetworkMissing {
                    network: network.name.clone(),
                });
                None
            }
            Some(found) if found.project != stack.name => {
                let (network, project) = (network.name.clone(), found.project.clone());
                draft.problem(Problem::NetworkOwned { network, project });
                None
            }
            Some(found) if !remake.contains(&network.name) => Some(Place::existing(found)),
            found => new_place(context, draft, key, network, found, &mut used),
        };
        places.extend(place.map(|place| (key.clone(), place)));
    }
    places
}

/// A network that belongs to no stack's plan: what it will be, among those that are there.
pub fn network_spec(
    observed: &Observed,
    owner: (&str, &str),
    network: &model::Network,
) -> Result<NetworkSpec, Problem> {
    let (project, key) = owner;
    let desired = Desired::unknown(project);
    let graph = ServiceGraph::new(&BTreeMap::new(), observed);
    let request = Request::new(observed.at, Verb::Supervise);
    let context = Context {
        desired: &desired,
        observed,
        request: &request,
        now: observed.at,
        graph: &graph,
    };
    let mut draft = Draft::default();
    let mut used = subnets_in_use(context, &BTreeSet::new(), &BTreeSet::new());
    let place = new_place(context, &mut draft, key, network, None, &mut used);
    match place.map(|place| place.origin) {
        Some(Origin::Missing(spec)) => Ok(NetworkSpec {
            labels: network.labels.clone(),
            ..*spec
        }),
        _ => Err(draft.first_problem().unwrap_or(Problem::PoolExhausted {
            network: network.name.clone(),
        })),
    }
}

/// The engine's own network: it is not declared, so the first plan that needs it creates it.
fn predefined(
    context: Context<'_>,
    draft: &mut Draft,
    network: &model::Network,
    found: Option<&Network>,
    used: &mut Vec<(Ipv4Net, Option<String>)>,
) -> Option<Place> {
    match found {
        // Another plan is about to create it. Both request the same network, so the second one finds it.
        Some(found) if found.id.is_empty() => {
            let spec = NetworkSpec {
                name: found.name.clone(),
                project: found.project.clone(),
                key: found.key.clone(),
                config_hash: found.config_hash.clone(),
                subnet: found.subnet,
                gateway: found.gateway,
                range: found.range,
                reserved: found.reserved.clone(),
                internal: found.internal,
                driver_opts: BTreeMap::new(),
                labels: BTreeMap::new(),
            };
            Some(Place {
                origin: Origin::Missing(Box::new(spec)),
                ..Place::existing(found)
            })
        }
        Some(found) => Some(Place::existing(found)),
        None => {
            let mut place = new_place(context, draft, "", network, None, used)?;
            if let Origin::Missing(spec) = &mut place.origin {
                spec.project.clear();
                spec.labels.clear();
            }
            Some(place)
        }
    }
}

/// Nets that a new subnet must not overlap with, and who has them.
fn subnets_in_use(
    context: Context<'_>,
    keys: &BTreeSet<&String>,
    remake: &BTreeSet<String>,
) -> Vec<(Ipv4Net, Option<String>)> {
    let stack = &context.desired.stack;
    let going = |name: &String| {
        remake.contains(name)
            && keys
                .iter()
                .any(|key| stack.networks.get(*key).is_some_and(|n| n.name == *name))
    };
    let networks = context
        .observed
        .networks
        .values()
        .filter(|network| !going(&network.name));
    networks
        .map(|network| (network.subnet, Some(network.name.clone())))
        .chain(
            context
                .observed
                .host
                .routes
                .iter()
                .map(|route| (*route, None)),
        )
        .collect()
}

fn new_place(
    context: Context<'_>,
    draft: &mut Draft,
    key: &str,
    network: &model::Network,
    old: Option<&Network>,
    used: &mut Vec<(Ipv4Net, Option<String>)>,
) -> Option<Place> {
    let subnet = choose_subnet(context, draft, network, old, used)?;
    used.push((subnet, Some(network.name.clone())));
    let pool = own_pool(network);
    let gateway = own_gateway(network).unwrap_or_else(|| ipam::first_host(subnet));
    let range = pool
        .and_then(|pool| pool.ip_range)
        .and_then(|range| match range {
            IpNet::V4(range) => Some(range),
            IpNet::V6(_) => None,
        });
    let range = range.unwrap_or(subnet);
    for (cause, wrong) in [
        (
            format!("gateway {gateway} is not an address of subnet {subnet}"),
            !ipam::is_host(subnet, gateway),
        ),
        (
            format!("ip_range {range} is not part of subnet {subnet}"),
            !subnet.contains(&range),
        ),
        (
            format!("subnet {subnet} has no room for containers"),
            subnet.prefix_len() > 30,
        ),
    ] {
        if wrong {
            draft.problem(Problem::SubnetUnusable {
                network: network.name.clone(),
                cause,
            });
            return None;
        }
    }
    let reserved: BTreeSet<Ipv4Addr> = pool
        .iter()
        .flat_map(|pool| pool.aux_addresses.values())
        .filter_map(v4)
        .collect();
    let spec = Box::new(NetworkSpec {
        name: network.name.clone(),
        project: context.desired.stack.name.clone(),
        key: key.to_owned(),
        config_hash: network_hash(network),
        subnet,
        gateway,
        range,
        reserved: reserved.clone(),
        internal: network.internal,
        driver_opts: network.driver_opts.clone(),
        labels: labels::network(&context.desired.stack.name, key, network),
    });
    Some(Place {
        name: network.name.clone(),
        subnet,
        gateway,
        range,
        reserved,
        internal: network.internal,
        foreign: BTreeMap::new(),
        origin: if old.is_some() {
            Origin::Changed(spec)
        } else {
            Origin::Missing(spec)
        },
    })
}

fn choose_subnet(
    context: Context<'_>,
    draft: &mut Draft,
    network: &model::Network,
    old: Option<&Network>,
    used: &[(Ipv4Net, Option<String>)],
) -> Option<Ipv4Net> {
    let free = |subnet: Ipv4Net| !used.iter().any(|(other, _)| ipam::overlaps(subnet, *other));
    if let Some(subnet) = fixed_subnet(network) {
        // A route to it may be the very reason for the choice; another network on it never works.
        let holder = used
            .iter()
            .find(|(other, holder)| holder.is_some() && ipam::overlaps(subnet, *other));
        if let Some((other, Some(name))) = holder {
            let holder = format!("network \"{name}\" ({other})");
            draft.problem(Problem::SubnetTaken {
                network: network.name.clone(),
                subnet,
                holder,
            });
            return None;
        }
        return Some(subnet);
    }
    // Made anew for another reason: containers keep their addresses.
    if let Some(old) = old.filter(|old| free(old.subnet)) {
        return Some(old.subnet);
    }
    if let Some(former) = former(context, network).filter(|former| free(*former)) {
        return Some(former);
    }
    let nets: Vec<Ipv4Net> = used.iter().map(|(net, _)| *net).collect();
    let found = ipam::free_subnet(&context.observed.host.pools, &nets);
    if found.is_none() {
        draft.problem(Problem::PoolExhausted {
            network: network.name.clone(),
        });
    }
    found
}

fn fixed_subnet(network: &model::Network) -> Option<Ipv4Net> {
    network.ipam.iter().find_map(|pool| match pool.subnet {
        Some(IpNet::V4(subnet)) => Some(subnet.trunc()),
        _ => None,
    })
}

impl Place {
    fn existing(network: &Network) -> Self {
        Self {
            name: network.name.clone(),
            subnet: network.subnet,
            gateway: network.gateway,
            range: network.range,
            reserved: network.reserved.clone(),
            internal: network.internal,
            foreign: network.foreign.clone(),
            origin: Origin::Existing,
        }
    }
}

/// Whether `down` removes it once it is unused: the project's own, and the engine's own if the project was on it.
pub(crate) fn goes_with(context: Context<'_>, network: &Network) -> bool {
    let stack = &context.desired.stack;
    let meant = || {
        stack
            .networks
            .values()
            .any(|wanted| wanted.external && wanted.name == network.name)
    };
    let joined = || {
        context
            .observed
            .containers
            .values()
            .any(|container| is_attached(container, &network.name))
    };
    network.project == stack.name || (network.is_predefined() && (meant() || joined()))
}

/// Who is still attached once the plan is carried out.
pub(crate) fn holders(
    context: Context<'_>,
    network: &str,
    subjects: &Subjects<'_>,
) -> BTreeSet<String> {
    let foreign = context
        .observed
        .networks
        .get(network)
        .into_iter()
        .flat_map(|network| network.foreign.values());
    let own = context.observed.containers.values().filter(|container| {
        let goes = subjects
            .get(&container.record.name)
            .is_some_and(|subject| subject.fate.removes());
        is_attached(container, network) && !goes
    });
    own.map(|container| &container.record.name)
        .chain(foreign)
        .cloned()
        .collect()
}
