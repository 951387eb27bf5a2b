//! From the world to the wire.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use hoist_scheduler::restart::{Policy, When};
use hoist_scheduler::{Health, Published, Timestamp, Transport};
use hoist_spec::model::{NamespaceMode, NetworkMode};

use super::types::{
    ContainerConfig, ContainerInspect, ContainerState, ContainerSummary, EndpointSettings, HealthConfig, HealthState,
    HostConfig, Ipam, IpamConfig, LogConfig, MountPoint, NetworkContainer, NetworkInspect, NetworkSettings,
    PortBinding, PortSummary, RestartPolicyConfig, SummaryHostConfig, SummaryNetworks, VolumeInspect,
};
use crate::engine::{Engine, now, rfc3339, short};
use crate::lower;
use crate::store::{Layout, MountKind, NetworkDoc, VolumeDoc};
use crate::world::{Container, Phase, World};

const NEVER: &str = "0001-01-01T00:00:00Z";

pub(crate) fn summary(world: &World, layout: &Layout, container: &Container) -> ContainerSummary {
    let doc = &container.doc;
    ContainerSummary {
        id: doc.id.clone(),
        names: vec![format!("/{}", doc.record.name)],
        image: doc.record.image.clone(),
        image_id: doc.image_id.clone(),
        command: lower::argv(&container.service, &doc.image).unwrap_or_default().join(" "),
        created: doc.created.0 / 1_000_000_000,
        ports: ports(container),
        labels: doc.labels.clone(),
        state: container.phase.word().to_owned(),
        status: status(container),
        host_config: SummaryHostConfig { network_mode: network_mode(container) },
        network_settings: SummaryNetworks { networks: endpoints(world, container) },
        mounts: mounts(layout, container),
        health: health_word(container.health()).to_owned(),
        exit_code: container.phase.exit().map_or(0, |exit| exit.code),
    }
}

fn health_word(health: Health) -> &'static str {
    match health {
        Health::None => "",
        Health::Starting => "starting",
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
    }
}

/// Docker's words: `Up 2 minutes (healthy)`, `Exited (0) 5 seconds ago`.
fn status(container: &Container) -> String {
    let since = |time: Timestamp| ago(now().since(time));
    let up = || container.state.started.map(since).unwrap_or_default();
    match &container.phase {
        Phase::Created | Phase::Starting => "Created".to_owned(),
        Phase::Removed => "Removal In Progress".to_owned(),
        Phase::Running => match container.health() {
            Health::None => format!("Up {}", up()),
            Health::Starting => format!("Up {} (health: starting)", up()),
            health => format!("Up {} ({})", up(), health_word(health)),
        },
        Phase::Paused => format!("Up {} (Paused)", up()),
        Phase::Restarting { exit } => format!("Restarting ({}) {} ago", exit.code, since(exit.at)),
        Phase::Exited(exit) if container.state.started.is_none() => format!("Created ({})", exit.code),
        Phase::Exited(exit) => format!("Exited ({}) {} ago", exit.code, since(exit.at)),
    }
}

fn ago(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        120..3600 => format!("{minutes} minutes"),
        3600..7200 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 14 => format!("{} days", hours / 24),
        _ if hours < 24 * 60 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 730 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

fn transport(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    }
}

fn host_ip(port: &Published) -> String {
    port.host_ip.map_or_else(|| "0.0.0.0".to_owned(), |ip: IpAddr| ip.to_string())
}

/// `8080/tcp`, or a range.
fn exposed(container: &Container) -> Vec<(u16, String)> {
    let texts = container.service.expose.iter().chain(&container.doc.image.exposed_ports);
    let mut ports: Vec<(u16, String)> = texts
        .filter_map(|text| {
            let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
            let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
            let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
            Some((first..=last).map(|port| (port, protocol.to_owned())).collect::<Vec<_>>())
        })
        .flatten()
        .collect();
    ports.sort();
    ports.dedup();
    ports
}

fn ports(container: &Container) -> Vec<PortSummary> {
    let published = &container.doc.record.ports;
    let mut ports = Vec::new();
    if container.phase.is_up() {
        ports.extend(published.iter().map(|port| PortSummary {
            ip: host_ip(port),
            private_port: port.target,
            public_port: Some(port.host_port),
            protocol: transport(port.transport).to_owned(),
        }));
        let is_published = |port: u16, protocol: &str| {
            published.iter().any(|found| found.target == port && transport(found.transport) == protocol)
        };
        let only_exposed = exposed(container).into_iter().filter(|(port, protocol)| !is_published(*port, protocol));
        ports.extend(only_exposed.map(|(private_port, protocol)| PortSummary {
            ip: String::new(),
            private_port,
            public_port: None,
            protocol,
        }));
    }
    ports.sort();
    ports
}

