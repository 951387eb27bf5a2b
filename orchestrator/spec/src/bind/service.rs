//! Services.

use std::collections::BTreeMap;

use crate::model::{
    Condition, Dependency, Deploy, DeployRestart, Device, HealthTest, Healthcheck, Logging, NamespaceMode, PullPolicy,
    Resources, RestartPolicy, Service,
};
use crate::node::Node;
use crate::units;

use super::{Reader, build, confined, extensions, names, network, storage, ulimits};

pub(super) fn service(reader: &mut Reader<'_>) -> Service {
    if reader.boolean("attach") == Some(true) {
        reader.carry("attach");
    }
    // Only there when it had no effect; see `extends`.
    reader.carry("extends");
    // Only there when they were not to be read.
    reader.carry("env_file");
    reader.carry("label_file");
    names::service(reader);
    let (deploy, deploy_restart) = deploy(reader);
    let mut service = Service {
        image: reader.string("image"),
        build: reader.section("build").map(|mut section| build::build(&mut section)),
        pull_policy: pull_policy(reader),
        platform: reader.string("platform"),
        replicas: replicas(reader),
        resources: resources(reader),
        deploy,
        deploy_restart,
        ..Service::default()
    };
    process(&mut service, reader);
    relations(&mut service, reader);
    places(&mut service, reader);
    confinement(&mut service, reader);
    confined::check(&service, reader);
    service.extensions = extensions(reader.map);
    service
}

fn process(service: &mut Service, reader: &mut Reader<'_>) {
    service.command = reader.optional_strings("command");
    service.entrypoint = reader.optional_strings("entrypoint");
    service.environment = reader.open_table("environment");
    service.working_dir = reader.string("working_dir");
    service.user = reader.string("user");
    service.group_add = reader.strings("group_add");
    service.hostname = reader.string("hostname");
    service.domainname = reader.string("domainname");
    service.container_name = reader.string("container_name");
    service.init = reader.boolean("init");
    service.tty = reader.flag("tty");
    service.stdin_open = reader.flag("stdin_open");
    service.stop_signal = reader.string("stop_signal");
    service.stop_grace_period = reader.duration("stop_grace_period");
    service.labels = reader.table("labels");
    service.annotations = reader.table("annotations");
    service.attach = reader.boolean("attach").unwrap_or(true);
    service.logging = reader
        .section("logging")
        .map(|section| Logging { driver: section.string("driver"), options: section.table("options") });
}

fn relations(service: &mut Service, reader: &mut Reader<'_>) {
    service.depends_on = dependencies(reader);
    service.healthcheck = healthcheck(reader);
    service.restart = restart(reader);
    service.profiles = reader.strings("profiles");
    service.links = reader.strings("links");
}

fn places(service: &mut Service, reader: &mut Reader<'_>) {
    service.network_mode = network::mode(reader);
    service.networks = network::attachments(reader);
    service.ports = network::published(reader);
    service.expose = reader.strings("expose");
    service.dns = reader.addresses("dns");
    service.dns_search = reader.strings("dns_search");
    service.dns_opt = reader.strings("dns_opt");
    service.extra_hosts = reader.hosts("extra_hosts");
    service.mac_address = reader.string("mac_address");
    service.tmpfs = reader.strings("tmpfs");
    service.mounts = storage::mounts(reader);
    service.volumes_from = storage::volumes_from(reader);
    service.bare_mounts = storage::bare(reader);
    service.secrets = storage::file_mounts(reader, "secrets", "/run/secrets");
    service.configs = storage::file_mounts(reader, "configs", "");
    service.read_only = reader.flag("read_only");
    service.shm_size = limit(reader, "shm_size");
}

fn confinement(service: &mut Service, reader: &mut Reader<'_>) {
    service.ulimits = ulimits(reader);
    service.sysctls = reader.table("sysctls");
    service.oom_score_adj = reader.number("oom_score_adj");
    service.cap_add = reader.strings("cap_add");
    service.cap_drop = reader.strings("cap_drop");
    service.security_opt = reader.strings("security_opt");
    service.privileged = reader.flag("privileged");
    service.devices = devices(reader);
    service.pid = namespace(reader, "pid");
    service.ipc = namespace(reader, "ipc");
    service.uts = namespace(reader, "uts");
}

