//! What a container engine could leave behind on a host, read without any help of hoist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Everything on the host that an engine with these folders may have made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Traces {
    links: BTreeSet<String>,
    nft_tables: BTreeSet<String>,
    /// Mount points in this namespace that are an overlay or lie below the engine's folders.
    mounts: BTreeSet<String>,
    network_namespaces: BTreeSet<String>,
    cgroups: BTreeSet<String>,
    /// Shims, and whatever runs below them.
    processes: BTreeSet<String>,
    /// Container and volume folders.
    objects: BTreeSet<String>,
    published: BTreeSet<String>,
}

impl Traces {
    pub(crate) fn read(data_root: &Path, run_dir: &Path) -> Self {
        Self {
            // Of the thread's own namespace, unlike /sys/class/net.
            links: fs::read_to_string("/proc/thread-self/net/dev")
                .unwrap_or_default()
                .lines()
                .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()))
                .filter(|name| name.starts_with("hb-") || name.starts_with("hv"))
                .collect(),
            nft_tables: lines("nft", &["list", "tables"]).filter(|line| line.contains("hoist")).collect(),
            mounts: fs::read_to_string("/proc/thread-self/mountinfo")
                .unwrap_or_default()
                .lines()
                .filter_map(|line| line.split(' ').nth(4).map(str::to_owned))
                .filter(|point| Path::new(point).starts_with(data_root) || Path::new(point).starts_with(run_dir))
                .collect(),
            network_namespaces: processes()
                .chain(["thread-self".to_owned()])
                .filter_map(|pid| fs::read_link(format!("/proc/{pid}/ns/net")).ok())
                .map(|link| link.display().to_string())
                .collect(),
            // With the parent of all of an engine's containers: on v2 below the root, on v1 below each hierarchy.
            cgroups: lines(
                "find",
                &["/sys/fs/cgroup", "-type", "d", "(", "-name", "hoist", "-o", "-name", "hoist-*", ")"],
            )
            .chain(lines("find", &["/sys/fs/cgroup", "-type", "d", "-path", "*/hoist*/*"]))
            .collect(),
            processes: processes()
                .filter(|pid| comm(pid) == "hoist-shim")
                .map(|pid| format!("{pid} {}", fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default()))
                .collect(),
            objects: ["containers", "volumes", "networks"]
                .iter()
                .flat_map(|kind| names(&data_root.join(kind)).map(move |name| format!("{kind}/{name}")))
                .chain(names(&run_dir.join("containers")).map(|name| format!("run/{name}")))
                .collect(),
            published: lines("nft", &["list", "ruleset"]).filter(|line| line.contains("dnat")).collect(),
        }
    }

    /// What is there now and was not there before; empty when all is clean.
    pub(crate) fn since(&self, before: &Self) -> Vec<String> {
        let kinds = [
            ("link", &self.links, &before.links),
            ("nft table", &self.nft_tables, &before.nft_tables),
            ("mount", &self.mounts, &before.mounts),
            ("network namespace", &self.network_namespaces, &before.network_namespaces),
            ("cgroup", &self.cgroups, &before.cgroups),
            ("process", &self.processes, &before.processes),
            ("folder", &self.objects, &before.objects),
            ("published port", &self.published, &before.published),
        ];
        kinds
            .into_iter()
            .flat_map(|(kind, now, then)| now.difference(then).map(move |name| format!("{kind} {name}")))
            .collect()
    }
}

/// Process ids of everything that runs now.
pub(crate) fn processes() -> impl Iterator<Item = String> {
    names(Path::new("/proc")).filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
}

pub(crate) fn comm(pid: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

fn names(dir: &Path) -> impl Iterator<Item = String> + use<> {
    fs::read_dir(dir).into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok())
}

fn lines(program: &str, args: &[&str]) -> impl Iterator<Item = String> + use<> {
    let output = Command::new(program).args(args).output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>().into_iter()
}
