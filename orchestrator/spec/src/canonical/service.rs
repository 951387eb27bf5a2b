//! Services and what is inside them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::bind::tmpfs;
use crate::fields;
use crate::model::{
    Attachment, Condition, Dependency, Deploy, DeployRestart, Device, FileMount, HealthTest,
    Healthcheck, Mount, MountSource, NamespaceMode, NetworkMode, Port, Protocol, PullPolicy,
    Resources, RestartPolicy, Service, Ulimit,
};

use super::Object;
use super::kinds::{self, prints};

pub(super) fn service(service: &Service) -> Value {
    let mut object = Object::default();
    service.print(&mut object);
    volumes(service, &mut object);
    limits(service, &mut object);
    object.maybe("deploy", deploy(service));
    for (key, value) in &service.extensions {
        object.put(key, value.clone());
    }
    object.done()
}

fields::service!(prints);
fields::resources!(prints);
fields::healthcheck!(prints);
fields::deploy_restart!(prints);
fields::attachment!(prints);

pub(super) fn depends_on(
    object: &mut Object,
    key: &str,
    dependencies: &BTreeMap<String, Dependency>,
) {
    let mut depends_on = Object::default();
    for (
        name,
        Dependency {
            condition,
            restart,
            required,
        },
    ) in dependencies
    {
        let mut one = Object::default();
        one.put(
            "condition",
            match condition {
                Condition::Started => "service_started",
                Condition::Healthy => "service_healthy",
                Condition::CompletedSuccessfully => "service_completed_successfully",
            },
        );
        one.flag("restart", *restart);
        one.put("required", *required);
        depends_on.put(name, one.0);
    }
    object.section(key, depends_on);
}

pub(super) fn healthcheck(object: &mut Object, key: &str, check: &Option<Healthcheck>) {
    let Some(check) = check else { return };
    let mut section = Object::default();
    match &check.test {
        HealthTest::Inherit => {}
        HealthTest::Disabled => section.put("disable", true),
        HealthTest::Exec(words) => {
            let words = std::iter::once("CMD").chain(words.iter().map(String::as_str));
            section.put("test", words.map(Value::from).collect::<Vec<_>>());
        }
        HealthTest::Shell(text) => section.put(
            "test",
            vec![Value::from("CMD-SHELL"), Value::from(text.clone())],
        ),
    }
    check.print(&mut section);
    object.put(key, section.0);
}

pub(super) fn restart(object: &mut Object, key: &str, policy: &Option<RestartPolicy>) {
    let text = policy.map(|policy| match policy {
        RestartPolicy::No => "no".to_owned(),
        RestartPolicy::Always => "always".to_owned(),
        RestartPolicy::UnlessStopped => "unless-stopped".to_owned(),
        RestartPolicy::OnFailure { max_retries: None } => "on-failure".to_owned(),
        RestartPolicy::OnFailure {
            max_retries: Some(count),
        } => format!("on-failure:{count}"),
    });
    object.maybe(key, text);
}

pub(super) fn pull_policy(object: &mut Object, key: &str, policy: &Option<PullPolicy>) {
    object.maybe(key, policy.map(pull_policy_text));
}

fn pull_policy_text(policy: PullPolicy) -> String {
    let every = |seconds: u64| {
        let units = [
            (604_800, "w"),
            (86_400, "d"),
            (3_600, "h"),
            (60, "m"),
            (1, "s"),
        ];
        let whole = units.iter().find(|(size, _)| seconds.is_multiple_of(*size));
        whole.map_or_else(
            || format!("{seconds}s"),
            |(size, unit)| format!("{}{unit}", seconds / size),
        )
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

pub(super) fn network_mode(object: &mut Object, key: &str, mode: &Option<NetworkMode>) {
    let text = mode.as_ref().map(|mode| match mode {
        NetworkMode::None => "none".to_owned(),
        NetworkMode::Host => "host".to_owned(),
        NetworkMode::Service(name) => format!("service:{name}"),
        NetworkMode::Container(name) => format!("container:{name}"),
        NetworkMode::Network(name) => name.clone(),
    });
    object.maybe(key, text);
}

pub(super) fn attachments(object: &mut Object, key: &str, networks: &BTreeMap<String, Attachment>) {
    let mut places = Object::default();
    for (name, place) in networks {
        let mut one = Object::default();
        place.print(&mut one);
        places.put(
            name,
            if one.0.is_empty() {
                Value::Null
            } else {
                one.done()
            },
        );
    }
    object.section(key, places);
}

pub(super) fn ports(object: &mut Object, key: &str, ports: &[Port]) {
    object.list(key, ports.iter().map(port).collect());
}

fn port(port: &Port) -> Value {
    let Port {
        target,
        published,
        host_ip,
        protocol,
        mode,
        name,
        app_protocol,
    } = port;
    let mut object = Object::default();
    object.text("name", name.as_ref());
    object.put("mode", mode.clone());
    object.maybe("host_ip", host_ip.map(|address| address.to_string()));
    object.put("target", *target);
    object.maybe(
        "published",
        published.map(|(first, last)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            }
        }),
    );
    object.put(
        "protocol",
        match protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        },
    );
    object.text("app_protocol", app_protocol.as_ref());
    object.done()
}

/// Mounts of the `tmpfs` attribute stand at the end of the list and are printed as they were written.
fn volumes(service: &Service, object: &mut Object) {
    let own = service.mounts.iter().filter(|mount| {
        !service
            .tmpfs
            .iter()
            .any(|text| tmpfs(text).as_ref() == Ok(*mount))
    });
    object.list(
        "volumes",
        own.map(|one| mount(one, &service.bare_mounts)).collect(),
    );
}

