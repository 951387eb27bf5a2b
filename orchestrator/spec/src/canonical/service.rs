//! Services and what is inside them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::bind::tmpfs;
use crate::model::{
    Attachment, Condition, Deploy, Device, FileMount, HealthTest, Healthcheck, Mount, MountSource, NamespaceMode,
    NetworkMode, Port, Protocol, PullPolicy, RestartPolicy, Service, Ulimit,
};

use super::Object;
use super::build::build;

pub(super) fn service(service: &Service) -> Value {
    let mut object = Object::default();
    object.text("image", service.image.as_ref());
    object.maybe("build", service.build.as_ref().map(build));
    object.maybe("pull_policy", service.pull_policy.map(pull_policy));
    object.text("platform", service.platform.as_ref());
    process(service, &mut object);
    relations(service, &mut object);
    places(service, &mut object);
    storage(service, &mut object);
    limits(service, &mut object);
    confinement(service, &mut object);
    object.maybe("deploy", deploy(service));
    for (key, value) in &service.extensions {
        object.put(key, value.clone());
    }
    object.done()
}

fn process(service: &Service, object: &mut Object) {
    object.put("command", service.command.clone());
    object.put("entrypoint", service.entrypoint.clone());
    object.open_table("environment", &service.environment);
    object.text("working_dir", service.working_dir.as_ref());
    object.text("user", service.user.as_ref());
    object.strings("group_add", &service.group_add);
    object.text("hostname", service.hostname.as_ref());
    object.text("domainname", service.domainname.as_ref());
    object.text("container_name", service.container_name.as_ref());
    object.maybe("init", service.init);
    object.flag("tty", service.tty);
    object.flag("stdin_open", service.stdin_open);
    object.text("stop_signal", service.stop_signal.as_ref());
    object.duration("stop_grace_period", service.stop_grace_period);
    object.table("labels", &service.labels);
    object.table("annotations", &service.annotations);
    if !service.attach {
        object.put("attach", false);
    }
    if let Some(logging) = &service.logging {
        let mut section = Object::default();
        section.text("driver", logging.driver.as_ref());
        section.table("options", &logging.options);
        object.put("logging", section.0);
    }
}

fn relations(service: &Service, object: &mut Object) {
    let mut depends_on = Object::default();
    for (name, dependency) in &service.depends_on {
        let mut one = Object::default();
        one.put(
            "condition",
            match dependency.condition {
                Condition::Started => "service_started",
                Condition::Healthy => "service_healthy",
                Condition::CompletedSuccessfully => "service_completed_successfully",
            },
        );
        one.flag("restart", dependency.restart);
        one.put("required", dependency.required);
        depends_on.put(name, one.0);
    }
    object.section("depends_on", depends_on);
    object.maybe("healthcheck", service.healthcheck.as_ref().map(healthcheck));
    object.maybe("restart", service.restart.map(restart));
    object.strings("profiles", &service.profiles);
    object.strings("links", &service.links);
}

fn healthcheck(check: &Healthcheck) -> Value {
    let mut object = Object::default();
    match &check.test {
        HealthTest::Inherit => {}
        HealthTest::Disabled => object.put("disable", true),
        HealthTest::Exec(words) => {
            let words = std::iter::once("CMD").chain(words.iter().map(String::as_str));
            object.put("test", words.map(Value::from).collect::<Vec<_>>());
        }
        HealthTest::Shell(text) => object.put("test", vec![Value::from("CMD-SHELL"), Value::from(text.clone())]),
    }
    object.duration("interval", check.interval);
    object.duration("timeout", check.timeout);
    object.maybe("retries", check.retries);
    object.duration("start_period", check.start_period);
    object.duration("start_interval", check.start_interval);
    object.done()
}

fn restart(policy: RestartPolicy) -> String {
    match policy {
        RestartPolicy::No => "no".to_owned(),
        RestartPolicy::Always => "always".to_owned(),
        RestartPolicy::UnlessStopped => "unless-stopped".to_owned(),
        RestartPolicy::OnFailure { max_retries: None } => "on-failure".to_owned(),
        RestartPolicy::OnFailure { max_retries: Some(count) } => format!("on-failure:{count}"),
    }
}

