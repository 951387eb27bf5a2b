//! cgroups: v2, v1 and hybrid hosts behind one small interface.
//!
//! `layout` finds what the host has, `plan` turns OCI resources into data, `apply` carries that data out (in the shim),
//! `removal` takes it away, `tracking` tells one exec's processes from the others', `stats` reads. Must not know what a
//! container is beyond the path of its cgroup.

mod apply;
mod devices;
mod layout;
mod plan;
mod removal;
mod stats;
mod tracking;

pub(crate) use apply::{CgroupError, OomWatch};
pub(crate) use layout::Layout;
pub(crate) use plan::{Plan, plan};
pub(crate) use removal::{kill_folders, processes, remove_folders};
pub use stats::Stats;
pub(crate) use tracking::Tracking;

/// A v2 mount to try the parts on that need no controllers; hybrid hosts have an empty one. Without one, or without root,
/// a test says that it is skipped.
#[cfg(test)]
#[allow(clippy::print_stderr, reason = "a test says why it is skipped")]
fn v2_mount() -> Option<std::path::PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let mut points = mounts
        .lines()
        .filter(|line| line.contains(" cgroup2 "))
        .filter_map(|line| line.split(' ').nth(1));
    let point = points
        .next()
        .filter(|_| rustix::process::geteuid().is_root())
        .map(Into::into);
    if point.is_none() {
        eprintln!("skipped: needs root and a mounted cgroup2");
    }
    point
}
