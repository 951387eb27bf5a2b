//! What containers use, in docker's columns.

use hoist_api::Stats;
use hoist_object::short;

use crate::render::table::Table;
use crate::render::units;

/// Clears the terminal and goes to its top left corner.
pub(crate) const CLEAR: &str = "\x1b[2J\x1b[H";

/// One container's figures.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    id: String,
    name: String,
    cpu_percent: f64,
    memory: u64,
    memory_limit: u64,
    network: (u64, u64),
    block: (u64, u64),
    pids: u64,
}

impl Sample {
    pub(crate) fn new(id: &str, name: &str, stats: &Stats, whole_id: bool) -> Self {
        let networks = stats.networks.values();
        let block = |op: &str| {
            let entries = stats.blkio_stats.io_service_bytes_recursive.iter();
            entries
                .filter(|entry| entry.op.eq_ignore_ascii_case(op))
                .map(|entry| entry.value)
                .sum()
        };
        Self {
            id: if whole_id { id } else { short(id) }.to_owned(),
            name: name.to_owned(),
            cpu_percent: cpu_percent(stats),
            memory: memory(stats),
            memory_limit: stats.memory_stats.limit,
            network: (
                networks.clone().map(|n| n.rx_bytes).sum(),
                networks.map(|n| n.tx_bytes).sum(),
            ),
            block: (block("read"), block("write")),
            pids: stats.pids_stats.current,
        }
    }

    fn memory_percent(&self) -> f64 {
        if self.memory_limit == 0 {
            0.0
        } else {
            float(self.memory) * 100.0 / float(self.memory_limit)
        }
    }

    fn cells(&self) -> [String; 8] {
        [
            self.id.clone(),
            self.name.clone(),
            format!("{:.2}%", self.cpu_percent),
            format!(
                "{} / {}",
                units::memory(self.memory),
                units::memory(self.memory_limit)
            ),
            format!("{:.2}%", self.memory_percent()),
            format!(
                "{} / {}",
                units::size(self.network.0),
                units::size(self.network.1)
            ),
            format!(
                "{} / {}",
                units::size(self.block.0),
                units::size(self.block.1)
            ),
            self.pids.to_string(),
        ]
    }
}

pub(crate) fn table(samples: &[Sample]) -> String {
    let mut table = Table::new([
        "CONTAINER ID",
        "NAME",
        "CPU %",
        "MEM USAGE / LIMIT",
        "MEM %",
        "NET I/O",
        "BLOCK I/O",
        "PIDS",
    ]);
    samples.iter().for_each(|sample| table.row(sample.cells()));
    table.to_string()
}

pub(crate) fn items(samples: &[Sample]) -> Vec<serde_json::Value> {
    let item = |sample: &Sample| {
        let [id, name, cpu, memory, memory_percent, network, block, pids] = sample.cells();
        serde_json::json!({
            "ID": id, "Container": id, "Name": name, "CPUPerc": cpu, "MemUsage": memory, "MemPerc": memory_percent,
            "NetIO": network, "BlockIO": block, "PIDs": pids,
        })
    };
    samples.iter().map(item).collect()
}

/// Of one processor, as docker counts: 200 % are two busy ones.
fn cpu_percent(stats: &Stats) -> f64 {
    let (now, before) = (&stats.cpu_stats, &stats.precpu_stats);
    let used = now
        .cpu_usage
        .total_usage
        .saturating_sub(before.cpu_usage.total_usage);
    let passed = now.system_cpu_usage.saturating_sub(before.system_cpu_usage);
    if passed == 0 {
        return 0.0;
    }
    float(used) / float(passed) * f64::from(now.online_cpus.max(1)) * 100.0
}

/// Without the page cache that the kernel would give back at once.
fn memory(stats: &Stats) -> u64 {
    let detail = &stats.memory_stats.stats;
    let cache = detail
        .get("total_inactive_file")
        .or_else(|| detail.get("inactive_file"))
        .copied()
        .unwrap_or(0);
    stats.memory_stats.usage.saturating_sub(cache)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a percentage does not need more than 52 bits"
)]
fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use hoist_api::{CpuStats, CpuUsage, MemoryStats};

    fn cpu(total: u64, system: u64) -> CpuStats {
        let cpu_usage = CpuUsage {
            total_usage: total,
            ..CpuUsage::default()
        };
        CpuStats {
            cpu_usage,
            system_cpu_usage: system,
            online_cpus: 2,
        }
    }

    #[test]
    fn figures_are_computed_as_docker_does() {
        let memory_stats = MemoryStats {
            usage: 2048,
            limit: 4096,
            stats: [("inactive_file".to_owned(), 1024)].into(),
        };
        let stats = Stats {
            cpu_stats: cpu(150, 400),
            precpu_stats: cpu(100, 200),
            memory_stats,
            ..Stats::default()
        };
        let sample = Sample::new("0123456789abcdef", "a", &stats, false);
        assert_eq!(
            sample.cells()[..5],
            ["0123456789ab", "a", "50.00%", "1KiB / 4KiB", "25.00%"]
        );
    }
}
