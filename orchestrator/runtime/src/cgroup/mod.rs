//! cgroups: v2, v1 and hybrid hosts behind one small interface.

use serde::{Deserialize, Serialize};

/// What `hoist stats` shows; fields that a host does not count are 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    pub cpu_usage_ns: u64,
    pub cpu_user_ns: u64,
    pub cpu_system_ns: u64,
    pub throttled_periods: u64,
    pub throttled_ns: u64,
    pub memory_usage: u64,
    /// Page cache that could be dropped; docker subtracts it.
    pub memory_inactive_file: u64,
    /// `u64::MAX`: no limit.
    pub memory_limit: u64,
    pub pids: u64,
    /// `u64::MAX`: no limit.
    pub pids_limit: u64,
    pub io_read_bytes: u64,
    pub io_write_bytes: u64,
    pub oom_kills: u64,
}
