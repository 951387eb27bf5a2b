//! System calls that no crate wraps safely. The only unsafe code of hoist.
//!
//! Each function makes one call (or one idiom of calls) safe to use; raw descriptors do not leave this module. Must not
//! know what the calls are for.
#![expect(
    unsafe_code,
    reason = "raw system calls: everything else in hoist stays safe by keeping them here"
)]

pub(crate) mod bpf;

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// -1 becomes the errno.
fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

#[derive(Debug)]
pub(crate) enum Fork {
    Child,
    Parent { pid: i32, pidfd: OwnedFd },
}

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Forks into new namespaces (`flags`: `CLONE_NEW*`), on v2 straight into a cgroup.
///
/// Must only be called by a process with one thread: in the child, locks that other threads held would stay locked.
/// The shim and the exec helper have no other threads and start none.
pub(crate) fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Fork> {
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: flags | libc::CLONE_PIDFD as u64,
        pidfd: &raw mut pidfd as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    // SAFETY: `args` is a valid clone_args of the size passed; without CLONE_VM the child has its own copy of memory and
    // goes on on the same stack, so this is fork; `pidfd` outlives the call and only the parent's copy is written.
    let result =
        unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    match check(result)? {
        0 => Ok(Fork::Child),
        pid => {
            // SAFETY: the kernel stored a new descriptor, which has no other owner.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Fork::Parent {
                pid: i32::try_from(pid).map_err(io::Error::other)?,
                pidfd,
            })
        }
    }
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Plain fork; `None` in the child. Same condition as [`clone3`].
pub(crate) fn fork() -> io::Result<Option<i32>> {
    // SAFETY: the callers have one thread (see clone3), so the child may run any code.
    let result = unsafe { libc::fork() };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some(pid)),
    }
}

#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// mount_setattr on the mount that `mount` is the root of.
pub(crate) fn mount_setattr(
    mount: BorrowedFd<'_>,
    recursive: bool,
    set: u64,
    clear: u64,
    propagation: u64,
) -> io::Result<()> {
    let attr = MountAttr {
        attr_set: set,
        attr_clr: clear,
        propagation,
        userns_fd: 0,
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty C string, `attr` a valid mount_attr of the size passed, and both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    check(result).map(drop)
}

/// Installs a compiled filter (an array of `sock_filter` in native byte order) for this thread.
pub(crate) fn install_seccomp(program: &[u8], flags: u64) -> io::Result<()> {
    let (instructions, []) = program.as_chunks::<8>() else {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    };
    let mut filter: Vec<libc::sock_filter> = instructions
        .iter()
        .map(|raw| libc::sock_filter {
            code: u16::from_ne_bytes([raw[0], raw[1]]),
            jt: raw[2],
            jf: raw[3],
            k: u32::from_ne_bytes([raw[4], raw[5], raw[6], raw[7]]),
        })
        .collect();
    let len = u16::try_from(filter.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let prog = libc::sock_fprog {
        len,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: `prog` points to `len` instructions that live until the kernel has copied them within the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const prog,
        )
    };
    check(result).map(drop)
}

/// A new session keyring, so that the host's keys are out of sight.
pub(crate) fn join_session_keyring(name: &str) -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    let name = CString::new(name)?;
    // SAFETY: the second argument is a C string that outlives the call.
    let result =
        unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    check(result).map(drop)
}

/// Marks every descriptor from `first` on close-on-exec.
pub(crate) fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: only flags of descriptors change; none is closed before an exec.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    check(result).map(drop)
}

/// Drops one capability from the bounding set.
pub(crate) fn drop_bounding(capability: u32) -> io::Result<()> {
    // SAFETY: PR_CAPBSET_DROP takes a number and touches no memory.
    let result = unsafe {
        libc::prctl(
            libc::PR_CAPBSET_DROP,
            libc::c_ulong::from(capability),
            0,
            0,
            0,
        )
    };
    check(result.into()).map(drop)
}

