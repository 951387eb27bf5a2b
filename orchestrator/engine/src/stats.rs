//! A sample of what a container uses.

use std::collections::BTreeMap;
use std::sync::Arc;

use hoist_object::Timestamp;

use crate::actions::{StepError, blocking};
use crate::engine::{Engine, now};

#[derive(Debug, Clone)]
pub struct Usage {
    pub name: String,
    pub at: Timestamp,
    /// Absent: it does not run.
    pub measured: Option<Measured>,
}

/// Times in nanoseconds, everything else in bytes.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    pub processes: u64,
    pub processes_limit: u64,
    pub cpu: u64,
    pub cpu_user: u64,
    pub cpu_system: u64,
    /// Of all processors, for whatever they did.
    pub host_cpu: u64,
    pub processors: u32,
    pub memory: u64,
    pub memory_limit: u64,
    pub memory_inactive_file: u64,
    pub read: u64,
    pub written: u64,
    pub networks: BTreeMap<String, Traffic>,
}

/// Of one interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traffic {
    pub received: Counters,
    pub sent: Counters,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    pub bytes: u64,
    pub packets: u64,
    pub errors: u64,
    pub dropped: u64,
}

/// `None`: the container is gone.
pub(crate) async fn sample(engine: &Arc<Engine>, id: &str) -> Option<Usage> {
    let wanted = id.to_owned();
    let found = engine.look(move |world| {
        let container = world.containers.get(&wanted)?;
        Some((container.doc.record.name.clone(), container.pid))
    });
    let (name, pid) = found.await.ok()??;
    let at = now();
    let Some(pid) = pid else {
        return Some(Usage {
            name,
            at,
            measured: None,
        });
    };
    let (runtime, wanted) = (Arc::clone(&engine.runtime), id.to_owned());
    let used = blocking(move || {
        let used = runtime
            .stats(&wanted)
            .map_err(|error| StepError::new(error.to_string()))?;
        Ok((used, networks(pid), system_cpu()))
    });
    // It may have ended this very moment: then there is nothing to count.
    let Ok((used, networks, host_cpu)) = used.await else {
        return Some(Usage {
            name,
            at,
            measured: None,
        });
    };
    let system = rustix::system::sysinfo();
    let total = system.totalram.saturating_mul(u64::from(system.mem_unit));
    let measured = Measured {
        processes: used.pids,
        processes_limit: used.pids_limit,
        cpu: used.cpu_usage_ns,
        cpu_user: used.cpu_user_ns,
        cpu_system: used.cpu_system_ns,
        host_cpu,
        processors: std::thread::available_parallelism()
            .map_or(1, |n| u32::try_from(n.get()).unwrap_or(1)),
        memory: used.memory_usage,
        memory_limit: used.memory_limit.min(total),
        memory_inactive_file: used.memory_inactive_file,
        read: used.io_read_bytes,
        written: used.io_write_bytes,
        networks,
    };
    Some(Usage {
        name,
        at,
        measured: Some(measured),
    })
}

/// Nanoseconds that all processors have spent on anything.
fn system_cpu() -> u64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let ticks: u64 = line
        .split_whitespace()
        .skip(1)
        .take(7)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    ticks.saturating_mul(1_000_000_000 / rustix::param::clock_ticks_per_second().max(1))
}

fn networks(pid: i32) -> BTreeMap<String, Traffic> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    text.lines()
        .filter_map(interface)
        .filter(|(name, _)| name != "lo")
        .collect()
}

fn interface(line: &str) -> Option<(String, Traffic)> {
    let (name, numbers) = line.split_once(':')?;
    let numbers: Vec<u64> = numbers
        .split_whitespace()
        .filter_map(|number| number.parse().ok())
        .collect();
    let number = |index: usize| numbers.get(index).copied().unwrap_or(0);
    let counters = |first: usize| Counters {
        bytes: number(first),
        packets: number(first + 1),
        errors: number(first + 2),
        dropped: number(first + 3),
    };
    Some((
        name.trim().to_owned(),
        Traffic {
            received: counters(0),
            sent: counters(8),
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_counters_are_read() {
        let line = "  eth0: 10 1 0 2 0 0 0 0 20 3 0 4 0 0 0 0";
        let (name, traffic) = interface(line).unwrap();
        assert_eq!(name, "eth0");
        let (received, sent) = (traffic.received, traffic.sent);
        assert_eq!(
            (received.bytes, received.dropped, sent.bytes, sent.dropped),
            (10, 2, 20, 4)
        );
    }
}