fn pull_policy(reader: &mut Reader<'_>) -> Option<PullPolicy> {
    let text = reader.string("pull_policy").filter(|text| !text.is_empty())?;
    let day = 24 * 3600;
    let policy = match text.as_str() {
        "always" => Some(PullPolicy::Always),
        "never" => Some(PullPolicy::Never),
        "missing" | "if_not_present" => Some(PullPolicy::Missing),
        "build" => Some(PullPolicy::Build),
        "daily" => Some(PullPolicy::Every(std::time::Duration::from_secs(day))),
        "weekly" => Some(PullPolicy::Every(std::time::Duration::from_secs(7 * day))),
        "refresh" => {
            reader.not_yet("pull_policy", "the policy `refresh`");
            return None;
        }
        other => other.strip_prefix("every_").and_then(units::duration).map(PullPolicy::Every),
    };
    if policy.is_none() {
        let known = ["always", "never", "missing", "build", "daily", "weekly"];
        reader.unknown_word("pull_policy", &text, &known, "every_<time>");
    }
    policy
}

fn dependencies(reader: &mut Reader<'_>) -> BTreeMap<String, Dependency> {
    let mut dependencies = BTreeMap::new();
    let entries = reader.entries("depends_on");
    let Some(mut section) = reader.section("depends_on") else { return dependencies };
    for entry in entries {
        let one = section.below(&entry.value, &entry.key);
        let condition = match one.text("condition").as_str() {
            "service_healthy" => Condition::Healthy,
            "service_completed_successfully" => Condition::CompletedSuccessfully,
            _ => Condition::Started,
        };
        let required = one.boolean("required").unwrap_or(true);
        dependencies.insert(entry.key.clone(), Dependency { condition, restart: one.flag("restart"), required });
    }
    dependencies
}

fn healthcheck(reader: &mut Reader<'_>) -> Option<Healthcheck> {
    let mut section = reader.section("healthcheck")?;
    let words = section.strings("test");
    if words.first().is_some_and(|first| first == "CMD-SHELL") && words.len() > 2 {
        several_words(&mut section);
    }
    let test = match words.split_first() {
        _ if section.flag("disable") => HealthTest::Disabled,
        None => HealthTest::Inherit,
        Some((first, rest)) => match first.as_str() {
            "NONE" => HealthTest::Disabled,
            "CMD-SHELL" => HealthTest::Shell(rest.join(" ")),
            _ => HealthTest::Exec(rest.to_vec()),
        },
    };
    if section.inert.refuses(&section.path)
        && let Some(interval) = section.map.entry("start_interval")
        && section.map.get("start_period").is_none()
    {
        let message = format!("`{}`: `start_interval` needs a `start_period`", section.path.join("."));
        let _ = section
            .report
            .error("E0008", message)
            .at(interval.key_span, "how often to probe while the service starts")
            .hint("say how long it may take to start, for example `start_period: 30s`");
    }
    Some(Healthcheck {
        test,
        interval: section.duration("interval"),
        timeout: section.duration("timeout"),
        retries: section.number("retries"),
        start_period: section.duration("start_period"),
        start_interval: section.duration("start_interval"),
    })
}

/// A shell takes one text: its words are what the author meant, and are printed as they are written.
fn several_words(section: &mut Reader<'_>) {
    section.carry("test");
    if let Some(node) = section.map.get("test").filter(|_| section.inert.refuses(&section.path)) {
        let message = format!("`{}.test`: the words after `CMD-SHELL` are run as one line", section.path.join("."));
        let _ = section
            .report
            .warning("W0005", message)
            .at(node.span, "a shell takes one text")
            .hint("write it as one string, or begin the list with `CMD`");
    }
}

fn restart(reader: &mut Reader<'_>) -> Option<RestartPolicy> {
    let text = reader.string("restart").filter(|text| !text.is_empty())?;
    let policy = match text.split_once(':') {
        None => match text.as_str() {
            "no" => Some(RestartPolicy::No),
            "always" => Some(RestartPolicy::Always),
            "unless-stopped" => Some(RestartPolicy::UnlessStopped),
            "on-failure" => Some(RestartPolicy::OnFailure { max_retries: None }),
            _ => None,
        },
        Some(("on-failure", count)) => {
            count.parse().ok().map(|count| RestartPolicy::OnFailure { max_retries: Some(count) })
        }
        Some(_) => None,
    };
    if policy.is_none() {
        reader.unknown_word("restart", &text, &["no", "always", "unless-stopped"], "on-failure[:count]");
    }
    policy
}

fn replicas(reader: &mut Reader<'_>) -> u32 {
    if reader.map.get("scale").is_some() {
        let scale = reader.number("scale").unwrap_or(1);
        // What is written is printed, also where it changes nothing.
        if scale == 1 {
            reader.carry("scale");
        }
        return scale;
    }
    match reader.section("deploy") {
        // One on every machine, of which there is one.
        Some(deploy) if deploy.string("mode").as_deref() == Some("global") => 1,
        Some(mut deploy) => deploy.number("replicas").unwrap_or(1),
        None => 1,
    }
}