/// Whether the bounding set has it; `None` beyond the kernel's last capability.
pub(crate) fn bounding_has(capability: u32) -> Option<bool> {
    // SAFETY: PR_CAPBSET_READ takes a number and touches no memory.
    let result = unsafe {
        libc::prctl(
            libc::PR_CAPBSET_READ,
            libc::c_ulong::from(capability),
            0,
            0,
            0,
        )
    };
    match result {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

pub(crate) fn clear_ambient() -> io::Result<()> {
    // SAFETY: PR_CAP_AMBIENT_CLEAR_ALL takes no pointer.
    let result = unsafe {
        libc::prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_CLEAR_ALL,
            0,
            0,
            0,
        )
    };
    check(result.into()).map(drop)
}

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

fn low(bits: u64) -> u32 {
    u32::try_from(bits & 0xffff_ffff).expect("masked to 32 bits")
}

/// This thread's sets, as bit masks.
pub(crate) fn capset(effective: u64, permitted: u64, inheritable: u64) -> io::Result<()> {
    let header = CapHeader {
        version: CAPABILITY_VERSION_3,
        pid: 0,
    };
    let half = |shift: u32| CapData {
        effective: low(effective >> shift),
        permitted: low(permitted >> shift),
        inheritable: low(inheritable >> shift),
    };
    let data = [half(0), half(32)];
    // SAFETY: version 3 asks for one header and two data records, which is what the pointers are.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    check(result).map(drop)
}

/// This thread's permitted set.
pub(crate) fn permitted() -> io::Result<u64> {
    let header = CapHeader {
        version: CAPABILITY_VERSION_3,
        pid: 0,
    };
    let mut data = [CapData::default(); 2];
    // SAFETY: version 3 fills two data records, which is what the pointer has room for.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) };
    check(result)?;
    Ok(u64::from(data[0].permitted) | u64::from(data[1].permitted) << 32)
}

/// Every signal back to its default action (exec keeps ignored ones ignored), and none blocked.
pub(crate) fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL is always a valid disposition; numbers that cannot be set (9, 19, libc's own) just fail.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let _ = nix::sys::signal::SigSet::empty().thread_set_mask();
}

/// Ignores `signal`.
pub(crate) fn ignore_signal(signal: i32) {
    // SAFETY: SIG_IGN is a valid disposition and replaces no handler of ours.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Takes over a descriptor that this process was given across exec under a number that it was told.
pub(crate) fn take_inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD takes no pointer and fails on numbers that are not open.
    check(unsafe { libc::fcntl(number, libc::F_GETFD) }.into())?;
    // SAFETY: it is open (just checked) and the caller was told that it is its to own; nothing else in the process
    // knows of descriptors that existed before main.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Clears close-on-exec.
pub(crate) fn inherit(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: F_SETFD takes a number.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) }.into()).map(drop)
}

pub(crate) fn set_personality(persona: u64) -> io::Result<()> {
    // SAFETY: personality takes a number.
    check(unsafe { libc::personality(persona) }.into()).map(drop)
}

/// A hint to give malloc's free pages back.
pub(crate) fn trim_heap() {
    // SAFETY: malloc_trim only touches the allocator's free lists.
    unsafe { libc::malloc_trim(0) };
}

/// Unmaps this program's own code pages; those that run again come back from the page cache. A start touches most of
/// the program and waiting afterwards nearly nothing of it.
pub(crate) fn forget_code() -> io::Result<()> {
    for line in std::fs::read_to_string("/proc/self/maps")?.lines() {
        let mut words = line.split(' ');
        let (Some(range), Some("r-xp")) = (words.next(), words.next()) else {
            continue;
        };
        let Some((start, end)) = range.split_once('-') else {
            continue;
        };
        let address = |text| usize::from_str_radix(text, 16).map_err(io::Error::other);
        let (start, end) = (address(start)?, address(end)?);
        // The vdso and its kin have no file to come back from.
        if !line.contains(" /") {
            continue;
        }
        let pointer = std::ptr::without_provenance_mut::<libc::c_void>(start);
        // SAFETY: the range is a whole mapping of this process that is not writable, so its pages equal the file's
        // and are read again from there on the next touch.
        check(unsafe { libc::madvise(pointer, end - start, libc::MADV_DONTNEED) }.into())?;
    }
    Ok(())
}

/// execve that only returns on failure.
pub(crate) fn execve(path: &CStr, argv: &[CString], env: &[CString]) -> io::Error {
    match nix::unistd::execve(path, argv, env) {
        Ok(never) => match never {},
        Err(errno) => io::Error::from_raw_os_error(errno as i32),
    }
}

pub(crate) const MOUNT_ATTR_RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;

/// fsmount takes the same bits in 32.
pub(crate) fn attr_bits(attributes: u64) -> u32 {
    low(attributes)
}

/// Brings `lo` of this network namespace up.
pub(crate) fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: ifreq is plain data, for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING)
        .try_into()
        .map_err(io::Error::other)?;
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which outlives the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }.into())
        .map(drop)
}

pub(crate) fn raise_ambient(capability: u32) -> io::Result<()> {
    // SAFETY: PR_CAP_AMBIENT_RAISE takes a number.
    let result = unsafe {
        libc::prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_RAISE,
            libc::c_ulong::from(capability),
            0,
            0,
        )
    };
    check(result.into()).map(drop)
}

/// Closes every descriptor from `first` on. Only for a process that will use none of its owned ones again.
pub(crate) fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: the one caller is the reaper, which owns its process, and from here on touches only 0 to 2; owners of the
    // closed numbers are never dropped, as it leaves by exit.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
    check(result).map(drop)
}

/// Any signal number, real-time ones too.
pub(crate) fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: kill takes numbers.
    check(unsafe { libc::kill(pid, signal) }.into()).map(drop)
}

/// Any signal number, to the very process that the descriptor is of.
pub(crate) fn pidfd_signal(process: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo asks the kernel to fill it in as kill does.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            signal,
            none,
            0,
        )
    };
    check(result).map(drop)
}
