//! What an engine has on a host, read and ended without any help of hoist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use crate::world::{eventually, kill};

/// The folders of one engine, and with them the mark of everything that it makes; others' things are not seen.
#[derive(Debug, Clone)]
pub(crate) struct Instance {
    pub(crate) data_root: PathBuf,
    pub(crate) run_dir: PathBuf,
    /// Eight hexadecimal digits: a part of names, and the number of a link's group.
    mark: String,
}

impl Instance {
    pub(crate) fn new(data_root: PathBuf, run_dir: PathBuf) -> Self {
        let digest = Sha256::digest(data_root.as_os_str().as_encoded_bytes());
        let mark = digest
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self {
            data_root,
            run_dir,
            mark,
        }
    }

    pub(crate) fn tag(&self) -> String {
        format!("hoist-{}", self.mark)
    }

    fn group(&self) -> String {
        format!("0x{}", self.mark)
    }

    /// The engine, its shims, their execs and what runs in its containers.
    pub(crate) fn processes(&self) -> impl Iterator<Item = String> {
        let (run_dir, tag) = (self.run_dir.clone(), self.tag());
        processes().filter(move |pid| {
            let read = |file| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let names = |text: Vec<u8>, name: &str| String::from_utf8_lossy(&text).contains(name);
            // A shim lives in its container's folder; an engine is told its folder by the environment.
            fs::read_link(format!("/proc/{pid}/cwd"))
                .is_ok_and(|folder| folder.starts_with(&run_dir))
                || names(read("cgroup"), &tag)
                || (comm(pid) == "hoist" && names(read("environ"), &run_dir.display().to_string()))
        })
    }

    pub(crate) fn engine(&self) -> Option<String> {
        let is_engine = |line: Vec<u8>| {
            line.split(|byte| *byte == 0)
                .nth(1)
                .is_some_and(|argument| argument == b"engine")
        };
        self.processes().find(|pid| {
            comm(pid) == "hoist" && fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(is_engine)
        })
    }

    pub(crate) fn kill_engine(&self) -> Option<String> {
        let pid = self.engine()?;
        kill("-KILL", &pid);
        eventually("the killed engine is gone", || {
            !Path::new("/proc").join(&pid).exists()
        });
        Some(pid)
    }

