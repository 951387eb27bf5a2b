//! Owns which address each new container gets on each of its networks. Fixed addresses come first, then those that a
//! replaced container had, then the lowest free ones; what is being freed is used again only when nothing else is left.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use hoist_object::Attachment;
use hoist_spec::model::{self, Service};

use crate::ipam;
use crate::planner::Context;
use crate::planner::draft::Draft;
use crate::planner::networks::{Place, Places};
use crate::planner::subject::{Subject, Subjects};
use crate::problem::Problem;

/// Addresses that services of the stack insist on, by network name: the services.
pub(crate) type Fixed = BTreeMap<(String, Ipv4Addr), BTreeSet<String>>;

pub(crate) fn fixed(context: Context<'_>) -> Fixed {
    let stack = &context.desired.stack;
    let mut fixed = Fixed::new();
    for (service, definition) in &stack.services {
        for (key, attachment) in &definition.networks {
            if let (Some(network), Some(address)) =
                (stack.networks.get(key), attachment.ipv4_address)
            {
                fixed
                    .entry((network.name.clone(), address))
                    .or_default()
                    .insert(service.clone());
            }
        }
    }
    fixed
}

/// A container that is to be made, with the service it is made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Making<'a> {
    pub(crate) subject: &'a Subject<'a>,
    pub(crate) service: &'a Service,
}

/// Addresses of the new containers, by container and network key.
pub(crate) type Chosen = BTreeMap<(String, String), Ipv4Addr>;

pub(crate) fn decide(
    context: Context<'_>,
    draft: &mut Draft,
    subjects: &Subjects<'_>,
    making: &[Making<'_>],
    places: &Places,
) -> Chosen {
    let fixed = fixed(context);
    let mut pools: BTreeMap<&str, Pool<'_>> = places
        .values()
        .map(|place| {
            (
                place.name.as_str(),
                Pool::new(context, subjects, place, &fixed),
            )
        })
        .collect();
    let mut chosen = Chosen::new();
    for choose in [fixed_address, kept_address, lowest_address] {
        for making in making {
            for (key, attachment) in &making.service.networks {
                let id = (making.subject.name.clone(), key.clone());
                let Some(pool) = places
                    .get(key)
                    .and_then(|place| pools.get_mut(place.name.as_str()))
                else {
                    continue;
                };
                if chosen.contains_key(&id) {
                    continue;
                }
                match choose(pool, *making, attachment) {
                    Choice::Address(_) if pool.is_full() => draft.problem(Problem::NetworkFull {
                        service: making.subject.service.clone(),
                        network: pool.place.name.clone(),
                        limit: BRIDGE_PORTS,
                    }),
                    Choice::Address(address) => {
                        pool.held.insert(address, making.subject.name.clone());
                        chosen.insert(id, address);
                    }
                    Choice::Later => {}
                    Choice::None(problem) => draft.problem(problem),
                }
            }
        }
    }
    chosen
}

enum Choice {
    Address(Ipv4Addr),
    /// Not this pass's to choose.
    Later,
    None(Problem),
}

struct Pool<'a> {
    place: &'a Place,
    /// Address: who has it and keeps it.
    held: BTreeMap<Ipv4Addr, String>,
    /// Never given to who does not insist on it.
    spared: BTreeSet<Ipv4Addr>,
    /// Of containers that go.
    freed: BTreeSet<Ipv4Addr>,
}

impl<'a> Pool<'a> {
    fn new(context: Context<'_>, subjects: &Subjects<'_>, place: &'a Place, fixed: &Fixed) -> Self {
        let mut held = place.foreign.clone();
        held.insert(place.gateway, "the gateway".to_owned());
        let mut freed = BTreeSet::new();
        for (name, container) in &context.observed.containers {
            let goes = subjects
                .get(name)
                .is_some_and(|subject| subject.fate.removes());
            for attachment in container
                .record
                .networks
                .iter()
                .filter(|attachment| attachment.network == place.name)
            {
                if goes {
                    freed.insert(attachment.address);
                } else {
                    held.insert(attachment.address, format!("container \"{name}\""));
                }
            }
        }
        let insisted = fixed
            .keys()
            .filter(|(network, _)| *network == place.name)
            .map(|(_, address)| *address);
        let spared = place.reserved.iter().copied().chain(insisted).collect();
        Self {
            place,
            held,
            spared,
            freed,
        }
    }

