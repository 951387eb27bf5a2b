//! The shim: the small process that stays with one container (or with one exec) and outlives the engine.
//!
//! One thread, no async runtime, little memory. Must not know images, networks, restart policies.

mod bring_up;
mod clients;
mod exec;
mod logger;
pub(crate) mod record;
mod renew;
mod restart;
mod stdio;
mod streams;
mod supervisor;

use std::io;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use crate::init::Inheritance;
use crate::sys;
use crate::wire::{Exit, Failure, Head, recv_wait};

/// The binary's whole main. The engine's socket is standard input.
#[must_use]
pub fn main() -> i32 {
    // Before anything is opened: what the engine's other threads forgot to mark must not reach a container.
    let _ = sys::close_from(3);
    let mode = std::env::args().nth(1).unwrap_or_default();
    match start(&mode) {
        Ok(()) => 0,
        // Nobody to tell: standard error is /dev/null, and the engine sees the socket's end.
        Err(_) => 125,
    }
}

fn start(mode: &str) -> io::Result<()> {
    // Its memory and descriptors are not for the container's eyes, whatever it is allowed to trace.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let null = stdio::null()?;
    rustix::stdio::dup2_stdin(&null)?;
    drop(null);
    // The engine reaps this process; the shim proper belongs to process 1, so that it outlives the engine.
    if sys::fork()?.is_some() {
        return Ok(());
    }
    rustix::process::setsid()?;
    rustix::thread::set_name(c"hoist-shim")?;
    let Some((head, fds)) = recv_wait::<Head>(&socket)? else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    if let Some(limit) = head.descriptors {
        limit.restore()?;
    }
    let inheritance = Inheritance::new(head, fds)?;
    match mode {
        "start" => bring_up::run(socket, inheritance),
        "exec" => exec::run(&socket, inheritance),
        "renew" => renew::run(&socket, &inheritance),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

fn failure(stage: &str, object: impl Into<String>, error: &io::Error) -> Failure {
    let object: String = object.into();
    Failure {
        stage: stage.to_owned(),
        object: object.chars().take(1500).collect(),
        errno: error.raw_os_error().unwrap_or(libc::EIO),
        exit_code: 125,
    }
}

/// An exit as the world hears of it.
fn exit(status: rustix::process::WaitStatus, oom: bool) -> Exit {
    let signal = status.terminating_signal();
    let code = status
        .exit_status()
        .or_else(|| signal.map(|signal| 128 + signal))
        .unwrap_or(255);
    Exit::now(code, signal, oom)
}

/// Blocks SIGCHLD into a descriptor, and takes no harm from terminals and closed pipes.
fn child_signals() -> io::Result<nix::sys::signalfd::SignalFd> {
    use nix::sys::signal::{SigSet, Signal};
    use nix::sys::signalfd::{SfdFlags, SignalFd};
    for signal in [libc::SIGPIPE, libc::SIGHUP, libc::SIGINT, libc::SIGTERM] {
        sys::ignore_signal(signal);
    }
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    children.thread_block()?;
    Ok(SignalFd::with_flags(
        &children,
        SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK,
    )?)
}

/// The shim should be the last to die for memory. Without CAP_SYS_RESOURCE it stays as it is.
fn protect() {
    let _ = std::fs::write("/proc/self/oom_score_adj", "-998");
}
