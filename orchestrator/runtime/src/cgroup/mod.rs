//! cgroups: v2, v1 and hybrid hosts behind one small interface.
//!
//! `layout` finds what the host has, `plan` turns OCI resources into data, `apply` carries that data out (in the shim),
//! `stats` reads. Must not know what a container is beyond the path of its cgroup.

mod apply;
mod devices;
mod layout;
mod plan;
mod stats;

pub(crate) use apply::{CgroupError, OomWatch, Tracking, kill_folders, processes, remove_folders};
pub(crate) use layout::Layout;
pub(crate) use plan::{Plan, plan};
pub use stats::Stats;
