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
