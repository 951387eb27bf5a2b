//! A container's cgroup as data: what to make, what to write, where to look afterwards.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources};
use serde::{Deserialize, Serialize};

use super::devices;
use super::layout::Layout;

/// What the shim carries out, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    /// The container's own folders, one a hierarchy (v1) or the only one (v2).
    pub(crate) folders: Vec<PathBuf>,
    pub(crate) v2: bool,
    /// v2 only: packed `bpf_insn`s.
    pub(crate) device_program: Vec<u64>,
    /// Where OOM kills are counted.
    pub(crate) memory: Option<PathBuf>,
    pub(crate) freezer: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    /// An existing one is fine.
    Folder(PathBuf),
    Write {
        file: PathBuf,
        value: String,
        /// Some kernels lack the file or refuse the value without harm (a parent that is already set up, swap accounting).
        tolerate: bool,
    },
    /// v1 cpusets start empty and take no process until they have what their parent has.
    InheritCpuset(PathBuf),
}

/// `relative` is the cgroup's path below each mount point: `hoist/<id>`.
pub(crate) fn plan(
    layout: &Layout,
    relative: &Path,
    resources: Option<&LinuxResources>,
) -> Result<Plan, String> {
    let empty = LinuxResources::default();
    let resources = resources.unwrap_or(&empty);
    match layout {
        Layout::V1(_) => v1(layout, relative, resources),
        Layout::V2(point) => v2(point, relative, resources),
    }
}

impl Plan {
    /// A container's cgroup that is there already, for an exec to enter.
    pub(crate) fn existing(layout: &Layout, relative: &Path) -> Self {
        let folders: Vec<PathBuf> = layout
            .folders(relative)
            .into_iter()
            .filter(|folder| folder.exists())
            .collect();
        let within = |controller| {
            layout
                .controller(controller)
                .map(|point| point.join(relative))
                .filter(|f| f.exists())
        };
        Self {
            folders,
            v2: matches!(layout, Layout::V2(_)),
            memory: within("memory"),
            freezer: within("freezer"),
            ..Self::default()
        }
    }
}

struct Writer<'a> {
    steps: &'a mut Vec<Step>,
    folder: PathBuf,
}

impl Writer<'_> {
    fn must(&mut self, file: &str, value: impl ToString) {
        self.push(file, value, false);
    }

    fn may(&mut self, file: &str, value: impl ToString) {
        self.push(file, value, true);
    }

    fn push(&mut self, file: &str, value: impl ToString, tolerate: bool) {
        self.steps.push(Step::Write {
            file: self.folder.join(file),
            value: value.to_string(),
            tolerate,
        });
    }
}

// One flat match: an arm for each controller.
fn v1(layout: &Layout, relative: &Path, resources: &LinuxResources) -> Result<Plan, String> {
    let mut plan = Plan::default();
    let wants_cpuset = resources
        .cpu()
        .as_ref()
        .is_some_and(|cpu| cpu.cpus().is_some() || cpu.mems().is_some());
    for controller in [
        "memory", "cpu", "cpuacct", "pids", "devices", "freezer", "blkio", "cpuset",
    ] {
        if controller == "cpuset" && !wants_cpuset {
            continue;
        }
        let Some(point) = layout.controller(controller) else {
            check_available(controller, resources)?;
            continue;
        };
        let folder = point.join(relative);
        if !plan.folders.contains(&folder) {
            let mut ancestor = point.to_path_buf();
            for part in relative.components() {
                ancestor.push(part);
                plan.steps.push(Step::Folder(ancestor.clone()));
            }
            plan.folders.push(folder.clone());
        }
        let mut write = Writer {
            steps: &mut plan.steps,
            folder: folder.clone(),
        };
        match controller {
            "memory" => {
                plan.memory = Some(folder);
                v1_memory(&mut write, resources);
            }
            "cpu" => v1_cpu(&mut write, resources),
            "pids" => {
                if let Some(pids) = resources.pids() {
                    write.must("pids.max", limit_or_max(pids.limit()));
                }
            }
            "devices" => v1_devices(
                &mut write,
                resources.devices().as_deref().unwrap_or_default(),
            ),
            "freezer" => plan.freezer = Some(folder),
            "blkio" => {
                if let Some(weight) = resources.block_io().as_ref().and_then(|io| io.weight()) {
                    write.may("blkio.bfq.weight", weight);
                    write.may("blkio.weight", weight);
                }
            }
            "cpuset" => {
                write.steps.push(Step::InheritCpuset(write.folder.clone()));
                if let Some(cpu) = resources.cpu() {
                    cpu.cpus()
                        .iter()
                        .for_each(|cpus| write.must("cpuset.cpus", cpus));
                    cpu.mems()
                        .iter()
                        .for_each(|mems| write.must("cpuset.mems", mems));
                }
            }
            _ => {}
        }
    }
    Ok(plan)
}

