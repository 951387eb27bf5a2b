//! Which hierarchies this host has, and where.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Controllers that a container may be limited by; others are left alone.
const USED: [&str; 8] = [
    "cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids",
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Controller → mount point. A hybrid host is this: its v2 mount has no controllers of ours.
    V1(BTreeMap<String, PathBuf>),
    V2(PathBuf),
}

impl Layout {
    pub(crate) fn detect() -> io::Result<Self> {
        Self::parse(&std::fs::read_to_string("/proc/self/mountinfo")?).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, "no cgroup file system is mounted")
        })
    }

    /// v1 wins where both are there: a controller sits in one of the two, and those of v1 are the ones in use.
    fn parse(mountinfo: &str) -> Option<Self> {
        let mut v1 = BTreeMap::new();
        let mut v2 = None;
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else {
                continue;
            };
            let Some(point) = left.split(' ').nth(4) else {
                continue;
            };
            let mut right = right.split(' ');
            let (kind, _source, options) =
                (right.next(), right.next(), right.next().unwrap_or_default());
            match kind {
                Some("cgroup") => {
                    for controller in options.split(',').filter(|option| USED.contains(option)) {
                        v1.entry(controller.to_owned())
                            .or_insert_with(|| PathBuf::from(point));
                    }
                }
                Some("cgroup2") if v2.is_none() => v2 = Some(PathBuf::from(point)),
                _ => {}
            }
        }
        if v1.is_empty() {
            v2.map(Self::V2)
        } else {
            Some(Self::V1(v1))
        }
    }

    /// Every folder that a cgroup of this relative path has, without asking whether they exist.
    pub(crate) fn folders(&self, relative: &Path) -> Vec<PathBuf> {
        match self {
            Self::V1(controllers) => {
                let mut folders: Vec<PathBuf> = controllers
                    .values()
                    .map(|point| point.join(relative))
                    .collect();
                folders.sort();
                folders.dedup();
                folders
            }
            Self::V2(point) => vec![point.join(relative)],
        }
    }

    /// v2 has the file in every cgroup but the first.
    pub(crate) fn limits_swap(&self) -> bool {
        match self {
            Self::V1(controllers) => controllers
                .get("memory")
                .is_some_and(|point| point.join("memory.memsw.limit_in_bytes").exists()),
            Self::V2(point) => {
                let entries = std::fs::read_dir(point).into_iter().flatten().flatten();
                entries
                    .into_iter()
                    .any(|entry| entry.path().join("memory.swap.max").exists())
            }
        }
    }

    /// v2 has no such file.
    pub(crate) fn sets_swappiness(&self) -> bool {
        match self {
            Self::V1(controllers) => controllers
                .get("memory")
                .is_some_and(|point| point.join("memory.swappiness").exists()),
            Self::V2(_) => false,
        }
    }

    /// Moves this very process to where it is: nothing changes, but the kernel's lock for moves is then in the state
    /// that makes the next moves quick.
    pub(crate) fn warm_up(&self) {
        let Self::V1(controllers) = self else { return };
        let Some(own) = std::fs::read_to_string("/proc/self/cgroup").ok() else {
            return;
        };
        for line in own.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(names), Some(path)) = (fields.next(), fields.next()) else {
                continue;
            };
            let Some(point) = names.split(',').find_map(|name| controllers.get(name)) else {
                continue;
            };
            let procs = point
                .join(path.trim_start_matches('/'))
                .join("cgroup.procs");
            if std::fs::write(procs, std::process::id().to_string()).is_ok() {
                return;
            }
        }
    }

    pub(crate) fn frozen(&self, relative: &Path) -> bool {
        let Some(folder) = self.controller("freezer").map(|point| point.join(relative)) else {
            return false;
        };
        let read = |file| std::fs::read_to_string(folder.join(file)).unwrap_or_default();
        match self {
            Self::V1(_) => read("freezer.state").trim() != "THAWED" && folder.exists(),
            Self::V2(_) => read("cgroup.freeze").trim() == "1",
        }
    }

    pub(crate) fn controller(&self, name: &str) -> Option<&Path> {
        match self {
            Self::V1(controllers) => controllers.get(name).map(PathBuf::as_path),
            Self::V2(point) => Some(point),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_host_is_v1() {
        let layout = Layout::parse(
            "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
             32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
             33 31 0:30 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n",
        )
        .unwrap();
        assert_eq!(
            layout.folders(Path::new("hoist/x")),
            [PathBuf::from("/sys/fs/cgroup/cpu,cpuacct/hoist/x")]
        );
        assert_eq!(layout.controller("memory"), None);
    }

    #[test]
    fn unified_host_is_v2() {
        let layout = Layout::parse(
            "41 31 0:38 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n",
        )
        .unwrap();
        assert_eq!(layout, Layout::V2("/sys/fs/cgroup".into()));
    }
}
