//! Everything that is known of a container.

use std::time::Duration;

use hoist_api::{
    ContainerConfig, ContainerInspect, ContainerState, HealthConfig, HealthLog, HealthState,
    HostConfig, LogConfig, RestartPolicyConfig,
};
use hoist_engine::{ContainerView, Handle, Phase, rfc3339};
use hoist_object::{MountKind, Policy, ProbeRecord, When, short};
use hoist_spec::model::NamespaceMode;

use super::attachments::{bindings, exposed, mounts, network_mode, network_settings};
use super::summary::health_word;

const NEVER: &str = "0001-01-01T00:00:00Z";

pub(crate) fn inspect(engine: &Handle, container: &ContainerView) -> ContainerInspect {
    let doc = &container.doc;
    let mut argv = container.argv().into_iter();
    let bundle = engine.run_folder(&doc.id);
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
        log_path: engine.log_file(&doc.id).display().to_string(),
        hostname_path: file("hostname"),
        hosts_path: file("hosts"),
        resolv_conf_path: file("resolv.conf"),
        mounts: mounts(engine, container),
        config: config(container),
        host_config: host_config(container),
        network_settings: network_settings(container),
        size_rw: None,
        size_root_fs: None,
    }
}

fn state(container: &ContainerView) -> ContainerState {
    let phase = &container.phase;
    let exit = phase.exit();
    let health = container
        .health_plan
        .as_ref()
        .filter(|_| phase.is_up())
        .map(|_| HealthState {
            status: health_word(container.health).to_owned(),
            failing_streak: container.failing_streak,
            log: container.probes.iter().map(probe).collect(),
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
        error: exit
            .map(|exit| &exit.error)
            .or(container.unreachable.as_ref())
            .cloned()
            .unwrap_or_default(),
        started_at: container
            .state
            .started
            .map_or_else(|| NEVER.to_owned(), rfc3339),
        finished_at: container
            .state
            .exit
            .as_ref()
            .map_or_else(|| NEVER.to_owned(), |exit| rfc3339(exit.at)),
        health,
    }
}

fn probe(entry: &ProbeRecord) -> HealthLog {
    HealthLog {
        start: rfc3339(entry.start),
        end: rfc3339(entry.end),
        exit_code: entry.exit_code,
        output: entry.output.clone(),
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn config(container: &ContainerView) -> ContainerConfig {
    let (service, image) = (&container.config, &container.doc.image);
    let hostname = service
        .hostname
        .clone()
        .unwrap_or_else(|| short(&container.doc.id).to_owned());
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
        env: container.environment(&hostname),
        hostname,
        domainname: service.domainname.clone().unwrap_or_default(),
        user: container.user(),
        tty: service.tty,
        open_stdin: service.stdin_open,
        cmd: service.command.clone().or_else(|| image.cmd.clone()),
        entrypoint: service
            .entrypoint
            .clone()
            .or_else(|| image.entrypoint.clone()),
        image: record.image.clone(),
        working_dir: container.working_dir(),
        labels: container.doc.labels.clone(),
        stop_signal: record
            .stop_signal
            .clone()
            .or_else(|| image.stop_signal.clone())
            .unwrap_or_else(|| "SIGTERM".to_owned()),
        stop_timeout: Some(record.stop_grace.as_secs()),
        exposed_ports: exposed(container)
            .into_iter()
            .map(|(port, kind)| (format!("{port}/{kind}"), empty()))
            .collect(),
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
        Some(NamespaceMode::Service(name) | NamespaceMode::Container(name)) => {
            format!("container:{name}")
        }
    }
}

fn restart_policy(policy: &Policy) -> RestartPolicyConfig {
    let name = match policy.when {
        When::Never => "no",
        When::OnFailure => "on-failure",
        When::Always => "always",
        When::UnlessStopped => "unless-stopped",
    };
    RestartPolicyConfig {
        name: name.to_owned(),
        maximum_retry_count: policy.max_attempts.unwrap_or(0),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a positive number of processors"
)]
fn nano_cpus(cpus: f64) -> u64 {
    (cpus.max(0.0) * 1e9) as u64
}

fn host_config(container: &ContainerView) -> HostConfig {
    let service = &container.config;
    let limits = &service.resources;
    let binds = container.doc.mounts.iter().filter_map(|mount| {
        let source = match &mount.kind {
            MountKind::Bind { path, .. } => path.display().to_string(),
            MountKind::Volume { name, .. } => name.clone(),
            MountKind::Tmpfs { .. } => return None,
        };
        Some(format!(
            "{source}:{}:{}",
            mount.target,
            if mount.read_only { "ro" } else { "rw" }
        ))
    });
    let extra = service.extra_hosts.iter();
    let extra = extra.flat_map(|(name, addresses)| {
        addresses
            .iter()
            .map(move |address| format!("{name}:{address}"))
    });
    HostConfig {
        binds: binds.collect(),
        annotations: service.annotations.clone(),
        network_mode: network_mode(container),
        port_bindings: bindings(container)
            .into_iter()
            .map(|(port, found)| (port, found.unwrap_or_default()))
            .collect(),
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
        memory_swappiness: limits.mem_swappiness.filter(|percent| *percent >= 0),
        nano_cpus: limits.cpus.map_or(0, nano_cpus),
        cpu_shares: limits.cpu_shares.unwrap_or(0),
        cpu_quota: limits.cpu_quota.unwrap_or(0),
        cpu_period: limits.cpu_period.unwrap_or(0),
        cpuset_cpus: limits.cpuset.clone().unwrap_or_default(),
        pids_limit: limits.pids.unwrap_or(0),
        log_config: LogConfig {
            kind: service
                .logging
                .as_ref()
                .and_then(|log| log.driver.clone())
                .unwrap_or_else(|| "json-file".to_owned()),
            config: service
                .logging
                .as_ref()
                .map(|log| log.options.clone())
                .unwrap_or_default(),
        },
        oom_score_adj: service.oom_score_adj.unwrap_or(0),
    }
}
