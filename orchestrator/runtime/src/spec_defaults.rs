//! What docker gives a container when nothing else is asked: the base of every spec.

use oci_spec::runtime::Spec;

/// Docker's default bounding set, as spec names.
pub const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

pub const MASKED_PATHS: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

pub const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// A whole default spec: capabilities, mounts (proc, dev, pts, sys, cgroup, mqueue, shm), namespaces, masked and
/// read-only paths, device rules, `PATH`, cwd `/`, argv `sh`. Change what the container wants otherwise.
#[must_use]
pub fn spec() -> Spec {
    todo!()
}

/// Turns `spec` into a privileged container's: all capabilities the engine has, nothing masked, all devices, `/sys`
/// and cgroups writable. Set [`crate::Launch::privileged`] too.
pub fn privileged(_spec: &mut Spec) {
    todo!()
}