fn network_mode(container: &Container) -> String {
    match &container.service.network_mode {
        Some(NetworkMode::Host) => "host".to_owned(),
        Some(NetworkMode::None) => "none".to_owned(),
        Some(NetworkMode::Service(name) | NetworkMode::Container(name)) => format!("container:{name}"),
        None => container.doc.record.networks.first().map(|found| found.network.clone()).unwrap_or_default(),
    }
}

fn mac(bytes: [u8; 6]) -> String {
    hoist_network::Mac(bytes).to_string()
}

fn endpoints(world: &World, container: &Container) -> BTreeMap<String, EndpointSettings> {
    let up = container.phase.is_up();
    let attachments = container.doc.record.networks.iter();
    attachments
        .map(|attachment| {
            let network = world.networks.get(&attachment.network);
            let settings = EndpointSettings {
                network_id: network.map(|network| network.id.clone()).unwrap_or_default(),
                gateway: network.filter(|_| up).map(|network| network.gateway.to_string()).unwrap_or_default(),
                ip_address: if up { attachment.address.to_string() } else { String::new() },
                ip_prefix_len: if up { attachment.prefix } else { 0 },
                mac_address: if up { mac(attachment.mac) } else { String::new() },
                aliases: attachment.aliases.clone(),
                dns_names: attachment.aliases.iter().cloned().chain([short(&container.doc.id).to_owned()]).collect(),
            };
            (attachment.network.clone(), settings)
        })
        .collect()
}

fn mounts(layout: &Layout, container: &Container) -> Vec<MountPoint> {
    container
        .doc
        .mounts
        .iter()
        .map(|mount| {
            let point = MountPoint {
                destination: mount.target.clone(),
                rw: !mount.read_only,
                mode: if mount.read_only { "ro".to_owned() } else { "rw".to_owned() },
                ..MountPoint::default()
            };
            match &mount.kind {
                MountKind::Volume { name, .. } => MountPoint {
                    kind: "volume".to_owned(),
                    name: name.clone(),
                    source: layout.volume_data(name).display().to_string(),
                    driver: "local".to_owned(),
                    ..point
                },
                MountKind::Bind { path, propagation, .. } => MountPoint {
                    kind: "bind".to_owned(),
                    source: path.display().to_string(),
                    propagation: propagation.clone().unwrap_or_else(|| "rprivate".to_owned()),
                    ..point
                },
                MountKind::Tmpfs { .. } => MountPoint { kind: "tmpfs".to_owned(), ..point },
            }
        })
        .collect()
}

pub(crate) fn inspect(world: &World, engine: &Engine, container: &Container) -> ContainerInspect {
    let doc = &container.doc;
    let layout = &engine.store.layout;
    let mut argv = lower::argv(&container.service, &doc.image).unwrap_or_default().into_iter();
    let bundle = engine.bundle(&doc.id);
    let file = |name: &str| bundle.join(name).display().to_string();
    ContainerInspect {
        id: doc.id.clone(),
        created: rfc3339(doc.created),
        path: argv.next().unwrap_or_default(),
        args: argv.collect(),
        state: state(container),
        image: doc.image_id.clone(),
        name: format!("/{}", doc.record.name),
        restart_count: container.state.history.restarts,
        driver: "overlay".to_owned(),
        platform: "linux".to_owned(),
        log_path: layout.log(&doc.id).display().to_string(),
        hostname_path: file("hostname"),
        hosts_path: file("hosts"),
        resolv_conf_path: file("resolv.conf"),
        mounts: mounts(layout, container),
        config: config(container),
        host_config: host_config(container),
        network_settings: network_settings(world, container),
    }
}

