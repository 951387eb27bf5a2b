//! The order of set-up. Each stage is a name and a function; what a stage does is in its own module.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::thread::{LinkNameSpaceType, ThreadNameSpaceType};

use super::process::Command;
use super::{Fault, Inheritance, On as _, fail, identity, mounts, process, reaper, root};
use crate::sys;
use crate::wire::{ChildReport, FdRole, Go, InitConfig, ProcessConfig, recv_wait, send};

/// What the stages of a container share.
pub(super) struct Setup<'a> {
    pub(super) config: &'a InitConfig,
    pub(super) inheritance: &'a Inheritance,
    pub(super) sync: &'a OwnedFd,
    /// The container's root mount, from the root stage on.
    pub(super) root: Option<OwnedFd>,
    /// The container's own procfs: writes through it cannot be redirected by mounts.
    pub(super) proc: Option<OwnedFd>,
    /// A tmpfs that backs the injected files, and that trees are copied from.
    pub(super) scratch: Option<OwnedFd>,
    /// Those that have a place there.
    pub(super) trees: BTreeSet<u16>,
}

impl Setup<'_> {
    pub(super) fn root(&self) -> &OwnedFd {
        self.root
            .as_ref()
            .expect("the root stage comes before every stage that asks")
    }
}

type Stage = (
    &'static str,
    for<'a> fn(&mut Setup<'a>) -> Result<(), Fault>,
);

const CONTAINER: [Stage; 11] = [
    ("join namespaces", join_namespaces),
    ("isolate mounts", root::isolate),
    ("mount the root", root::mount_root),
    ("mount", mounts::mount_all),
    ("make device nodes", mounts::make_nodes),
    ("inject files", mounts::inject_files),
    ("open the terminal", process::open_terminal),
    ("set sysctls", process::set_sysctls),
    ("mask paths", mounts::mask_paths),
    ("pivot_root", root::pivot),
    ("name the host", process::set_names),
];

/// The child of a container start. `sync` speaks with the shim; stdio is in place.
pub(crate) fn run_container(inheritance: &Inheritance, sync: OwnedFd) -> ! {
    sys::reset_signals();
    rustix::process::umask(rustix::fs::Mode::empty());
    let config: InitConfig = match inheritance
        .child_json()
        .and_then(|json| Ok(serde_json::from_slice(&json)?))
    {
        Ok(config) => config,
        Err(error) => fail(&sync, "read the launch", &Fault::new("payload", error)),
    };
    let mut setup = Setup {
        config: &config,
        inheritance,
        sync: &sync,
        root: None,
        proc: None,
        scratch: None,
        trees: BTreeSet::new(),
    };
    if let Err(fault) = start_session(&config.process) {
        fail(&sync, "start a session", &fault);
    }
    for (name, stage) in CONTAINER {
        if let Err(fault) = stage(&mut setup) {
            fail(&sync, name, &fault);
        }
    }
    let proc = setup.proc.take();
    drop(setup);
    let command = prepare(&config.process, inheritance, proc, &sync);
    drop_privileges(&command, &sync);
    if config.reaper {
        // Only now: process 1 is as confined as the program.
        reaper::split(&command, &sync);
    }
    become_program(&command, &sync)
}

/// The child of an exec, already in the container's pid namespace and cgroup.
pub(crate) fn run_exec(
    config: &ProcessConfig,
    inheritance: &Inheritance,
    namespaces: u64,
    sync: OwnedFd,
) -> ! {
    sys::reset_signals();
    rustix::process::umask(rustix::fs::Mode::empty());
    let check = |name: &str, result: Result<(), Fault>| {
        if let Err(fault) = result {
            fail(&sync, name, &fault);
        }
    };
    check("enter the container", enter(inheritance, namespaces));
    check("start a session", start_session(config));
    check(
        "open the terminal",
        process::open_exec_terminal(config, &sync),
    );
    let command = prepare(config, inheritance, None, &sync);
    drop_privileges(&command, &sync);
    become_program(&command, &sync)
}

