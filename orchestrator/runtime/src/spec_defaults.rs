//! What docker gives a container when nothing else is asked: the base of every spec.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use std::os::unix::fs::FileTypeExt as _;

use oci_spec::runtime::{
    Capability, LinuxBuilder, LinuxCapabilities, LinuxCapabilitiesBuilder, LinuxDeviceBuilder,
    LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType, LinuxNamespaceBuilder,
    LinuxNamespaceType, LinuxResourcesBuilder, Mount, MountBuilder, ProcessBuilder, RootBuilder,
    Spec, SpecBuilder,
};

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

pub const READONLY_PATHS: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// A whole default spec: capabilities, mounts (proc, dev, pts, sys, cgroup, mqueue, shm), namespaces, masked and
/// read-only paths, device rules, `PATH`, cwd `/`, argv `sh`. Change what the container wants otherwise.
#[must_use]
pub fn spec() -> Spec {
    let mut masked: Vec<String> = MASKED_PATHS.iter().map(|&path| path.to_owned()).collect();
    masked.extend(throttle_counters());
    let linux = LinuxBuilder::default()
        .namespaces(NAMESPACES.map(|kind| {
            LinuxNamespaceBuilder::default()
                .typ(kind)
                .build()
                .expect(COMPLETE)
        }))
        .masked_paths(masked)
        .readonly_paths(READONLY_PATHS.map(str::to_owned))
        .resources(
            LinuxResourcesBuilder::default()
                .devices(device_rules())
                .build()
                .expect(COMPLETE),
        )
        .build()
        .expect(COMPLETE);
    let process = ProcessBuilder::default()
        .args(["sh".to_owned()])
        .env(["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()])
        .cwd("/")
        .capabilities(capabilities(CAPABILITIES.iter().copied()))
        .no_new_privileges(false)
        .build()
        .expect(COMPLETE);
    SpecBuilder::default()
        .version("1.2.0")
        .process(process)
        .root(
            RootBuilder::default()
                .path("rootfs")
                .readonly(false)
                .build()
                .expect(COMPLETE),
        )
        .hostname("")
        .mounts(mounts())
        .linux(linux)
        .build()
        .expect(COMPLETE)
}

const COMPLETE: &str = "every field without a default is given";

/// Bounding, effective and permitted; inheritable and ambient stay empty. Unknown names are left out.
pub fn capabilities<'a>(names: impl IntoIterator<Item = &'a str>) -> LinuxCapabilities {
    let set: HashSet<Capability> = names
        .into_iter()
        .filter_map(|name| Capability::from_str(name.strip_prefix("CAP_").unwrap_or(name)).ok())
        .collect();
    LinuxCapabilitiesBuilder::default()
        .bounding(set.clone())
        .effective(set.clone())
        .permitted(set)
        .inheritable(HashSet::new())
        .ambient(HashSet::new())
        .build()
        .expect(COMPLETE)
}

const NAMESPACES: [LinuxNamespaceType; 6] = [
    LinuxNamespaceType::Mount,
    LinuxNamespaceType::Uts,
    LinuxNamespaceType::Ipc,
    LinuxNamespaceType::Pid,
    LinuxNamespaceType::Network,
    LinuxNamespaceType::Cgroup,
];

/// The host's name for each processor's counters; masked because they tell of the neighbours.
fn throttle_counters() -> Vec<String> {
    let entries = std::fs::read_dir("/sys/devices/system/cpu")
        .into_iter()
        .flatten()
        .flatten();
    let mut paths: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| {
            name.strip_prefix("cpu")
                .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        })
        .map(|name| format!("/sys/devices/system/cpu/{name}/thermal_throttle"))
        .filter(|path| Path::new(path).exists())
        .collect();
    paths.sort();
    paths
}

fn mount(target: &str, kind: &str, options: &[&str]) -> Mount {
    MountBuilder::default()
        .destination(target)
        .typ(kind)
        .source(kind)
        .options(
            options
                .iter()
                .map(|&word| word.to_owned())
                .collect::<Vec<_>>(),
        )
        .build()
        .expect(COMPLETE)
}

fn mounts() -> Vec<Mount> {
    vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount(
            "/dev",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount(
            "/dev/pts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        ),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            &["ro", "nosuid", "noexec", "nodev"],
        ),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount(
            "/dev/shm",
            "tmpfs",
            &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        ),
    ]
}

/// The shared memory's size (`shm_size`) in bytes.
pub fn set_shm_size(spec: &mut Spec, bytes: u64) {
    for mount in spec
        .mounts_mut()
        .iter_mut()
        .flatten()
        .filter(|mount| mount.destination() == Path::new("/dev/shm"))
    {
        let options = mount
            .options()
            .iter()
            .flatten()
            .filter(|word| !word.starts_with("size="))
            .cloned();
        let options = options.chain([format!("size={bytes}")]).collect::<Vec<_>>();
        mount.set_options(Some(options));
    }
}