fn state(container: &Container) -> ContainerState {
    let phase = &container.phase;
    let exit = phase.exit();
    let health = container.health_plan.as_ref().filter(|_| phase.is_up()).map(|_| HealthState {
        status: health_word(container.health()).to_owned(),
        failing_streak: container.health.as_ref().map_or(0, |health| health.check.failing_streak),
        log: container.health.as_ref().map(|health| health.log.iter().cloned().collect()).unwrap_or_default(),
    });
    ContainerState {
        status: phase.word().to_owned(),
        running: phase.has_processes() || matches!(phase, Phase::Restarting { .. }),
        paused: *phase == Phase::Paused,
        restarting: matches!(phase, Phase::Restarting { .. }),
        oom_killed: container.oom || exit.is_some_and(|exit| exit.oom),
        dead: false,
        pid: container.pid.unwrap_or(0),
        exit_code: exit.map_or(0, |exit| exit.code),
        error: exit.map(|exit| exit.error.clone()).unwrap_or_default(),
        started_at: container.state.started.map_or_else(|| NEVER.to_owned(), rfc3339),
        finished_at: container.state.exit.as_ref().map_or_else(|| NEVER.to_owned(), |exit| rfc3339(exit.at)),
        health,
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn config(container: &Container) -> ContainerConfig {
    let (service, image) = (&container.service, &container.doc.image);
    let hostname = service.hostname.clone().unwrap_or_else(|| short(&container.doc.id).to_owned());
    let healthcheck = container.health_plan.as_ref().map(|plan| HealthConfig {
        test: plan.test.clone(),
        interval: nanos(plan.timing.interval),
        timeout: nanos(plan.timing.timeout),
        retries: plan.timing.retries,
        start_period: nanos(plan.timing.start_period),
        start_interval: nanos(plan.timing.start_interval),
    });
    let empty = || serde_json::Value::Object(serde_json::Map::new());
    let record = &container.doc.record;
    ContainerConfig {
        env: lower::environment(service, image, &hostname),
        hostname,
        domainname: service.domainname.clone().unwrap_or_default(),
        user: lower::user(service, image).unwrap_or_default(),
        tty: service.tty,
        open_stdin: service.stdin_open,
        cmd: service.command.clone().or_else(|| image.cmd.clone()),
        entrypoint: service.entrypoint.clone().or_else(|| image.entrypoint.clone()),
        image: record.image.clone(),
        working_dir: lower::working_dir(service, image),
        labels: container.doc.labels.clone(),
        stop_signal: record
            .stop_signal
            .clone()
            .or_else(|| image.stop_signal.clone())
            .unwrap_or_else(|| "SIGTERM".to_owned()),
        stop_timeout: Some(record.stop_grace.as_secs()),
        exposed_ports: exposed(container).into_iter().map(|(port, kind)| (format!("{port}/{kind}"), empty())).collect(),
        volumes: None,
        healthcheck,
    }
}

fn namespace(mode: &Option<NamespaceMode>, default: &str) -> String {
    match mode {
        None => default.to_owned(),
        Some(NamespaceMode::Private) => "private".to_owned(),
        Some(NamespaceMode::Shareable) => "shareable".to_owned(),
        Some(NamespaceMode::Host) => "host".to_owned(),
        Some(NamespaceMode::None) => "none".to_owned(),
        Some(NamespaceMode::Service(name) | NamespaceMode::Container(name)) => format!("container:{name}"),
    }
}

fn restart_policy(policy: &Policy) -> RestartPolicyConfig {
    let name = match policy.when {
        When::Never => "no",
        When::OnFailure => "on-failure",
        When::Always => "always",
        When::UnlessStopped => "unless-stopped",
    };
    RestartPolicyConfig { name: name.to_owned(), maximum_retry_count: policy.max_attempts.unwrap_or(0) }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive number of processors")]
fn nano_cpus(cpus: f64) -> u64 {
    (cpus.max(0.0) * 1e9) as u64
}

fn host_config(container: &Container) -> HostConfig {
    let service = &container.service;
    let limits = &service.resources;
    let binds = container.doc.mounts.iter().filter_map(|mount| {
        let source = match &mount.kind {
            MountKind::Bind { path, .. } => path.display().to_string(),
            MountKind::Volume { name, .. } => name.clone(),
            MountKind::Tmpfs { .. } => return None,
        };
        Some(format!("{source}:{}:{}", mount.target, if mount.read_only { "ro" } else { "rw" }))
    });
    let extra = service.extra_hosts.iter();
    let extra = extra.flat_map(|(name, addresses)| addresses.iter().map(move |address| format!("{name}:{address}")));
    HostConfig {
        binds: binds.collect(),
        annotations: service.annotations.clone(),
        network_mode: network_mode(container),
        port_bindings: bindings(container).into_iter().map(|(port, found)| (port, found.unwrap_or_default())).collect(),
        restart_policy: restart_policy(&container.doc.record.restart),
        auto_remove: container.doc.remove,
        privileged: service.privileged,
        readonly_rootfs: service.read_only,
        cap_add: service.cap_add.clone(),
        cap_drop: service.cap_drop.clone(),
        dns: service.dns.iter().map(ToString::to_string).collect(),
        dns_search: service.dns_search.clone(),
        dns_options: service.dns_opt.clone(),
        extra_hosts: extra.collect(),
        group_add: service.group_add.clone(),
        security_opt: service.security_opt.clone(),
        ipc_mode: namespace(&service.ipc, "private"),
        pid_mode: namespace(&service.pid, ""),
        uts_mode: namespace(&service.uts, ""),
        shm_size: service.shm_size.unwrap_or(64 << 20),
        init: service.init.unwrap_or(false),
        memory: limits.memory.unwrap_or(0),
        memory_reservation: limits.memory_reservation.unwrap_or(0),
        memory_swap: limits.memswap_limit.unwrap_or(0),
        nano_cpus: limits.cpus.map_or(0, nano_cpus),
        cpu_shares: limits.cpu_shares.unwrap_or(0),
        cpu_quota: limits.cpu_quota.unwrap_or(0),
        cpu_period: limits.cpu_period.unwrap_or(0),
        cpuset_cpus: limits.cpuset.clone().unwrap_or_default(),
        pids_limit: limits.pids.unwrap_or(0),
        log_config: LogConfig {
            kind: service.logging.as_ref().and_then(|log| log.driver.clone()).unwrap_or_else(|| "json-file".to_owned()),
            config: service.logging.as_ref().map(|log| log.options.clone()).unwrap_or_default(),
        },
        oom_score_adj: service.oom_score_adj.unwrap_or(0),
    }
}

fn bindings(container: &Container) -> BTreeMap<String, Option<Vec<PortBinding>>> {
    let mut bindings: BTreeMap<String, Option<Vec<PortBinding>>> =
        exposed(container).into_iter().map(|(port, kind)| (format!("{port}/{kind}"), None)).collect();
    for port in &container.doc.record.ports {
        let binding = PortBinding { host_ip: host_ip(port), host_port: port.host_port.to_string() };
        let key = format!("{}/{}", port.target, transport(port.transport));
        bindings.entry(key).or_default().get_or_insert_default().push(binding);
    }
    bindings
}

fn network_settings(world: &World, container: &Container) -> NetworkSettings {
    let networks = endpoints(world, container);
    let first = container.doc.record.networks.first().and_then(|found| networks.get(&found.network)).cloned();
    let first = first.unwrap_or_default();
    NetworkSettings {
        ports: if container.phase.is_up() { bindings(container) } else { BTreeMap::new() },
        networks,
        ip_address: first.ip_address,
        gateway: first.gateway,
        mac_address: first.mac_address,
    }
}

pub(crate) fn network(world: &World, network: &NetworkDoc) -> NetworkInspect {
    let attached = world.containers.values().filter(|container| container.phase.is_up()).filter_map(|container| {
        let attachment = container.doc.record.networks.iter().find(|found| found.network == network.name)?;
        let entry = NetworkContainer {
            name: container.doc.record.name.clone(),
            endpoint_id: container.doc.id.clone(),
            mac_address: mac(attachment.mac),
            ipv4_address: format!("{}/{}", attachment.address, attachment.prefix),
            ipv6_address: String::new(),
        };
        Some((container.doc.id.clone(), entry))
    });
    NetworkInspect {
        name: network.name.clone(),
        id: network.id.clone(),
        created: rfc3339(network.created),
        scope: "local".to_owned(),
        driver: "bridge".to_owned(),
        enable_ipv6: false,
        internal: network.internal,
        attachable: false,
        ingress: false,
        ipam: Ipam {
            driver: "default".to_owned(),
            config: vec![IpamConfig { subnet: network.subnet.to_string(), gateway: network.gateway.to_string() }],
        },
        containers: attached.collect(),
        options: network.driver_opts.clone(),
        labels: network.labels.clone(),
    }
}

pub(crate) fn volume(layout: &Layout, volume: &VolumeDoc) -> VolumeInspect {
    VolumeInspect {
        name: volume.name.clone(),
        driver: "local".to_owned(),
        mountpoint: layout.volume_data(&volume.name).display().to_string(),
        created_at: rfc3339(volume.created),
        labels: volume.labels.clone(),
        options: volume.driver_opts.clone(),
        scope: "local".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_as_docker_tells_them() {
        let text = |seconds| ago(Duration::from_secs(seconds));
        assert_eq!(text(0), "Less than a second");
        assert_eq!(text(59), "59 seconds");
        assert_eq!(text(90), "About a minute");
        assert_eq!(text(3600 * 30), "30 hours");
        assert_eq!(text(3600 * 24 * 20), "2 weeks");
    }
}
