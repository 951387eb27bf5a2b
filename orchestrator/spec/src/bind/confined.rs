//! Values of a service that would fail at container start: reported with their place, before anything is created.

use crate::model::{NamespaceMode, NetworkMode, Service};
use crate::name;
use crate::node::Node;
use crate::report::Span;
use crate::suggest;
use hoist_object::units;

use super::Reader;

/// Every capability of the kernel, without `CAP_`.
pub const CAPABILITIES: [&str; 41] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

const LIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

pub(super) fn check(service: &Service, reader: &mut Reader<'_>) {
    if !reader.inert.judges(&reader.path) {
        return;
    }
    logging(reader);
    security_options(reader);
    capabilities(reader);
    limits(service, reader);
    sysctls(service, reader);
    image(reader);
    hosts(reader);
    subpaths(reader);
    let (signal, mac) = (reader.map.get("stop_signal"), reader.map.get("mac_address"));
    reader.word(
        "stop_signal",
        signal,
        "a signal, like SIGTERM or 15",
        |text| hoist_object::signal::number(text).is_some(),
    );
    reader.word("mac_address", mac, MAC, name::is_mac);
    for place in reader.entries("networks") {
        let mac = place.value.at(&["mac_address"]);
        reader.word(
            &format!("networks.{}.mac_address", place.key),
            mac,
            MAC,
            name::is_mac,
        );
    }
    for (key, value, range, rule) in [
        (
            "oom_score_adj",
            service.oom_score_adj.map(i64::from),
            -1000..=1000,
            "it goes from -1000 to 1000",
        ),
        (
            "mem_swappiness",
            service.resources.mem_swappiness,
            -1..=100,
            "it goes from 0 to 100; -1 leaves it as it is on the host",
        ),
    ] {
        if let Some(node) = reader.map.get(key)
            && value.is_some_and(|value| !range.contains(&value))
        {
            reader.wrong(key, rule, node.span, None);
        }
    }
    for (index, device) in reader.items("devices").iter().enumerate() {
        let permissions = device
            .at(&["permissions"])
            .and_then(Node::as_str)
            .unwrap_or_default();
        if permissions.contains(|c| !"rwm".contains(c)) {
            let problem = format!("`{permissions}` has other letters than r, w and m");
            reader.wrong(&format!("devices.{index}"), &problem, device.span, None);
        }
    }
}

const MAC: &str = "an address like 02:42:ac:11:00:02";

fn logging(reader: &mut Reader<'_>) {
    let Some(mut section) = reader.section("logging") else {
        return;
    };
    let driver = section
        .map
        .get("driver")
        .and_then(|node| Some((node.scalar_text()?, node.span)));
    if let Some((driver, span)) =
        driver.filter(|(driver, _)| !matches!(driver.as_str(), "" | "json-file" | "local" | "none"))
    {
        section.not_able(
            "driver",
            span,
            &format!("the logging driver `{driver}`"),
            "write `driver: json-file`, or leave `logging` out, and let a collector read `hoist logs -f` or the engine's API",
        );
        return;
    }
    let options: Vec<_> = section
        .entries("options")
        .iter()
        .map(|entry| {
            (
                entry.key.clone(),
                entry.value.scalar_text().unwrap_or_default(),
                entry.key_span,
                entry.value.span,
            )
        })
        .collect();
    for (key, value, key_span, span) in options {
        let path = format!("options.{key}");
        match key.as_str() {
            "max-size" if value != "-1" && units::bytes(&value).is_none_or(|bytes| bytes <= 0) => {
                section.wrong(
                    &path,
                    &format!("`{value}` is not a size"),
                    span,
                    Some("write for example `10m`, or `-1` for no limit"),
                );
            }
            "max-file" if value.parse::<u32>().is_ok_and(|count| count > 0) => {}
            "max-file" => section.wrong(
                &path,
                &format!("`{value}` is not a number of files"),
                span,
                Some("write for example `\"3\"`"),
            ),
            "max-size" => {}
            _ if section.inert.refuses(&section.path) => {
                let message = format!("`{}.{path}` has no effect", section.path.join("."));
                let _ = section
                    .report
                    .warning("W0003", message)
                    .at(key_span, "`max-size` and `max-file` are acted on");
            }
            _ => {}
        }
    }
}

fn security_options(reader: &mut Reader<'_>) {
    for node in reader.items("security_opt") {
        let text = node.scalar_text().unwrap_or_default();
        let (key, value) = text
            .split_once('=')
            .or_else(|| text.split_once(':'))
            .unwrap_or((&text, ""));
        let way_out = match (key, value) {
            ("no-new-privileges", "" | "true" | "false")
            | ("seccomp" | "apparmor", "unconfined")
            | ("label", "disable") => continue,
            ("seccomp", _) => {
                "leave it out for the built-in profile, or write `seccomp=unconfined` for none"
            }
            ("apparmor", _) => "leave it out, or write `apparmor=unconfined`: no profile is loaded",
            ("label", _) => "leave it out, or write `label=disable`: there are no SELinux labels",
            ("systempaths", _) => "leave it out; `privileged: true` shows all of /proc and /sys",
            ("no-new-privileges", _) => "write `no-new-privileges=true`",
            _ => {
                "leave it out; there are no-new-privileges, seccomp=unconfined, apparmor=unconfined and label=disable"
            }
        };
        reader.not_able(
            "security_opt",
            node.span,
            &format!("the security option `{text}`"),
            way_out,
        );
    }
}

