//! Owns which host ports each container publishes. Replicas share a port that the stack fixes; of a range each takes its
//! own, and so does each container where the stack leaves the choice.

use std::collections::BTreeMap;
use std::net::IpAddr;

use hoist_object::{Published, Transport};
use hoist_spec::model::{self, Protocol};

use crate::observed::PortHolder;
use crate::planner::Context;
use crate::planner::addresses::Making;
use crate::planner::draft::Draft;
use crate::planner::subject::{Subject, Subjects};
use crate::ports::PortTable;
use crate::problem::Problem;

/// Ports of the new containers by name, in the order of the stack's file.
pub(crate) type Ports = BTreeMap<String, Vec<Published>>;

pub(crate) fn transport(protocol: Protocol) -> Transport {
    match protocol {
        Protocol::Tcp => Transport::Tcp,
        Protocol::Udp => Transport::Udp,
    }
}

pub(crate) fn decide(
    context: Context<'_>,
    draft: &mut Draft,
    subjects: &Subjects<'_>,
    making: &[Making<'_>],
) -> Ports {
    let project = &context.desired.stack.name;
    let mut table = existing(context, draft, subjects);
    let mut chosen: BTreeMap<(&str, usize), Published> = BTreeMap::new();
    let passes: [fn(&model::Port) -> bool; 3] = [
        |port| port.published.is_some_and(|(first, last)| first == last),
        |port| port.published.is_some_and(|(first, last)| first != last),
        |port| port.published.is_none(),
    ];
    // The least free to choose first.
    for pass in passes {
        for Making { subject, service } in making {
            for (index, port) in service
                .ports
                .iter()
                .enumerate()
                .filter(|(_, port)| pass(port))
            {
                match choose(context, &table, subjects, subject, port) {
                    Ok(published) => {
                        table.hold(published, holder(project, &subject.name), &subject.service);
                        chosen.insert((&subject.name, index), published);
                    }
                    Err(problem) => draft.problem(problem),
                }
            }
        }
    }
    let mut ports = Ports::new();
    for ((name, _), published) in chosen {
        let list = ports.entry(name.to_owned()).or_default();
        if !list.contains(&published) {
            list.push(published);
        }
    }
    ports
}

/// Ports of others, and of the project's containers that run on; those that are started again must find theirs free.
pub(crate) fn existing(
    context: Context<'_>,
    draft: &mut Draft,
    subjects: &Subjects<'_>,
) -> PortTable {
    let project = &context.desired.stack.name;
    let mut table = PortTable::new(&context.observed.host.ports);
    let staying = subjects
        .values()
        .filter(|subject| subject.will_run() && !subject.fate.makes());
    let (running, started): (Vec<&Subject<'_>>, Vec<_>) =
        staying.partition(|subject| subject.runs());
    for subject in running.into_iter().chain(started) {
        let Some(container) = subject.observed else {
            continue;
        };
        for port in &container.record.ports {
            if let Some(other) = table
                .holder(*port, &subject.service)
                .filter(|_| !subject.runs())
            {
                draft.problem(taken(
                    &subject.service,
                    *port,
                    (port.host_port, port.host_port),
                    other,
                ));
            }
            table.hold(*port, holder(project, &subject.name), &subject.service);
        }
    }
    table
}

fn choose(
    context: Context<'_>,
    table: &PortTable,
    subjects: &Subjects<'_>,
    subject: &Subject<'_>,
    port: &model::Port,
) -> Result<Published, Problem> {
    if let Some(address @ IpAddr::V6(_)) = port.host_ip {
        return Err(Problem::HostAddressV6 {
            service: subject.service.clone(),
            address,
        });
    }
    let at = |host_port| Published {
        host_ip: port.host_ip,
        host_port,
        target: port.target,
        transport: self::transport(port.protocol),
    };
    let range = port.published.unwrap_or(context.observed.host.ephemeral);
    if let (first, last) = range
        && first == last
    {
        return match table.holder(at(first), &subject.service) {
            Some(other) => Err(taken(&subject.service, at(first), range, other)),
            None => Ok(at(first)),
        };
    }
    let had = subject
        .observed
        .into_iter()
        .flat_map(|container| &container.record.ports);
    let mut had = had
        .filter(|old| at(old.host_port) == **old && (range.0..=range.1).contains(&old.host_port));
    if let Some(kept) = had.find(|old| table.is_free(**old)) {
        return Ok(*kept);
    }
    // A stopped container of the project will want its port back.
    let wanted = |candidate: Published| {
        subjects
            .values()
            .filter(|other| !other.fate.removes())
            .any(|other| {
                other.observed.is_some_and(|container| {
                    container.record.ports.iter().any(|port| {
                        (port.host_port, port.transport)
                            == (candidate.host_port, candidate.transport)
                            && crate::ports::clash(port.host_ip, candidate.host_ip)
                    })
                })
            })
    };
    let free = || {
        (range.0..=range.1)
            .map(at)
            .filter(|candidate| table.is_free(*candidate))
    };
    if let Some(published) = free()
        .find(|candidate| !wanted(*candidate))
        .or_else(|| free().next())
    {
        return Ok(published);
    }
    let other = table
        .holder(at(range.0), "")
        .cloned()
        .unwrap_or(PortHolder::Host);
    Err(taken(&subject.service, at(range.0), range, &other))
}

fn taken(service: &str, port: Published, ports: (u16, u16), holder: &PortHolder) -> Problem {
    Problem::PortTaken {
        service: service.to_owned(),
        host_ip: port.host_ip,
        ports,
        transport: port.transport,
        holder: holder.clone(),
    }
}

fn holder(project: &str, name: &str) -> PortHolder {
    PortHolder::Container {
        project: project.to_owned(),
        name: name.to_owned(),
    }
}