    fn is_full(&self) -> bool {
        // One of the addresses is the gateway's.
        self.held.len() > BRIDGE_PORTS
    }

    fn usable(&self, address: Ipv4Addr) -> bool {
        ipam::is_host(self.place.subnet, address) && !self.held.contains_key(&address)
    }
}

/// The kernel's limit.
const BRIDGE_PORTS: usize = 1023;

fn fixed_address(pool: &Pool<'_>, making: Making<'_>, attachment: &model::Attachment) -> Choice {
    let Some(address) = attachment.ipv4_address else {
        return Choice::Later;
    };
    let service = making.subject.service.clone();
    let network = pool.place.name.clone();
    if pool.usable(address) {
        return Choice::Address(address);
    }
    Choice::None(match pool.held.get(&address) {
        Some(holder) => Problem::AddressTaken {
            service,
            network,
            address,
            holder: holder.clone(),
        },
        None => Problem::AddressOutside {
            service,
            network,
            address,
            subnet: pool.place.subnet,
        },
    })
}

fn kept_address(pool: &Pool<'_>, making: Making<'_>, attachment: &model::Attachment) -> Choice {
    let old = making
        .subject
        .observed
        .into_iter()
        .flat_map(|container| &container.record.networks);
    let mut had = old
        .filter(|old| old.network == pool.place.name)
        .map(|old| old.address);
    match had.next() {
        Some(address)
            if attachment.ipv4_address.is_none()
                && pool.usable(address)
                && !pool.spared.contains(&address) =>
        {
            Choice::Address(address)
        }
        _ => Choice::Later,
    }
}

fn lowest_address(pool: &Pool<'_>, making: Making<'_>, attachment: &model::Attachment) -> Choice {
    if attachment.ipv4_address.is_some() {
        return Choice::Later;
    }
    let taken: BTreeSet<Ipv4Addr> = pool.held.keys().chain(&pool.spared).copied().collect();
    let untouched = taken.union(&pool.freed).copied().collect();
    let Place { subnet, range, .. } = *pool.place;
    match ipam::free_address(subnet, range, &untouched)
        .or_else(|| ipam::free_address(subnet, range, &taken))
    {
        Some(address) => Choice::Address(address),
        None => Choice::None(Problem::NoFreeAddress {
            service: making.subject.service.clone(),
            network: pool.place.name.clone(),
            subnet,
        }),
    }
}

/// The container's places on its networks, the one with the default route first.
pub(crate) fn attachments(
    name: &str,
    service_names: &[String],
    service: &Service,
    places: &Places,
    chosen: &Chosen,
) -> Vec<Attachment> {
    let mut wanted: Vec<(&String, &model::Attachment, &Place, Ipv4Addr)> = service
        .networks
        .iter()
        .filter_map(|(key, attachment)| {
            let address = chosen.get(&(name.to_owned(), key.clone()))?;
            Some((key, attachment, places.get(key)?, *address))
        })
        .collect();
    wanted.sort_by_key(|(key, attachment, ..)| (-attachment.priority, (*key).clone()));
    let default_route = wanted
        .iter()
        .filter(|(_, _, place, _)| !place.internal)
        .max_by_key(|(key, attachment, ..)| {
            (
                attachment.gw_priority,
                attachment.priority,
                std::cmp::Reverse(*key),
            )
        })
        .map(|(key, ..)| (*key).clone());
    let mut numbered = 0..;
    wanted
        .into_iter()
        .map(|(key, attachment, place, address)| {
            let number = numbered.next().unwrap_or(0);
            let mac = attachment
                .mac_address
                .as_deref()
                .or(service.mac_address.as_deref().filter(|_| number == 0));
            let mut aliases = vec![name.to_owned()];
            for alias in service_names.iter().chain(&attachment.aliases) {
                if !aliases.contains(alias) {
                    aliases.push(alias.clone());
                }
            }
            Attachment {
                network: place.name.clone(),
                interface: attachment
                    .interface_name
                    .clone()
                    .unwrap_or_else(|| format!("eth{number}")),
                address,
                prefix: place.subnet.prefix_len(),
                gateway: (default_route.as_ref() == Some(key)).then_some(place.gateway),
                mac: mac
                    .and_then(ipam::parse_mac)
                    .unwrap_or_else(|| ipam::mac(address)),
                aliases,
            }
        })
        .collect()
}