/// A limit that this host cannot keep is refused, never ignored.
fn check_available(controller: &str, resources: &LinuxResources) -> Result<(), String> {
    let asked = match controller {
        "memory" => resources
            .memory()
            .as_ref()
            .is_some_and(|memory| memory.limit().is_some_and(|limit| limit > 0)),
        "cpu" => resources
            .cpu()
            .as_ref()
            .is_some_and(|cpu| cpu.quota().is_some_and(|quota| quota > 0)),
        "pids" => resources
            .pids()
            .as_ref()
            .is_some_and(|pids| pids.limit() > 0),
        "cpuset" => true,
        _ => false,
    };
    if asked {
        Err(format!("this host has no {controller} cgroup controller"))
    } else {
        Ok(())
    }
}

/// 0 means unlimited, as everywhere with containers: written as it is, the kernel would kill the first process.
fn some(limit: Option<i64>) -> Option<i64> {
    limit.filter(|limit| *limit != 0)
}

fn limit_or_max(limit: i64) -> String {
    if limit > 0 {
        limit.to_string()
    } else {
        "max".to_owned()
    }
}

fn v1_memory(write: &mut Writer<'_>, resources: &LinuxResources) {
    let Some(memory) = resources.memory() else {
        return;
    };
    if let Some(limit) = some(memory.limit()) {
        write.must("memory.limit_in_bytes", limit);
    }
    // After the limit: the kernel wants memsw ≥ limit at every moment. Without swap accounting the file is missing.
    if let Some(swap) = some(memory.swap()) {
        write.may("memory.memsw.limit_in_bytes", swap);
    }
    if let Some(reservation) = some(memory.reservation()) {
        write.must("memory.soft_limit_in_bytes", reservation);
    }
    if let Some(swappiness) = memory.swappiness() {
        write.may("memory.swappiness", swappiness);
    }
    if memory.disable_oom_killer() == Some(true) {
        write.must("memory.oom_control", 1);
    }
}

fn v1_cpu(write: &mut Writer<'_>, resources: &LinuxResources) {
    let Some(cpu) = resources.cpu() else { return };
    if let Some(shares) = cpu.shares().filter(|shares| *shares > 0) {
        write.must("cpu.shares", shares);
    }
    if let Some(period) = cpu.period().filter(|period| *period > 0) {
        write.must("cpu.cfs_period_us", period);
    }
    if let Some(quota) = some(cpu.quota()) {
        write.must("cpu.cfs_quota_us", quota);
    }
    if let Some(burst) = cpu.burst() {
        write.may("cpu.cfs_burst_us", burst);
    }
}

fn v1_devices(write: &mut Writer<'_>, rules: &[LinuxDeviceCgroup]) {
    for rule in rules {
        let file = if rule.allow() {
            "devices.allow"
        } else {
            "devices.deny"
        };
        write.must(file, devices::v1_line(rule));
    }
}