pub(super) fn secrets(object: &mut Object, key: &str, secrets: &[FileMount]) {
    object.list(
        key,
        secrets
            .iter()
            .map(|secret| file_mount(secret, "/run/secrets/"))
            .collect(),
    );
}

pub(super) fn configs(object: &mut Object, key: &str, configs: &[FileMount]) {
    object.list(
        key,
        configs
            .iter()
            .map(|config| file_mount(config, ""))
            .collect(),
    );
}

fn mount(mount: &Mount, bare: &[String]) -> Value {
    let Mount {
        target,
        read_only,
        source,
        consistency,
    } = mount;
    let mut object = Object::default();
    let mut detail = Object::default();
    let (kind, source) = match source {
        MountSource::Volume {
            name,
            nocopy,
            subpath,
        } => {
            detail.flag("nocopy", *nocopy);
            detail.text("subpath", subpath.as_ref());
            ("volume", name.clone())
        }
        MountSource::Bind {
            path,
            create_host_path,
            propagation,
            selinux,
        } => {
            if !create_host_path {
                detail.put("create_host_path", false);
            }
            detail.text("propagation", propagation.as_ref());
            detail.text("selinux", selinux.as_ref());
            ("bind", Some(path.to_string_lossy().into_owned()))
        }
        MountSource::Tmpfs { size, mode, .. } => {
            kinds::bytes(&mut detail, "size", size);
            detail.maybe("mode", *mode);
            ("tmpfs", None)
        }
    };
    object.put("type", kind);
    object.maybe("source", source);
    object.put("target", target.clone());
    object.flag("read_only", *read_only);
    object.text("consistency", consistency.as_ref());
    if !detail.0.is_empty() || !bare.contains(target) {
        object.put(kind, detail.0);
    }
    object.done()
}

fn file_mount(mount: &FileMount, folder: &str) -> Value {
    let FileMount {
        source,
        target,
        uid,
        gid,
        mode,
    } = mount;
    let mut object = Object::default();
    object.put("source", source.clone());
    let short = target.strip_prefix(folder).unwrap_or(target);
    if folder.is_empty() {
        if target.strip_prefix('/') != Some(source) {
            object.put("target", target.clone());
        }
    } else if short == source {
        object.put("target", target.clone());
    } else {
        object.put("target", short);
    }
    ownership(&mut object, *uid, *gid, *mode);
    object.done()
}

pub(super) fn ownership(
    object: &mut Object,
    uid: Option<u32>,
    gid: Option<u32>,
    mode: Option<u32>,
) {
    object.maybe("uid", uid.map(|id| id.to_string()));
    object.maybe("gid", gid.map(|id| id.to_string()));
    object.maybe("mode", mode.map(|mode| format!("0{mode:o}")));
}

/// What is written in `deploy` is printed there.
fn limits(service: &Service, object: &mut Object) {
    let resources = &service.resources;
    let absent = Deploy::default();
    let written = service.deploy.as_ref().unwrap_or(&absent);
    if written.replicas.is_none() && service.replicas != 1 {
        object.put("scale", service.replicas);
    }
    let own = Resources {
        cpus: resources.cpus.filter(|_| !written.cpus),
        memory: resources.memory.filter(|_| !written.memory),
        memory_reservation: resources
            .memory_reservation
            .filter(|_| !written.memory_reservation),
        pids: resources.pids.filter(|_| !written.pids),
        ..resources.clone()
    };
    own.print(object);
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
    kinds::share(
        &mut limits,
        "cpus",
        &service.resources.cpus.filter(|_| written.cpus),
    );
    kinds::bytes(
        &mut limits,
        "memory",
        &service.resources.memory.filter(|_| written.memory),
    );
    limits.maybe("pids", service.resources.pids.filter(|_| written.pids));
    resources.section("limits", limits);
    let mut reservations = Object::default();
    let reserved = service
        .resources
        .memory_reservation
        .filter(|_| written.memory_reservation);
    kinds::bytes(&mut reservations, "memory", &reserved);
    resources.section("reservations", reservations);
    object.put("resources", resources.0);
    object.put("placement", Map::new());
    if let Some(policy) = &service.deploy_restart {
        let mut section = Object::default();
        policy.print(&mut section);
        object.put("restart_policy", section.0);
    }
    Some(object.done())
}

pub(super) fn ulimits(object: &mut Object, key: &str, limits: &BTreeMap<String, Ulimit>) {
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
    object.section(key, ulimits);
}

pub(super) fn devices(object: &mut Object, key: &str, devices: &[Device]) {
    object.list(key, devices.iter().map(device).collect());
}

fn device(device: &Device) -> Value {
    let Device {
        source,
        target,
        permissions,
    } = device;
    let mut object = Object::default();
    object.put("source", source.clone());
    object.put("target", target.clone());
    object.put("permissions", permissions.clone());
    object.done()
}

pub(super) fn namespace(object: &mut Object, key: &str, mode: &Option<NamespaceMode>) {
    let text = mode.as_ref().map(|mode| match mode {
        NamespaceMode::Private => "private".to_owned(),
        NamespaceMode::Shareable => "shareable".to_owned(),
        NamespaceMode::Host => "host".to_owned(),
        NamespaceMode::None => "none".to_owned(),
        NamespaceMode::Service(name) => format!("service:{name}"),
        NamespaceMode::Container(name) => format!("container:{name}"),
    });
    object.maybe(key, text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::decimal;
    use hoist_object::units;

    #[test]
    fn ages_print_in_their_largest_unit() {
        assert_eq!(
            pull_policy_text(PullPolicy::Every(units::duration("2d").unwrap())),
            "every_2d"
        );
        assert_eq!(
            pull_policy_text(PullPolicy::Every(units::duration("90s").unwrap())),
            "every_90s"
        );
        assert_eq!(decimal(2.0), Value::from(2));
    }
}
