//! A sample of what a container uses, in docker's form.

use std::collections::BTreeMap;
use std::sync::Arc;

use hoist_api::{BlkioEntry, BlkioStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats, Stats};

use crate::actions::{StepError, blocking};
use crate::engine::{Engine, now, rfc3339};

/// `None`: the container is gone.
pub(crate) async fn sample(engine: &Arc<Engine>, id: &str, before: Option<Stats>) -> Option<Stats> {
    let wanted = id.to_owned();
    let found = engine.look(move |world| {
        let container = world.containers.get(&wanted)?;
        Some((container.doc.record.name.clone(), container.pid))
    });
    let (name, pid) = found.await.ok()??;
    let mut stats = Stats {
        id: id.to_owned(),
        name: format!("/{name}"),
        read: rfc3339(now()),
        preread: before.as_ref().map(|before| before.read.clone()).unwrap_or_default(),
        precpu_stats: before.map(|before| before.cpu_stats).unwrap_or_default(),
        ..Stats::default()
    };
    let Some(pid) = pid else { return Some(stats) };
    let (runtime, wanted) = (Arc::clone(&engine.runtime), id.to_owned());
    let used = blocking(move || {
        let used = runtime.stats(&wanted).map_err(|error| StepError::new(error.to_string()))?;
        Ok((used, networks(pid), system_cpu()))
    });
    // It may have ended this very moment: then there is nothing to count.
    let Ok((used, networks, system)) = used.await else { return Some(stats) };
    stats.num_procs = u32::try_from(used.pids).unwrap_or(u32::MAX);
    stats.pids_stats = PidsStats { current: used.pids, limit: used.pids_limit };
    stats.cpu_stats = CpuStats {
        cpu_usage: CpuUsage {
            total_usage: used.cpu_usage_ns,
            usage_in_kernelmode: used.cpu_system_ns,
            usage_in_usermode: used.cpu_user_ns,
        },
        system_cpu_usage: system,
        online_cpus: std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1)),
    };
    let total = rustix::system::sysinfo();
    let total = total.totalram.saturating_mul(u64::from(total.mem_unit));
    stats.memory_stats = MemoryStats {
        usage: used.memory_usage,
        limit: used.memory_limit.min(total),
        stats: BTreeMap::from([
            ("inactive_file".to_owned(), used.memory_inactive_file),
            ("total_inactive_file".to_owned(), used.memory_inactive_file),
        ]),
    };
    stats.networks = networks;
    let entry = |op: &str, value| BlkioEntry { op: op.to_owned(), value, ..BlkioEntry::default() };
    stats.blkio_stats = BlkioStats {
        io_service_bytes_recursive: vec![entry("read", used.io_read_bytes), entry("write", used.io_write_bytes)],
    };
    Some(stats)
}

/// Nanoseconds that all processors have spent on anything.
fn system_cpu() -> u64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let ticks: u64 = line.split_whitespace().skip(1).take(7).filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks.saturating_mul(1_000_000_000 / rustix::param::clock_ticks_per_second().max(1))
}

fn networks(pid: i32) -> BTreeMap<String, NetworkStats> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    text.lines().filter_map(interface).filter(|(name, _)| name != "lo").collect()
}

fn interface(line: &str) -> Option<(String, NetworkStats)> {
    let (name, numbers) = line.split_once(':')?;
    let numbers: Vec<u64> = numbers.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    let number = |index: usize| numbers.get(index).copied().unwrap_or(0);
    let stats = NetworkStats {
        rx_bytes: number(0),
        rx_packets: number(1),
        rx_errors: number(2),
        rx_dropped: number(3),
        tx_bytes: number(8),
        tx_packets: number(9),
        tx_errors: number(10),
        tx_dropped: number(11),
    };
    Some((name.trim().to_owned(), stats))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_counters_are_read() {
        let line = "  eth0: 10 1 0 2 0 0 0 0 20 3 0 4 0 0 0 0";
        let (name, stats) = interface(line).unwrap();
        assert_eq!(name, "eth0");
        assert_eq!((stats.rx_bytes, stats.rx_dropped, stats.tx_bytes, stats.tx_dropped), (10, 2, 20, 4));
    }
}