fn pull_policy(policy: PullPolicy) -> String {
    let every = |seconds: u64| {
        let units = [(604_800, "w"), (86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
        let whole = units.iter().find(|(size, _)| seconds.is_multiple_of(*size));
        whole.map_or_else(|| format!("{seconds}s"), |(size, unit)| format!("{}{unit}", seconds / size))
    };
    match policy {
        PullPolicy::Always => "always".to_owned(),
        PullPolicy::Never => "never".to_owned(),
        PullPolicy::Missing => "missing".to_owned(),
        PullPolicy::Build => "build".to_owned(),
        PullPolicy::Every(age) => match age.as_secs() {
            86_400 => "daily".to_owned(),
            604_800 => "weekly".to_owned(),
            seconds => format!("every_{}", every(seconds)),
        },
    }
}

fn places(service: &Service, object: &mut Object) {
    if let Some(mode) = &service.network_mode {
        object.put(
            "network_mode",
            match mode {
                NetworkMode::None => "none".to_owned(),
                NetworkMode::Host => "host".to_owned(),
                NetworkMode::Service(name) => format!("service:{name}"),
                NetworkMode::Container(name) => format!("container:{name}"),
                NetworkMode::Network(name) => name.clone(),
            },
        );
    }
    if !service.networks.is_empty() {
        let places = service.networks.iter().map(|(name, place)| (name.clone(), attachment(place)));
        object.put("networks", places.collect::<Map<_, _>>());
    }
    object.list("ports", service.ports.iter().map(port).collect());
    object.strings("expose", &service.expose);
    object.list("dns", service.dns.iter().map(|address| Value::from(address.to_string())).collect());
    object.strings("dns_search", &service.dns_search);
    object.strings("dns_opt", &service.dns_opt);
    object.hosts("extra_hosts", &service.extra_hosts);
    object.text("mac_address", service.mac_address.as_ref());
}

fn attachment(place: &Attachment) -> Value {
    let mut object = Object::default();
    object.strings("aliases", &place.aliases);
    object.maybe("ipv4_address", place.ipv4_address.map(|address| address.to_string()));
    object.maybe("ipv6_address", place.ipv6_address.map(|address| address.to_string()));
    object.list("link_local_ips", place.link_local_ips.iter().map(|ip| Value::from(ip.to_string())).collect());
    object.text("mac_address", place.mac_address.as_ref());
    object.text("interface_name", place.interface_name.as_ref());
    object.maybe("priority", Some(place.priority).filter(|priority| *priority != 0));
    object.maybe("gw_priority", Some(place.gw_priority).filter(|priority| *priority != 0));
    object.table("driver_opts", &place.driver_opts);
    if object.0.is_empty() { Value::Null } else { object.done() }
}

fn port(port: &Port) -> Value {
    let mut object = Object::default();
    object.text("name", port.name.as_ref());
    object.put("mode", port.mode.clone());
    object.maybe("host_ip", port.host_ip.map(|address| address.to_string()));
    object.put("target", port.target);
    object.maybe(
        "published",
        port.published.map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") }),
    );
    object.put(
        "protocol",
        match port.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        },
    );
    object.text("app_protocol", port.app_protocol.as_ref());
    object.done()
}

fn storage(service: &Service, object: &mut Object) {
    // Mounts of the `tmpfs` attribute stand at the end of the list and are printed as they were written.
    let own =
        service.mounts.iter().filter(|mount| !service.tmpfs.iter().any(|text| tmpfs(text).as_ref() == Ok(*mount)));
    object.list("volumes", own.map(|one| mount(one, &service.bare_mounts)).collect());
    object.strings("volumes_from", &service.volumes_from);
    object.strings("tmpfs", &service.tmpfs);
    object.list("secrets", service.secrets.iter().map(|secret| file_mount(secret, "/run/secrets/")).collect());
    object.list("configs", service.configs.iter().map(|config| file_mount(config, "")).collect());
    object.flag("read_only", service.read_only);
    object.bytes("shm_size", service.shm_size);
}

fn mount(mount: &Mount, bare: &[String]) -> Value {
    let mut object = Object::default();
    let mut detail = Object::default();
    let (kind, source) = match &mount.source {
        MountSource::Volume { name, nocopy, subpath } => {
            detail.flag("nocopy", *nocopy);
            detail.text("subpath", subpath.as_ref());
            ("volume", name.clone())
        }
        MountSource::Bind { path, create_host_path, propagation, selinux } => {
            if !create_host_path {
                detail.put("create_host_path", false);
            }
            detail.text("propagation", propagation.as_ref());
            detail.text("selinux", selinux.as_ref());
            ("bind", Some(path.to_string_lossy().into_owned()))
        }
        MountSource::Tmpfs { size, mode, .. } => {
            detail.bytes("size", *size);
            detail.maybe("mode", *mode);
            ("tmpfs", None)
        }
    };
    object.put("type", kind);
    object.maybe("source", source);
    object.put("target", mount.target.clone());
    object.flag("read_only", mount.read_only);
    object.text("consistency", mount.consistency.as_ref());
    if !detail.0.is_empty() || !bare.contains(&mount.target) {
        object.put(kind, detail.0);
    }
    object.done()
}

fn file_mount(mount: &FileMount, folder: &str) -> Value {
    let mut object = Object::default();
    object.put("source", mount.source.clone());
    let short = mount.target.strip_prefix(folder).unwrap_or(&mount.target);
    if folder.is_empty() {
        if mount.target.strip_prefix('/') != Some(&mount.source) {
            object.put("target", mount.target.clone());
        }
    } else if short == mount.source {
        object.put("target", mount.target.clone());
    } else {
        object.put("target", short);
    }
    ownership(&mut object, mount.uid, mount.gid, mount.mode);
    object.done()
}

pub(super) fn ownership(object: &mut Object, uid: Option<u32>, gid: Option<u32>, mode: Option<u32>) {
    object.maybe("uid", uid.map(|id| id.to_string()));
    object.maybe("gid", gid.map(|id| id.to_string()));
    object.maybe("mode", mode.map(|mode| format!("0{mode:o}")));
}

fn limits(service: &Service, object: &mut Object) {
    let resources = &service.resources;
    let absent = Deploy::default();
    let written = service.deploy.as_ref().unwrap_or(&absent);
    if written.replicas.is_none() && service.replicas != 1 {
        object.put("scale", service.replicas);
    }
    object.number("cpus", resources.cpus.filter(|_| !written.cpus));
    object.maybe("cpu_shares", resources.cpu_shares);
    object.maybe("cpu_quota", resources.cpu_quota);
    object.maybe("cpu_period", resources.cpu_period);
    object.text("cpuset", resources.cpuset.as_ref());
    object.bytes("mem_limit", resources.memory.filter(|_| !written.memory));
    object.bytes("mem_reservation", resources.memory_reservation.filter(|_| !written.memory_reservation));
    object.bytes("memswap_limit", resources.memswap_limit);
    object.maybe("pids_limit", resources.pids.filter(|_| !written.pids));
    object.maybe("oom_kill_disable", resources.oom_kill_disable);
}

fn deploy(service: &Service) -> Option<Value> {
    let absent = Deploy::default();
    let written = match &service.deploy {
        Some(written) => written,
        None => &absent,
    };
    if service.deploy.is_none() && service.deploy_restart.is_none() {
        return None;
    }
    let mut object = Object::default();
    object.text("mode", written.mode.as_ref());
    if let Some(replicas) = written.replicas {
        let global = written.mode.as_deref() == Some("global");
        object.put("replicas", if global { replicas } else { service.replicas });
    }
    let mut resources = Object::default();
    let mut limits = Object::default();
    limits.number("cpus", service.resources.cpus.filter(|_| written.cpus));
    limits.bytes("memory", service.resources.memory.filter(|_| written.memory));
    limits.maybe("pids", service.resources.pids.filter(|_| written.pids));
    resources.section("limits", limits);
    let mut reservations = Object::default();
    reservations.bytes("memory", service.resources.memory_reservation.filter(|_| written.memory_reservation));
    resources.section("reservations", reservations);
    object.put("resources", resources.0);
    object.put("placement", Map::new());
    if let Some(policy) = &service.deploy_restart {
        let mut section = Object::default();
        section.text("condition", policy.condition.as_ref());
        section.duration("delay", policy.delay);
        section.maybe("max_attempts", policy.max_attempts);
        section.duration("window", policy.window);
        object.put("restart_policy", section.0);
    }
    Some(object.done())
}

fn confinement(service: &Service, object: &mut Object) {
    object.section("ulimits", ulimits(&service.ulimits));
    object.table("sysctls", &service.sysctls);
    object.maybe("oom_score_adj", service.oom_score_adj);
    object.strings("cap_add", &service.cap_add);
    object.strings("cap_drop", &service.cap_drop);
    object.strings("security_opt", &service.security_opt);
    object.flag("privileged", service.privileged);
    object.list("devices", service.devices.iter().map(device).collect());
    object.maybe("pid", service.pid.as_ref().map(namespace));
    object.maybe("ipc", service.ipc.as_ref().map(namespace));
    object.maybe("uts", service.uts.as_ref().map(namespace));
}

pub(super) fn ulimits(limits: &BTreeMap<String, Ulimit>) -> Object {
    let mut ulimits = Object::default();
    for (name, limit) in limits {
        if limit.single {
            ulimits.put(name, limit.soft);
        } else {
            let mut both = Object::default();
            both.put("soft", limit.soft);
            both.put("hard", limit.hard);
            ulimits.put(name, both.0);
        }
    }
    ulimits
}

fn device(device: &Device) -> Value {
    let mut object = Object::default();
    object.put("source", device.source.clone());
    object.put("target", device.target.clone());
    object.put("permissions", device.permissions.clone());
    object.done()
}

fn namespace(mode: &NamespaceMode) -> String {
    match mode {
        NamespaceMode::Private => "private".to_owned(),
        NamespaceMode::Shareable => "shareable".to_owned(),
        NamespaceMode::Host => "host".to_owned(),
        NamespaceMode::None => "none".to_owned(),
        NamespaceMode::Service(name) => format!("service:{name}"),
        NamespaceMode::Container(name) => format!("container:{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::decimal;
    use crate::units;

    #[test]
    fn ages_print_in_their_largest_unit() {
        assert_eq!(pull_policy(PullPolicy::Every(units::duration("2d").unwrap())), "every_2d");
        assert_eq!(pull_policy(PullPolicy::Every(units::duration("90s").unwrap())), "every_90s");
        assert_eq!(decimal(2.0), Value::from(2));
    }
}
