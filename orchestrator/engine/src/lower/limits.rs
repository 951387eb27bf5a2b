//! cgroup limits and devices.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use hoist_runtime::Runtime;
use hoist_spec::model::{Device, Service};
use oci_spec::runtime::{
    LinuxCpuBuilder, LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder,
    LinuxDeviceType, LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResources, Spec,
};

use super::LowerError;

/// Docker's period.
const CPU_PERIOD: u64 = 100_000;

pub(super) fn apply(spec: &mut Spec, service: &Service) -> Result<(), LowerError> {
    let mut devices = Vec::new();
    let mut rules = Vec::new();
    for device in &service.devices {
        device_nodes(device, &mut devices, &mut rules)?;
    }
    let Some(linux) = spec.linux_mut() else {
        return Ok(());
    };
    let mut resources = linux.resources().clone().unwrap_or_default();
    cpu(&mut resources, service);
    memory(&mut resources, service);
    if let Some(limit) = service.resources.pids.filter(|pids| *pids != 0) {
        resources.set_pids(LinuxPidsBuilder::default().limit(limit).build().ok());
    }
    if !rules.is_empty() {
        let all = resources
            .devices()
            .clone()
            .unwrap_or_default()
            .into_iter()
            .chain(rules)
            .collect();
        resources.set_devices(Some(all));
    }
    linux.set_resources(Some(resources));
    if !devices.is_empty() {
        let all = linux
            .devices()
            .clone()
            .unwrap_or_default()
            .into_iter()
            .chain(devices)
            .collect();
        linux.set_devices(Some(all));
    }
    Ok(())
}

/// Limits of a service that this host cannot enforce, as messages for the user.
pub(crate) fn without_effect(name: &str, service: &Service, runtime: &Runtime) -> Vec<String> {
    let limits = &service.resources;
    let mut words = Vec::new();
    if limits.oom_kill_disable == Some(true) && !runtime.can_disable_oom_killer() {
        words.push(format!(
            "service {name:?}: oom_kill_disable has no effect on a host with cgroup v2; \
             oom_score_adj makes the kernel choose other processes first"
        ));
    }
    if limits.memswap_limit.is_some_and(|bytes| bytes > 0) && !runtime.limits_swap() {
        words.push(format!(
            "service {name:?}: memswap_limit has no effect, since this kernel does not account for swap (swapaccount=1)"
        ));
    }
    if swappiness(service).is_some() && !runtime.sets_swappiness() {
        words.push(format!(
            "service {name:?}: mem_swappiness has no effect here, since only cgroup v1 has this setting; \
             memswap_limit bounds how much of the service's memory is swapped"
        ));
    }
    words
}

/// -1 is the host's value, as for docker.
pub(crate) fn swappiness(service: &Service) -> Option<u64> {
    service
        .resources
        .mem_swappiness
        .and_then(|percent| u64::try_from(percent).ok())
}

fn cpu(resources: &mut LinuxResources, service: &Service) {
    let limits = &service.resources;
    let mut cpu = LinuxCpuBuilder::default();
    if let Some(cpus) = limits.cpus.filter(|cpus| *cpus > 0.0) {
        cpu = cpu.period(CPU_PERIOD).quota(quota(cpus));
    }
    if let Some(period) = limits.cpu_period.filter(|period| *period != 0) {
        cpu = cpu.period(period);
    }
    if let Some(quota) = limits.cpu_quota.filter(|quota| *quota != 0) {
        cpu = cpu.quota(quota);
    }
    if let Some(shares) = limits.cpu_shares.filter(|shares| *shares != 0) {
        cpu = cpu.shares(shares);
    }
    if let Some(cpus) = &limits.cpuset {
        cpu = cpu.cpus(cpus.clone());
    }
    resources.set_cpu(cpu.build().ok());
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a count of microseconds, rounded"
)]
fn quota(cpus: f64) -> i64 {
    (cpus * CPU_PERIOD as f64).round() as i64
}