fn capabilities(reader: &mut Reader<'_>) {
    for key in ["cap_add", "cap_drop"] {
        for node in reader.items(key) {
            let text = node.scalar_text().unwrap_or_default();
            let upper = text.to_ascii_uppercase();
            let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
            if bare != "ALL" && !CAPABILITIES.contains(&bare) {
                let near = suggest::closest(bare, CAPABILITIES.iter().copied())
                    .map(|near| format!("did you mean `{near}`?"));
                reader.wrong(
                    key,
                    &format!("`{text}` is not a capability"),
                    node.span,
                    near.as_deref(),
                );
            }
        }
    }
}

fn limits(service: &Service, reader: &mut Reader<'_>) {
    let entries: Vec<(String, Span)> = reader
        .entries("ulimits")
        .iter()
        .map(|entry| (entry.key.clone(), entry.key_span))
        .collect();
    for (name, span) in entries {
        let path = format!("ulimits.{name}");
        if !LIMITS.contains(&name.to_ascii_lowercase().as_str()) {
            let near = suggest::closest(&name, LIMITS.iter().copied())
                .map(|near| format!("did you mean `{near}`?"));
            reader.wrong(
                &path,
                &format!("`{name}` is not a limit of the kernel"),
                span,
                near.as_deref(),
            );
        }
        let reach = |limit: i64| u64::try_from(limit).unwrap_or(u64::MAX);
        if service
            .ulimits
            .get(&name)
            .is_some_and(|limit| reach(limit.soft) > reach(limit.hard))
        {
            reader.wrong(&path, "the soft limit is above the hard one", span, None);
        }
    }
}

/// Only those that a namespace of the container's own holds; the others are the host's.
fn sysctls(service: &Service, reader: &mut Reader<'_>) {
    let own_network = matches!(service.network_mode, None | Some(NetworkMode::None));
    let own = |mode: &Option<NamespaceMode>| {
        !matches!(
            mode,
            Some(NamespaceMode::Host | NamespaceMode::Service(_) | NamespaceMode::Container(_))
        )
    };
    let entries: Vec<(String, Span)> = reader
        .entries("sysctls")
        .iter()
        .map(|entry| (entry.key.clone(), entry.key_span))
        .collect();
    for (name, span) in entries {
        let ipc = ["fs.mqueue.", "kernel.msg", "kernel.shm"]
            .iter()
            .any(|start| name.starts_with(start))
            || name == "kernel.sem";
        let has = match name.as_str() {
            "kernel.domainname" | "kernel.hostname" => own(&service.uts),
            _ if ipc => own(&service.ipc),
            _ => name.starts_with("net.") && own_network,
        };
        if !has {
            reader.not_able(
                "sysctls",
                span,
                &format!("the kernel setting `{name}`, which is not the container's own,"),
                &format!("set it on the host: `sysctl -w {name}=VALUE`; a container has net.*, kernel.msg*, kernel.shm*, kernel.sem and fs.mqueue.* of its own"),
            );
        }
    }
}

fn image(reader: &mut Reader<'_>) {
    let found = reader
        .map
        .get("image")
        .and_then(|node| Some((node.scalar_text()?, node.span)));
    // A variable that is still there is an error of its own.
    if let Some((text, span)) = found.filter(|(text, _)| !text.contains("${"))
        && let Some(problem) = name::image_problem(&text)
    {
        let hint = "write `[HOST[:PORT]/]NAME[:TAG][@DIGEST]`, for example `nginx:1.27` or `ghcr.io/owner/app`";
        reader.wrong(
            "image",
            &format!("`{text}` names no image: {problem}"),
            span,
            Some(hint),
        );
    }
}

fn hosts(reader: &mut Reader<'_>) {
    for node in reader.items("extra_hosts") {
        let text = node.scalar_text().unwrap_or_default();
        let Some((_, address)) = text.split_once('=') else {
            continue;
        };
        if address != "host-gateway" && address.parse::<std::net::IpAddr>().is_err() {
            reader.wrong(
                "extra_hosts",
                &format!("`{address}` is not an address"),
                node.span,
                Some("write an address, or `host-gateway` for the host's"),
            );
        }
    }
}

fn subpaths(reader: &mut Reader<'_>) {
    for (index, node) in reader.items("volumes").iter().enumerate() {
        let Some(subpath) = node.at(&["volume", "subpath"]) else {
            continue;
        };
        let text = subpath.scalar_text().unwrap_or_default();
        if text.starts_with('/') || text.split('/').any(|part| part == "..") {
            reader.wrong(
                &format!("volumes.{index}.volume.subpath"),
                &format!("`{text}` is not a path inside of the volume"),
                subpath.span,
                None,
            );
        }
    }
}

impl Reader<'_> {
    fn word(&mut self, key: &str, node: Option<&Node>, what: &str, good: fn(&str) -> bool) {
        let Some((text, span)) = node.and_then(|node| Some((node.scalar_text()?, node.span)))
        else {
            return;
        };
        if !text.is_empty() && !good(&text) {
            self.wrong(key, &format!("`{text}` is not {what}"), span, None);
        }
    }

    fn wrong(&mut self, key: &str, problem: &str, at: Span, hint: Option<&str>) {
        let message = format!("`{}.{key}`: {problem}", self.path.join("."));
        let entry = self
            .inert
            .judgement(&self.path, "E0009", message, self.report)
            .at(at, "this value");
        if let Some(hint) = hint {
            let _ = entry.hint(hint);
        }
    }

    /// Part of Compose, but not supported by hoist.
    fn not_able(&mut self, key: &str, at: Span, what: &str, way_out: &str) {
        let mut path = self.path.clone();
        path.push(key.to_owned());
        self.inert
            .refuse_with(&path, at, what, way_out, self.report);
    }
}