type Numbers = (Option<i64>, Option<i64>);

fn rule(
    allow: bool,
    kind: LinuxDeviceType,
    (major, minor): Numbers,
    access: &str,
) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroupBuilder::default()
        .allow(allow)
        .typ(kind)
        .access(access)
        .build()
        .expect(COMPLETE);
    rule.set_major(major).set_minor(minor);
    rule
}

/// Nothing, except making any node and using the harmless ones.
fn device_rules() -> Vec<LinuxDeviceCgroup> {
    let mut rules = vec![
        rule(false, LinuxDeviceType::A, (None, None), "rwm"),
        rule(true, LinuxDeviceType::C, (None, None), "m"),
        rule(true, LinuxDeviceType::B, (None, None), "m"),
    ];
    for (major, minor) in [
        (1, 3),
        (1, 5),
        (1, 7),
        (1, 8),
        (1, 9),
        (5, 0),
        (5, 1),
        (5, 2),
    ] {
        rules.push(rule(
            true,
            LinuxDeviceType::C,
            (Some(major), Some(minor)),
            "rwm",
        ));
    }
    rules.push(rule(true, LinuxDeviceType::C, (Some(136), None), "rwm"));
    rules
}

/// Gives the container a device of the host: the node and the rule. `access`: `rwm` or a part of it.
pub fn add_device(
    spec: &mut Spec,
    host: &Path,
    inside: &Path,
    access: &str,
) -> std::io::Result<()> {
    let stat = rustix::fs::stat(host)?;
    let kind = match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
        rustix::fs::FileType::CharacterDevice => LinuxDeviceType::C,
        rustix::fs::FileType::BlockDevice => LinuxDeviceType::B,
        _ => {
            return Err(std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                "not a device",
            ));
        }
    };
    let (major, minor) = (
        rustix::fs::major(stat.st_rdev).into(),
        rustix::fs::minor(stat.st_rdev).into(),
    );
    let device = LinuxDeviceBuilder::default()
        .path(inside)
        .typ(kind)
        .major(major)
        .minor(minor)
        .file_mode(stat.st_mode & 0o7777)
        .uid(stat.st_uid)
        .gid(stat.st_gid)
        .build()
        .expect(COMPLETE);
    if let Some(linux) = spec.linux_mut() {
        linux.devices_mut().get_or_insert_default().push(device);
        let rules = linux
            .resources_mut()
            .get_or_insert_default()
            .devices_mut()
            .get_or_insert_default();
        rules.push(rule(true, kind, (Some(major), Some(minor)), access));
    }
    Ok(())
}

/// Turns `spec` into a privileged container's: all capabilities the engine has, nothing masked, all devices, `/sys`
/// and cgroups writable. Set [`crate::Launch::privileged`] too.
pub fn privileged(spec: &mut Spec) {
    for mount in spec.mounts_mut().iter_mut().flatten() {
        if mount.destination().starts_with("/sys") || mount.destination().starts_with("/proc") {
            let options = mount
                .options()
                .iter()
                .flatten()
                .filter(|word| *word != "ro")
                .cloned()
                .collect::<Vec<_>>();
            mount.set_options(Some(options));
        }
    }
    let own: Vec<String> = crate::capabilities::names(crate::capabilities::own()).collect();
    if let Some(process) = spec.process_mut() {
        process.set_capabilities(Some(capabilities(own.iter().map(String::as_str))));
    }
    if let Some(linux) = spec.linux_mut() {
        linux
            .set_masked_paths(None)
            .set_readonly_paths(None)
            .set_seccomp(None);
        let resources = linux.resources_mut().get_or_insert_default();
        resources.set_devices(Some(vec![rule(
            true,
            LinuxDeviceType::A,
            (None, None),
            "rwm",
        )]));
    }
    for path in host_devices(Path::new("/dev")) {
        // One that disappeared in the meantime is skipped.
        let _ = add_device(spec, &path, &path, "rwm");
    }
}

fn host_devices(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, Ok(kind)) = (entry.path(), entry.file_type()) else {
            continue;
        };
        let name = entry.file_name();
        if kind.is_dir()
            && !["pts", "shm", "fd", "mqueue"]
                .iter()
                .any(|own| name == *own)
        {
            found.extend(host_devices(&path));
        } else if (kind.is_char_device() || kind.is_block_device())
            && name != "console"
            && name != "ptmx"
        {
            found.push(path);
        }
    }
    found
}