fn v2(point: &Path, relative: &Path, resources: &LinuxResources) -> Result<Plan, String> {
    let folder = point.join(relative);
    let mut plan = Plan {
        v2: true,
        ..Plan::default()
    };
    // A controller reaches a child only when every ancestor hands it down. One write each: a missing one must not
    // take the others along.
    let mut ancestor = point.to_path_buf();
    for part in relative.parent().into_iter().flat_map(Path::components) {
        hand_down(&mut plan.steps, &ancestor);
        ancestor.push(part);
        plan.steps.push(Step::Folder(ancestor.clone()));
    }
    hand_down(&mut plan.steps, &ancestor);
    plan.steps.push(Step::Folder(folder.clone()));
    plan.folders.push(folder.clone());
    let mut write = Writer {
        steps: &mut plan.steps,
        folder: folder.clone(),
    };
    v2_memory(&mut write, resources);
    v2_cpu(&mut write, resources);
    if let Some(pids) = resources.pids() {
        write.push("pids.max", limit_or_max(pids.limit()), pids.limit() <= 0);
    }
    if let Some(weight) = resources.block_io().as_ref().and_then(|io| io.weight()) {
        write.may("io.bfq.weight", weight);
        write.may(
            "io.weight",
            1 + (u64::from(weight).saturating_sub(10)) * 9999 / 990,
        );
    }
    if let Some(unified) = resources.unified() {
        let mut entries: Vec<_> = unified.iter().collect();
        entries.sort();
        for (file, value) in entries {
            if file.contains('/') || !file.contains('.') {
                return Err(format!("{file:?} is not a cgroup file name"));
            }
            write.must(file, value);
        }
    }
    if let Some(rules) = resources
        .devices()
        .as_deref()
        .filter(|rules| !rules.is_empty())
    {
        plan.device_program = devices::v2_program(rules)?;
    }
    plan.memory = Some(folder.clone());
    plan.freezer = Some(folder);
    Ok(plan)
}

fn hand_down(steps: &mut Vec<Step>, ancestor: &Path) {
    for controller in ["memory", "pids", "cpu", "cpuset", "io"] {
        steps.push(Step::Write {
            file: ancestor.join("cgroup.subtree_control"),
            value: format!("+{controller}"),
            tolerate: true,
        });
    }
}

fn v2_memory(write: &mut Writer<'_>, resources: &LinuxResources) {
    let Some(memory) = resources.memory() else {
        return;
    };
    let limit = memory.limit().unwrap_or(0);
    if some(memory.limit()).is_some() {
        write.must("memory.max", limit_or_max(limit));
    }
    match memory.swap() {
        // OCI counts memory and swap together, v2 counts swap alone.
        Some(total) if total > 0 && limit > 0 => {
            write.may("memory.swap.max", total.saturating_sub(limit).max(0))
        }
        Some(-1) => write.may("memory.swap.max", "max"),
        _ => {}
    }
    if let Some(reservation) = some(memory.reservation()) {
        write.must("memory.low", limit_or_max(reservation));
    }
}

fn v2_cpu(write: &mut Writer<'_>, resources: &LinuxResources) {
    let Some(cpu) = resources.cpu() else { return };
    if let Some(shares) = cpu.shares().filter(|shares| *shares > 0) {
        write.must("cpu.weight", weight_of_shares(shares));
    }
    if cpu.quota().is_some() || cpu.period().is_some() {
        let quota = cpu
            .quota()
            .filter(|quota| *quota > 0)
            .map_or_else(|| "max".to_owned(), |quota| quota.to_string());
        write.must(
            "cpu.max",
            format!(
                "{quota} {}",
                cpu.period().filter(|period| *period > 0).unwrap_or(100_000)
            ),
        );
    }
    if let Some(burst) = cpu.burst() {
        write.may("cpu.max.burst", burst);
    }
    if let Some(idle) = cpu.idle() {
        write.may("cpu.idle", idle);
    }
    cpu.cpus()
        .iter()
        .for_each(|cpus| write.must("cpuset.cpus", cpus));
    cpu.mems()
        .iter()
        .for_each(|mems| write.must("cpuset.mems", mems));
}