/// All that can be done as root, ending at the gate where the shim says go.
fn prepare(
    config: &ProcessConfig,
    inheritance: &Inheritance,
    proc: Option<OwnedFd>,
    sync: &OwnedFd,
) -> Command {
    let step = |name: &str, result: Result<(), Fault>| {
        if let Err(fault) = result {
            fail(sync, name, &fault);
        }
    };
    step(
        "set the OOM score",
        process::set_oom_score(config, proc.as_ref()),
    );
    drop(proc);
    step("set limits", process::set_rlimits(config));
    let identity = match identity::look_up(config) {
        Ok(identity) => identity,
        Err(fault) => fail(sync, "look up the user", &fault),
    };
    step("enter the working directory", process::enter_cwd(config));
    let seccomp = match process::read_filter(config, inheritance) {
        Ok(program) => program,
        Err(fault) => fail(sync, "read the seccomp filter", &fault),
    };
    let command = match Command::find(config, identity, seccomp) {
        Ok(command) => command,
        Err(fault) => fail(sync, "find the command", &fault),
    };
    step("wait for the shim", wait_for_go(sync));
    command
}

fn drop_privileges(command: &Command, sync: &OwnedFd) {
    if let Err(fault) = command.drop_privileges() {
        fail(sync, "drop privileges", &fault);
    }
}

fn become_program(command: &Command, sync: &OwnedFd) -> ! {
    let fault = command.exec();
    fail(sync, "execute", &fault)
}

fn wait_for_go(sync: &OwnedFd) -> Result<(), Fault> {
    send(sync, &ChildReport::Ready, &[]).on("shim")?;
    match recv_wait::<Go>(sync).on("shim")? {
        Some(_) => Ok(()),
        // The shim is gone or has given this start up.
        None => super::leave(125),
    }
}

fn start_session(config: &ProcessConfig) -> Result<(), Fault> {
    rustix::process::setsid().on("setsid")?;
    match sys::join_session_keyring(&config.id) {
        // A kernel without keyrings has none to hide; a full quota must not keep a container from starting.
        Err(error) if [Some(libc::ENOSYS), Some(libc::EDQUOT)].contains(&error.raw_os_error()) => {
            Ok(())
        }
        result => result.on("session keyring"),
    }
}

fn join_namespaces(setup: &mut Setup<'_>) -> Result<(), Fault> {
    for (role, kind, name) in [
        (
            FdRole::Netns,
            LinkNameSpaceType::Network,
            "network namespace",
        ),
        (
            FdRole::JoinIpc,
            LinkNameSpaceType::InterProcessCommunication,
            "ipc namespace",
        ),
        (
            FdRole::JoinUts,
            LinkNameSpaceType::HostNameAndNISDomainName,
            "uts namespace",
        ),
    ] {
        if let Some(fd) = setup.inheritance.fd(role) {
            rustix::thread::move_into_link_name_space(fd.as_fd(), Some(kind)).on(name)?;
        }
    }
    if setup.config.loopback {
        sys::loopback_up().on("lo")?;
    }
    Ok(())
}

/// Into the container by its init's pidfd. The root was opened before: under a chroot the namespace's own root is not
/// the container's.
pub(super) fn enter(inheritance: &Inheritance, namespaces: u64) -> Result<(), Fault> {
    let missing = || Fault::plain("no descriptor of the container");
    let init = inheritance.fd(FdRole::Init).ok_or_else(missing)?;
    let root = inheritance.fd(FdRole::Root).ok_or_else(missing)?;
    let kinds = ThreadNameSpaceType::from_bits_retain(
        u32::try_from(namespaces).expect("CLONE_NEW* fit 32 bits"),
    );
    rustix::thread::move_into_thread_name_spaces(init.as_fd(), kinds).on("namespaces")?;
    rustix::process::fchdir(root).on("container root")?;
    rustix::process::chroot(".").on("container root")?;
    Ok(())
}

/// A C string of something that came from outside.
pub(super) fn c_string(text: &str) -> Result<CString, Fault> {
    CString::new(text).map_err(|_| Fault::plain(format!("{text:?} has a NUL byte in it")))
}
