//! Capability names and bit masks.

use std::collections::HashSet;

use oci_spec::runtime::Capability;

use crate::sys;

/// In the kernel's order.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// `CAP_CHOWN`, `chown`, `CHOWN`.
pub(crate) fn bit(name: &str) -> Result<u64, String> {
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
    let index = NAMES.iter().position(|known| *known == short);
    index
        .map(|index| 1 << index)
        .ok_or_else(|| format!("unknown capability {name}"))
}

pub(crate) fn mask_of(set: Option<&HashSet<Capability>>) -> Result<u64, String> {
    set.into_iter().flatten().try_fold(0, |mask, capability| {
        Ok(mask | bit(&capability.to_string())?)
    })
}

pub(crate) fn names(mask: u64) -> impl Iterator<Item = String> {
    NAMES
        .iter()
        .enumerate()
        .filter(move |(index, _)| mask & (1 << index) != 0)
        .map(|(_, name)| format!("CAP_{name}"))
}

/// All that this process may hand out.
pub(crate) fn own() -> u64 {
    (0..64)
        .take_while(|n| sys::bounding_has(*n).is_some())
        .filter(|n| sys::bounding_has(*n) == Some(true))
        .fold(0, |m, n| m | 1 << n)
        & sys::permitted().unwrap_or(0)
}
