//! Reading what a cgroup used.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::layout::Layout;

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

/// The number after `name` in a `name number` listing.
pub(super) fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        line.strip_prefix(name)?
            .strip_prefix(' ')?
            .trim()
            .parse()
            .ok()
    })
}

/// `u64::MAX` for `max`; 0 when the file is missing.
fn number(path: &Path) -> u64 {
    match fs::read_to_string(path).unwrap_or_default().trim() {
        "max" => u64::MAX,
        text => text.parse().unwrap_or(0),
    }
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

impl Layout {
    pub(crate) fn stats(&self, relative: &Path) -> Stats {
        match self {
            Self::V1(_) => self.stats_v1(relative),
            Self::V2(point) => stats_v2(&point.join(relative)),
        }
    }

    fn stats_v1(&self, relative: &Path) -> Stats {
        let folder = |name: &str| {
            self.controller(name)
                .map(|point| point.join(relative))
                .unwrap_or_default()
        };
        let (memory, cpuacct, pids, blkio) = (
            folder("memory"),
            folder("cpuacct"),
            folder("pids"),
            folder("blkio"),
        );
        let memory_stat = text(&memory.join("memory.stat"));
        let cpu_stat = text(&folder("cpu").join("cpu.stat"));
        let io = text(&blkio.join("blkio.throttle.io_service_bytes"));
        // The kernel's "no limit" is the largest page-aligned number.
        let limit = number(&memory.join("memory.limit_in_bytes"));
        Stats {
            cpu_usage_ns: number(&cpuacct.join("cpuacct.usage")),
            cpu_user_ns: number(&cpuacct.join("cpuacct.usage_user")),
            cpu_system_ns: number(&cpuacct.join("cpuacct.usage_sys")),
            throttled_periods: field(&cpu_stat, "nr_throttled").unwrap_or(0),
            throttled_ns: field(&cpu_stat, "throttled_time").unwrap_or(0),
            memory_usage: number(&memory.join("memory.usage_in_bytes")),
            memory_inactive_file: field(&memory_stat, "total_inactive_file").unwrap_or(0),
            memory_limit: if limit >= 1 << 62 { u64::MAX } else { limit },
            pids: number(&pids.join("pids.current")),
            pids_limit: number(&pids.join("pids.max")),
            io_read_bytes: blkio_sum(&io, "Read"),
            io_write_bytes: blkio_sum(&io, "Write"),
            oom_kills: field(&text(&memory.join("memory.oom_control")), "oom_kill").unwrap_or(0),
        }
    }
}

fn stats_v2(folder: &Path) -> Stats {
    let cpu = text(&folder.join("cpu.stat"));
    let micro = |name| field(&cpu, name).unwrap_or(0) * 1000;
    let io = text(&folder.join("io.stat"));
    Stats {
        cpu_usage_ns: micro("usage_usec"),
        cpu_user_ns: micro("user_usec"),
        cpu_system_ns: micro("system_usec"),
        throttled_periods: field(&cpu, "nr_throttled").unwrap_or(0),
        throttled_ns: micro("throttled_usec"),
        memory_usage: number(&folder.join("memory.current")),
        memory_inactive_file: field(&text(&folder.join("memory.stat")), "inactive_file")
            .unwrap_or(0),
        memory_limit: number(&folder.join("memory.max")),
        pids: number(&folder.join("pids.current")),
        pids_limit: number(&folder.join("pids.max")),
        io_read_bytes: io_sum(&io, "rbytes="),
        io_write_bytes: io_sum(&io, "wbytes="),
        oom_kills: field(&text(&folder.join("memory.events")), "oom_kill").unwrap_or(0),
    }
}

/// v1: lines of `major:minor Kind bytes`.
fn blkio_sum(listing: &str, kind: &str) -> u64 {
    let value = |line: &str| {
        let mut words = line.split(' ').skip(1);
        (words.next()? == kind)
            .then(|| words.next()?.parse::<u64>().ok())
            .flatten()
    };
    listing.lines().filter_map(value).sum()
}

/// v2: lines of `major:minor rbytes=… wbytes=… …`.
fn io_sum(listing: &str, key: &str) -> u64 {
    listing
        .split_whitespace()
        .filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok())
        .sum()
}