    /// Everything of it dies at once, as if the machine had lost its power.
    pub(crate) fn lose_power(&self) {
        let signal =
            |signal, pid: &String| drop(Command::new("kill").args([signal, pid.as_str()]).output());
        // Nobody may see the others die: a shim would start another engine. A probe may be on its way meanwhile.
        let mut all = BTreeSet::new();
        let mut fresh: Vec<String> = self.processes().collect();
        while !fresh.is_empty() {
            fresh.iter().for_each(|pid| signal("-STOP", pid));
            all.extend(fresh);
            fresh = self.processes().filter(|pid| !all.contains(pid)).collect();
        }
        all.iter().for_each(|pid| signal("-KILL", pid));
        // A frozen process dies when it thaws.
        for folder in self.cgroups() {
            let _ = fs::write(Path::new(&folder).join("freezer.state"), "THAWED");
            let _ = fs::write(Path::new(&folder).join("cgroup.freeze"), "0");
        }
        let is_dead = |pid: &String| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        };
        // Not `eventually`: a scenario that has failed ends here, too.
        let deadline = Instant::now() + Duration::from_secs(30);
        while !all.iter().all(is_dead) && Instant::now() < deadline {
            std::thread::yield_now();
        }
    }

    /// Takes from the host what a failed scenario could not, so that it is in nobody's way.
    pub(crate) fn wipe(&self) {
        self.lose_power();
        for mount in self.mounts() {
            run("umount", &["-l", &mount]);
        }
        for folder in self.cgroups().iter().rev() {
            let _ = fs::remove_dir(folder);
        }
        run("ip", &["link", "delete", "group", &self.group()]);
        for table in lines("nft", &["list", "tables"]).filter(|table| table.contains(&self.tag())) {
            run("nft", &["delete", &table]);
        }
    }

    fn mounts(&self) -> BTreeSet<String> {
        fs::read_to_string("/proc/thread-self/mountinfo")
            .unwrap_or_default()
            .lines()
            .filter_map(|line| line.split(' ').nth(4).map(str::to_owned))
            .filter(|point| {
                Path::new(point).starts_with(&self.data_root)
                    || Path::new(point).starts_with(&self.run_dir)
            })
            .collect()
    }

    /// With the parent of all of its containers: on v2 below the root, on v1 below each hierarchy.
    fn cgroups(&self) -> BTreeSet<String> {
        lines(
            "find",
            &[
                "/sys/fs/cgroup",
                "-type",
                "d",
                "-path",
                &format!("*/{}*", self.tag()),
            ],
        )
        .collect()
    }

    pub(crate) fn traces(&self) -> Traces {
        let tag = self.tag();
        let argv = |pid: &str| {
            fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .unwrap_or_default()
                .replace('\0', " ")
        };
        let objects = ["containers", "volumes", "networks"]
            .iter()
            .flat_map(|kind| {
                names(&self.data_root.join(kind)).map(move |name| format!("{kind}/{name}"))
            });
        Traces {
            // Of the thread's own namespace, unlike /sys/class/net.
            links: lines("ip", &["-o", "link", "show", "group", &self.group()]).collect(),
            rules: lines("nft", &["list", "ruleset"])
                .filter(|line| line.contains(&tag))
                .collect(),
            mounts: self.mounts(),
            cgroups: self.cgroups(),
            processes: self
                .processes()
                .filter(|pid| comm(pid) != "hoist")
                .map(|pid| format!("{pid} {}", argv(&pid)))
                .collect(),
            objects: objects
                .chain(names(&self.run_dir.join("containers")).map(|name| format!("run/{name}")))
                .collect(),
        }
    }
}

/// Everything of an engine that it may have forgotten. A network namespace carries no mark: it lives by a process or a
/// mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Traces {
    links: BTreeSet<String>,
    /// Its table (published ports are in there) and what it added to those of others.
    rules: BTreeSet<String>,
    mounts: BTreeSet<String>,
    cgroups: BTreeSet<String>,
    /// Shims, and whatever runs below them.
    processes: BTreeSet<String>,
    /// Container and volume folders.
    objects: BTreeSet<String>,
}

impl Traces {
    /// What is there now and was not there before; empty when all is clean.
    pub(crate) fn since(&self, before: &Self) -> Vec<String> {
        let kinds = [
            ("link", &self.links, &before.links),
            ("nft rule", &self.rules, &before.rules),
            ("mount", &self.mounts, &before.mounts),
            ("cgroup", &self.cgroups, &before.cgroups),
            ("process", &self.processes, &before.processes),
            ("folder", &self.objects, &before.objects),
        ];
        kinds
            .into_iter()
            .flat_map(|(kind, now, then)| {
                now.difference(then)
                    .map(move |name| format!("{kind} {name}"))
            })
            .collect()
    }
}

/// Process ids of everything that runs now.
pub(crate) fn processes() -> impl Iterator<Item = String> {
    names(Path::new("/proc")).filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
}

pub(crate) fn comm(pid: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm"))
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn names(dir: &Path) -> impl Iterator<Item = String> + use<> {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
}

/// What is not there need not be taken away.
fn run(program: &str, args: &[&str]) {
    drop(Command::new(program).args(args).output());
}

fn lines(program: &str, args: &[&str]) -> impl Iterator<Item = String> + use<> {
    let output = Command::new(program)
        .args(args)
        .output()
        .map(|output| output.stdout)
        .unwrap_or_default();
    String::from_utf8_lossy(&output)
        .lines()
        .map(|line| line.trim().to_owned())
        .collect::<Vec<_>>()
        .into_iter()
}
