//! Services.

use std::collections::BTreeMap;

use crate::fields;
use crate::model::{
    Condition, Dependency, Deploy, DeployRestart, Device, HealthTest, Healthcheck, NamespaceMode,
    PullPolicy, Resources, RestartPolicy, Service,
};
use crate::node::Node;
use hoist_object::units;

use super::kinds::{self, limit, reads, share};
use super::storage::{bare_mounts, mounts};
use super::{Reader, confined, names};

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
    let service = Service::read(reader);
    confined::check(&service, reader);
    service
}

fields::service!(reads);
fields::resources!(reads);
fields::healthcheck!(reads);
fields::deploy_restart!(reads);

fn extensions(reader: &mut Reader<'_>) -> BTreeMap<String, serde_json::Value> {
    super::extensions(reader.map)
}

pub(super) fn pull_policy(reader: &mut Reader<'_>, key: &str) -> Option<PullPolicy> {
    let text = reader.string(key).filter(|text| !text.is_empty())?;
    let day = 24 * 3600;
    let policy = match text.as_str() {
        "always" => Some(PullPolicy::Always),
        "never" => Some(PullPolicy::Never),
        "missing" | "if_not_present" => Some(PullPolicy::Missing),
        "build" => Some(PullPolicy::Build),
        "daily" => Some(PullPolicy::Every(std::time::Duration::from_secs(day))),
        "weekly" => Some(PullPolicy::Every(std::time::Duration::from_secs(7 * day))),
        "refresh" => {
            reader.not_yet(key, "the policy `refresh`");
            return None;
        }
        other => other
            .strip_prefix("every_")
            .and_then(units::duration)
            .map(PullPolicy::Every),
    };
    if policy.is_none() {
        let known = ["always", "never", "missing", "build", "daily", "weekly"];
        reader.unknown_word(key, &text, &known, "every_<time>");
    }
    policy
}

pub(super) fn depends_on(reader: &mut Reader<'_>, key: &str) -> BTreeMap<String, Dependency> {
    let mut dependencies = BTreeMap::new();
    let entries = reader.entries(key);
    let Some(mut section) = reader.section(key) else {
        return dependencies;
    };
    for entry in entries {
        let one = section.below(&entry.value, &entry.key);
        let condition = match one.text("condition").as_str() {
            "service_healthy" => Condition::Healthy,
            "service_completed_successfully" => Condition::CompletedSuccessfully,
            _ => Condition::Started,
        };
        let required = one.boolean("required").unwrap_or(true);
        dependencies.insert(
            entry.key.clone(),
            Dependency {
                condition,
                restart: one.flag("restart"),
                required,
            },
        );
    }
    dependencies
}

pub(super) fn healthcheck(reader: &mut Reader<'_>, key: &str) -> Option<Healthcheck> {
    let mut section = reader.section(key)?;
    if section.inert.refuses(&section.path)
        && let Some(interval) = section.map.entry("start_interval")
        && section.map.get("start_period").is_none()
    {
        let message = format!(
            "`{}`: `start_interval` needs a `start_period`",
            section.path.join(".")
        );
        let _ = section
            .report
            .error("E0008", message)
            .at(
                interval.key_span,
                "how often to probe while the service starts",
            )
            .hint("say how long it may take to start, for example `start_period: 30s`");
    }
    Some(Healthcheck::read(&mut section))
}

fn test(section: &mut Reader<'_>) -> HealthTest {
    let words = section.strings("test");
    if words.first().is_some_and(|first| first == "CMD-SHELL") && words.len() > 2 {
        several_words(section);
    }
    match words.split_first() {
        _ if section.flag("disable") => HealthTest::Disabled,
        None => HealthTest::Inherit,
        Some((first, rest)) => match first.as_str() {
            "NONE" => HealthTest::Disabled,
            "CMD-SHELL" => HealthTest::Shell(rest.join(" ")),
            _ => HealthTest::Exec(rest.to_vec()),
        },
    }
}