/// 2..=262144 shares onto 1..=10000, as the kernel's documentation proposes and runc does.
fn weight_of_shares(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::{
        LinuxCpuBuilder, LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResourcesBuilder,
    };

    fn resources() -> LinuxResources {
        LinuxResourcesBuilder::default()
            .memory(
                LinuxMemoryBuilder::default()
                    .limit(64i64 << 20)
                    .swap(64i64 << 20)
                    .build()
                    .unwrap(),
            )
            .cpu(
                LinuxCpuBuilder::default()
                    .shares(1024u64)
                    .quota(50_000i64)
                    .period(100_000u64)
                    .build()
                    .unwrap(),
            )
            .pids(LinuxPidsBuilder::default().limit(20i64).build().unwrap())
            .build()
            .unwrap()
    }

    fn text(plan: &Plan) -> String {
        let mut out = String::new();
        for step in &plan.steps {
            match step {
                Step::Folder(path) => out += &format!("mkdir {}\n", path.display()),
                Step::Write { file, value, .. } => {
                    out += &format!("{} = {value}\n", file.display())
                }
                Step::InheritCpuset(path) => out += &format!("inherit {}\n", path.display()),
            }
        }
        out
    }

    #[test]
    fn v1_limits_go_to_their_hierarchies() {
        let layout = Layout::V1(
            ["cpu", "memory", "pids"]
                .map(|c| (c.to_owned(), format!("/cg/{c}").into()))
                .into(),
        );
        let plan = plan(&layout, Path::new("hoist/x"), Some(&resources())).unwrap();
        expect_test::expect![[r#"
            mkdir /cg/memory/hoist
            mkdir /cg/memory/hoist/x
            /cg/memory/hoist/x/memory.limit_in_bytes = 67108864
            /cg/memory/hoist/x/memory.memsw.limit_in_bytes = 67108864
            mkdir /cg/cpu/hoist
            mkdir /cg/cpu/hoist/x
            /cg/cpu/hoist/x/cpu.shares = 1024
            /cg/cpu/hoist/x/cpu.cfs_period_us = 100000
            /cg/cpu/hoist/x/cpu.cfs_quota_us = 50000
            mkdir /cg/pids/hoist
            mkdir /cg/pids/hoist/x
            /cg/pids/hoist/x/pids.max = 20
        "#]]
        .assert_eq(&text(&plan));
    }

    #[test]
    fn limit_without_its_controller_is_refused() {
        let layout = Layout::V1([("cpu".to_owned(), "/cg/cpu".into())].into());
        let error = plan(&layout, Path::new("hoist/x"), Some(&resources())).unwrap_err();
        assert_eq!(error, "this host has no memory cgroup controller");
    }

    #[test]
    fn v2_hands_controllers_down_and_counts_swap_alone() {
        let plan = plan(
            &Layout::V2("/cg".into()),
            Path::new("hoist/x"),
            Some(&resources()),
        )
        .unwrap();
        let own: String = text(&plan)
            .lines()
            .filter(|line| !line.contains("subtree_control"))
            .collect::<Vec<_>>()
            .join("\n");
        expect_test::expect![[r#"
            mkdir /cg/hoist
            mkdir /cg/hoist/x
            /cg/hoist/x/memory.max = 67108864
            /cg/hoist/x/memory.swap.max = 0
            /cg/hoist/x/cpu.weight = 39
            /cg/hoist/x/cpu.max = 50000 100000
            /cg/hoist/x/pids.max = 20"#]]
        .assert_eq(&own);
        assert!(text(&plan).contains("/cg/hoist/cgroup.subtree_control = +memory"));
    }
}
