//! Network namespaces that live as long as a descriptor holds them.

use std::fs::{self, File};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

use crate::netlink::{Connection, route};

#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    #[error("make a network namespace")]
    Unshare(#[source] io::Error),
    #[error("open the new network namespace")]
    Open(#[source] io::Error),
    #[error("bring up lo in a new network namespace")]
    Loopback(#[source] io::Error),
    #[error("set sysctl {name} to `{value}`")]
    Sysctl {
        name: String,
        value: String,
        #[source]
        source: io::Error,
    },
    #[error("sysctl {name} does not belong to a network namespace")]
    ForeignSysctl { name: String },
    #[error("enter a network namespace")]
    Enter(#[source] io::Error),
}

/// A new namespace: `lo` up, pings and low ports free for every user as in docker, then the caller's `net.*` sysctls.
///
/// Sysctls of single interfaces (`net.ipv4.conf.eth0.…`) can be set only after `attach`: see `set_sysctls`.
pub fn new_netns(sysctls: &[(String, String)]) -> Result<OwnedFd, NetnsError> {
    // The thread's namespace changes for good, so it is a thread of its own.
    in_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| NetnsError::Unshare(errno.into()))?;
        let netns = File::open("/proc/thread-self/ns/net").map_err(NetnsError::Open)?;
        raise_loopback().map_err(NetnsError::Loopback)?;
        // Without IPv6 addresses of ours a link-local one only leads around the firewall. Missing where IPv6 is.
        let _ = fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
        // As in docker: in a namespace of its own, a container needs no privilege for a ping or a low port.
        write_sysctl(
            "net.ipv4.ping_group_range",
            &format!("0 {}", highest_group()),
        )?;
        write_sysctl("net.ipv4.ip_unprivileged_port_start", "0")?;
        for (name, value) in sysctls {
            write_sysctl(name, value)?;
        }
        Ok(netns.into())
    })
}

/// Sets `net.*` sysctls inside a namespace.
pub fn set_sysctls(netns: BorrowedFd<'_>, sysctls: &[(String, String)]) -> Result<(), NetnsError> {
    within(netns, || {
        sysctls
            .iter()
            .try_for_each(|(name, value)| write_sysctl(name, value))
    })?
}

/// Runs `work` in a short-lived thread inside the namespace.
pub(crate) fn within<T: Send>(
    netns: BorrowedFd<'_>,
    work: impl FnOnce() -> T + Send,
) -> Result<T, NetnsError> {
    in_thread(|| {
        setns(netns, CloneFlags::CLONE_NEWNET).map_err(|errno| NetnsError::Enter(errno.into()))?;
        Ok(work())
    })
}

fn in_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| match scope.spawn(work).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

fn raise_loopback() -> io::Result<()> {
    let connection = Connection::open(netlink_sys::protocols::NETLINK_ROUTE)?;
    connection
        .batch(vec![route::set_up("lo")])?
        .into_iter()
        .collect()
}

/// The kernel takes only groups that exist in the user namespace.
fn highest_group() -> u32 {
    const LARGEST_RANGE: u32 = 2_147_483_647;
    let map = fs::read_to_string("/proc/thread-self/gid_map").unwrap_or_default();
    let ends = map.lines().filter_map(|line| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
        let (first, _, count) = (
            numbers.next()?.ok()?,
            numbers.next()?,
            numbers.next()?.ok()?,
        );
        Some(first.saturating_add(count.saturating_sub(1)))
    });
    ends.max().unwrap_or(LARGEST_RANGE).min(LARGEST_RANGE)
}

/// Accepts `net.ipv4.x` and `net/ipv4/x`, where an interface name may hold dots.
fn write_sysctl(name: &str, value: &str) -> Result<(), NetnsError> {
    let path = if name.contains('/') {
        name.to_owned()
    } else {
        name.replace('.', "/")
    };
    if !path.starts_with("net/") || path.split('/').any(|part| part.is_empty() || part == "..") {
        return Err(NetnsError::ForeignSysctl {
            name: name.to_owned(),
        });
    }
    fs::write(format!("/proc/sys/{path}"), value).map_err(|source| NetnsError::Sysctl {
        name: name.to_owned(),
        value: value.to_owned(),
        source,
    })
}