fn memory(resources: &mut LinuxResources, service: &Service) {
    let limits = &service.resources;
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let mut memory = LinuxMemoryBuilder::default();
    if let Some(limit) = limits.memory.filter(|bytes| *bytes > 0) {
        memory = memory.limit(signed(limit));
        // As docker: twice the memory unless said otherwise.
        memory = memory.swap(
            limits
                .memswap_limit
                .filter(|bytes| *bytes != 0)
                .unwrap_or_else(|| signed(limit).saturating_mul(2)),
        );
    } else if let Some(swap) = limits.memswap_limit.filter(|bytes| *bytes != 0) {
        memory = memory.swap(swap);
    }
    if let Some(reservation) = limits.memory_reservation.filter(|bytes| *bytes > 0) {
        memory = memory.reservation(signed(reservation));
    }
    if let Some(percent) = swappiness(service) {
        memory = memory.swappiness(percent);
    }
    if let Some(disable) = limits.oom_kill_disable {
        memory = memory.disable_oom_killer(disable);
    }
    resources.set_memory(memory.build().ok());
}

fn device_nodes(
    device: &Device,
    nodes: &mut Vec<LinuxDevice>,
    rules: &mut Vec<LinuxDeviceCgroup>,
) -> Result<(), LowerError> {
    let source = Path::new(&device.source);
    let failed = |source: io::Error| LowerError::Device {
        path: PathBuf::from(&device.source),
        source,
    };
    let metadata = source.metadata().map_err(failed)?;
    if !metadata.is_dir() {
        return node(
            source,
            Path::new(&device.target),
            &device.permissions,
            nodes,
            rules,
        );
    }
    for entry in source.read_dir().map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_char_device() || kind.is_block_device() {
            let target = Path::new(&device.target).join(entry.file_name());
            node(&entry.path(), &target, &device.permissions, nodes, rules)?;
        }
    }
    Ok(())
}

fn node(
    source: &Path,
    target: &Path,
    permissions: &str,
    nodes: &mut Vec<LinuxDevice>,
    rules: &mut Vec<LinuxDeviceCgroup>,
) -> Result<(), LowerError> {
    let metadata = source.metadata().map_err(|error| LowerError::Device {
        path: source.to_owned(),
        source: error,
    })?;
    let typ = if metadata.file_type().is_char_device() {
        LinuxDeviceType::C
    } else if metadata.file_type().is_block_device() {
        LinuxDeviceType::B
    } else {
        return Err(LowerError::NotADevice(source.to_owned()));
    };
    let number = |part: u32| i64::from(part);
    let (major, minor) = (
        number(rustix::fs::major(metadata.rdev())),
        number(rustix::fs::minor(metadata.rdev())),
    );
    let access = if permissions.is_empty() {
        "rwm"
    } else {
        permissions
    };
    let rule = LinuxDeviceCgroupBuilder::default()
        .allow(true)
        .typ(typ)
        .major(major)
        .minor(minor)
        .access(access)
        .build();
    let node = LinuxDeviceBuilder::default()
        .path(target)
        .typ(typ)
        .major(major)
        .minor(minor)
        .file_mode(metadata.mode() & 0o777)
        .uid(metadata.uid())
        .gid(metadata.gid())
        .build();
    rules.extend(rule.ok());
    nodes.extend(node.ok());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_keeps_its_numbers() {
        let (mut nodes, mut rules) = (Vec::new(), Vec::new());
        let device = Device {
            source: "/dev/null".into(),
            target: "/dev/x".into(),
            permissions: "r".into(),
        };
        device_nodes(&device, &mut nodes, &mut rules).unwrap();
        assert_eq!((nodes[0].major(), nodes[0].minor()), (1, 3));
        assert_eq!(rules[0].access().as_deref(), Some("r"));
    }

    #[test]
    fn a_file_is_no_device() {
        let device = Device {
            source: "/etc/passwd".into(),
            target: "/dev/x".into(),
            permissions: String::new(),
        };
        let outcome = device_nodes(&device, &mut Vec::new(), &mut Vec::new());
        assert!(matches!(outcome, Err(LowerError::NotADevice(_))));
    }

    #[test]
    fn fractions_of_processors_become_a_quota() {
        assert_eq!(quota(1.5), 150_000);
        assert_eq!(quota(0.01), 1_000);
    }
}
