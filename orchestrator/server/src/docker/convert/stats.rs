//! A sample of what a container uses, in docker's form.

use std::collections::BTreeMap;

use hoist_api::{
    BlkioEntry, BlkioStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats, Stats,
};
use hoist_engine::{Traffic, Usage, rfc3339};

/// `before`: the sample that this one is compared with.
pub(crate) fn stats(id: &str, usage: &Usage, before: Option<Stats>) -> Stats {
    let stats = Stats {
        id: id.to_owned(),
        name: format!("/{}", usage.name),
        read: rfc3339(usage.at),
        preread: before
            .as_ref()
            .map(|before| before.read.clone())
            .unwrap_or_default(),
        precpu_stats: before.map(|before| before.cpu_stats).unwrap_or_default(),
        ..Stats::default()
    };
    let Some(used) = &usage.measured else {
        return stats;
    };
    let entry = |op: &str, value| BlkioEntry {
        op: op.to_owned(),
        value,
        ..BlkioEntry::default()
    };
    Stats {
        num_procs: u32::try_from(used.processes).unwrap_or(u32::MAX),
        pids_stats: PidsStats {
            current: used.processes,
            limit: used.processes_limit,
        },
        cpu_stats: CpuStats {
            cpu_usage: CpuUsage {
                total_usage: used.cpu,
                usage_in_kernelmode: used.cpu_system,
                usage_in_usermode: used.cpu_user,
            },
            system_cpu_usage: used.host_cpu,
            online_cpus: used.processors,
        },
        memory_stats: MemoryStats {
            usage: used.memory,
            limit: used.memory_limit,
            stats: BTreeMap::from([
                ("inactive_file".to_owned(), used.memory_inactive_file),
                ("total_inactive_file".to_owned(), used.memory_inactive_file),
            ]),
        },
        networks: used
            .networks
            .iter()
            .map(|(name, traffic)| (name.clone(), network(traffic)))
            .collect(),
        blkio_stats: BlkioStats {
            io_service_bytes_recursive: vec![
                entry("read", used.read),
                entry("write", used.written),
            ],
        },
        ..stats
    }
}

fn network(Traffic { received, sent }: &Traffic) -> NetworkStats {
    NetworkStats {
        rx_bytes: received.bytes,
        rx_packets: received.packets,
        rx_errors: received.errors,
        rx_dropped: received.dropped,
        tx_bytes: sent.bytes,
        tx_packets: sent.packets,
        tx_errors: sent.errors,
        tx_dropped: sent.dropped,
    }
}