fn deploy(reader: &mut Reader<'_>) -> (Option<Deploy>, Option<DeployRestart>) {
    let Some(mut section) = reader.section("deploy") else { return (None, None) };
    if section.string("mode").is_some_and(|mode| !matches!(mode.as_str(), "replicated" | "global")) {
        let path = section.path.clone();
        let node = section.node;
        section.inert.refuse(&path, node.span, "a mode other than `replicated` and `global`", section.report);
    }
    let replicas = section.number("replicas");
    let has = |path: &[&str]| section.node.at(path).is_some_and(|node| !node.is_null());
    let deploy = Deploy {
        mode: section.string("mode"),
        replicas,
        cpus: has(&["resources", "limits", "cpus"]),
        memory: has(&["resources", "limits", "memory"]),
        pids: has(&["resources", "limits", "pids"]),
        memory_reservation: has(&["resources", "reservations", "memory"]),
    };
    let restart = section.section("restart_policy").map(|mut policy| DeployRestart {
        condition: policy.string("condition"),
        delay: policy.duration("delay"),
        max_attempts: policy.number("max_attempts"),
        window: policy.duration("window"),
    });
    if let Some(condition) = restart.as_ref().and_then(|policy| policy.condition.as_deref())
        && !matches!(condition, "none" | "no" | "on-failure" | "unless-stopped" | "any" | "always")
    {
        section.invalid("restart_policy", &format!("`{condition}` is not none, on-failure, unless-stopped or any"));
    }
    (Some(deploy), restart)
}

/// A number of which 0 says the same as nothing: no limit, or the default.
pub(super) fn limit<T: TryFrom<i64> + Default + PartialEq>(reader: &mut Reader<'_>, key: &str) -> Option<T> {
    reader.number(key).filter(|number| *number != T::default())
}

fn share(reader: &mut Reader<'_>, key: &str) -> Option<f64> {
    reader.float(key).filter(|cpus| *cpus != 0.0)
}

fn resources(reader: &mut Reader<'_>) -> Resources {
    let mut resources = Resources {
        cpus: share(reader, "cpus"),
        cpu_shares: limit(reader, "cpu_shares"),
        cpu_quota: limit(reader, "cpu_quota"),
        cpu_period: limit(reader, "cpu_period"),
        cpuset: reader.string("cpuset").filter(|cpus| !cpus.is_empty()),
        memory: limit(reader, "mem_limit"),
        memory_reservation: limit(reader, "mem_reservation"),
        memswap_limit: limit(reader, "memswap_limit"),
        pids: limit(reader, "pids_limit"),
        oom_kill_disable: reader.boolean("oom_kill_disable"),
    };
    let Some(mut deploy) = reader.section("deploy") else { return resources };
    let Some(mut section) = deploy.section("resources") else { return resources };
    if let Some(mut limits) = section.section("limits") {
        resources.cpus = share(&mut limits, "cpus").or(resources.cpus);
        resources.memory = limit(&mut limits, "memory").or(resources.memory);
        resources.pids = limit(&mut limits, "pids").or(resources.pids);
    }
    if let Some(mut reservations) = section.section("reservations") {
        resources.memory_reservation = limit(&mut reservations, "memory").or(resources.memory_reservation);
    }
    resources
}

fn devices(reader: &mut Reader<'_>) -> Vec<Device> {
    let items: &[Node] = reader.items("devices");
    let text = |node: &Node, key: &str| node.at(&[key]).and_then(Node::scalar_text).unwrap_or_default();
    items
        .iter()
        .map(|node| Device {
            source: text(node, "source"),
            target: text(node, "target"),
            permissions: text(node, "permissions"),
        })
        .collect()
}

fn namespace(reader: &mut Reader<'_>, key: &str) -> Option<NamespaceMode> {
    let text = reader.string(key).filter(|text| !text.is_empty())?;
    let mode = match text.split_once(':') {
        None => match text.as_str() {
            "private" => Some(NamespaceMode::Private),
            "shareable" => Some(NamespaceMode::Shareable),
            "host" => Some(NamespaceMode::Host),
            "none" => Some(NamespaceMode::None),
            _ => None,
        },
        Some(("service", name)) => Some(NamespaceMode::Service(name.to_owned())),
        Some(("container", name)) => Some(NamespaceMode::Container(name.to_owned())),
        Some(_) => None,
    };
    if mode.is_none() {
        let known = ["host", "private", "shareable", "none", "service:NAME"];
        reader.unknown_word(key, &text, &known, "container:NAME");
    }
    mode
}