/// A shell takes one text: its words are what the author meant, and are printed as they are written.
fn several_words(section: &mut Reader<'_>) {
    section.carry("test");
    if let Some(node) = section
        .map
        .get("test")
        .filter(|_| section.inert.refuses(&section.path))
    {
        let message = format!(
            "`{}.test`: the words after `CMD-SHELL` are run as one line",
            section.path.join(".")
        );
        let _ = section
            .report
            .warning("W0005", message)
            .at(node.span, "a shell takes one text")
            .hint("write it as one string, or begin the list with `CMD`");
    }
}

pub(super) fn restart(reader: &mut Reader<'_>, key: &str) -> Option<RestartPolicy> {
    let text = reader.string(key).filter(|text| !text.is_empty())?;
    let policy = match text.split_once(':') {
        None => match text.as_str() {
            "no" => Some(RestartPolicy::No),
            "always" => Some(RestartPolicy::Always),
            "unless-stopped" => Some(RestartPolicy::UnlessStopped),
            "on-failure" => Some(RestartPolicy::OnFailure { max_retries: None }),
            _ => None,
        },
        Some(("on-failure", count)) => count.parse().ok().map(|count| RestartPolicy::OnFailure {
            max_retries: Some(count),
        }),
        Some(_) => None,
    };
    if policy.is_none() {
        reader.unknown_word(
            key,
            &text,
            &["no", "always", "unless-stopped"],
            "on-failure[:count]",
        );
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

fn deploy(reader: &mut Reader<'_>) -> Option<Deploy> {
    let mut section = reader.section("deploy")?;
    if section
        .string("mode")
        .is_some_and(|mode| !matches!(mode.as_str(), "replicated" | "global"))
    {
        let path = section.path.clone();
        let node = section.node;
        section.inert.refuse(
            &path,
            node.span,
            "a mode other than `replicated` and `global`",
            section.report,
        );
    }
    let replicas = section.number("replicas");
    let has = |path: &[&str]| section.node.at(path).is_some_and(|node| !node.is_null());
    Some(Deploy {
        mode: section.string("mode"),
        replicas,
        cpus: has(&["resources", "limits", "cpus"]),
        memory: has(&["resources", "limits", "memory"]),
        pids: has(&["resources", "limits", "pids"]),
        memory_reservation: has(&["resources", "reservations", "memory"]),
    })
}

fn deploy_restart(reader: &mut Reader<'_>) -> Option<DeployRestart> {
    let mut deploy = reader.section("deploy")?;
    let policy = DeployRestart::read(&mut deploy.section("restart_policy")?);
    if let Some(condition) = policy.condition.as_deref()
        && !matches!(
            condition,
            "none" | "no" | "on-failure" | "unless-stopped" | "any" | "always"
        )
    {
        deploy.invalid(
            "restart_policy",
            &format!("`{condition}` is not none, on-failure, unless-stopped or any"),
        );
    }
    Some(policy)
}

fn resources(reader: &mut Reader<'_>) -> Resources {
    let mut resources = Resources::read(reader);
    let Some(mut deploy) = reader.section("deploy") else {
        return resources;
    };
    let Some(mut section) = deploy.section("resources") else {
        return resources;
    };
    if let Some(mut limits) = section.section("limits") {
        resources.cpus = share(&mut limits, "cpus").or(resources.cpus);
        resources.memory = limit(&mut limits, "memory").or(resources.memory);
        resources.pids = limit(&mut limits, "pids").or(resources.pids);
    }
    if let Some(mut reservations) = section.section("reservations") {
        resources.memory_reservation =
            limit(&mut reservations, "memory").or(resources.memory_reservation);
    }
    resources
}

pub(super) fn devices(reader: &mut Reader<'_>, key: &str) -> Vec<Device> {
    let items: &[Node] = reader.items(key);
    let text = |node: &Node, key: &str| {
        node.at(&[key])
            .and_then(Node::scalar_text)
            .unwrap_or_default()
    };
    items
        .iter()
        .map(|node| Device {
            source: text(node, "source"),
            target: text(node, "target"),
            permissions: text(node, "permissions"),
        })
        .collect()
}

pub(super) fn namespace(reader: &mut Reader<'_>, key: &str) -> Option<NamespaceMode> {
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
