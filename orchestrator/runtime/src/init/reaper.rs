//! `init: true`: process 1 stays this program. It passes signals on, reaps orphans and ends as the main process does.
//!
//! It is a process of the container like any other: the container's user, capabilities, filter and limits hold for it,
//! and what is allowed to look at the program may look at it. The image sees no file of it: its executable is the
//! shim's sealed memfd.

use std::os::fd::OwnedFd;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use rustix::process::{DumpableBehavior, Pid, WaitOptions, set_dumpable_behavior};

use super::process::Command;
use super::{Fault, fail, leave};
use crate::sys;

/// Returns in the child, which goes on to be the program. Process 1 never returns.
pub(super) fn split(command: &Command, sync: &OwnedFd) {
    // Before there are two: what arrives from now on waits until it is read, none is lost. The kernel's own verdicts
    // (a fault in this very process) strike through the block.
    let signals = SigSet::all();
    let _ = signals.thread_block();
    match sys::fork() {
        Ok(None) => {
            let _ = SigSet::empty().thread_set_mask();
            take_terminal();
        }
        Ok(Some(program)) => {
            if command.lose_capabilities().is_err() {
                leave(125);
            }
            // Exec success shows as the socket's end; this copy would keep it open.
            let _ = sys::close_from(3);
            let _ = rustix::thread::set_name(c"hoist-init");
            // An exec would have done it: `/proc/1/fd/1` is there for the container's user. All that was the shim's is
            // closed, and its memory holds nothing but what the program was given.
            let _ = set_dumpable_behavior(DumpableBehavior::Dumpable);
            reap(program, &signals)
        }
        Err(error) => fail(sync, "start the reaper", &Fault::new("fork", error)),
    }
}

/// A process group of its own in the foreground, so that Ctrl-C reaches the program once and not through process 1 too.
fn take_terminal() {
    let _ = rustix::process::setpgid(None, None);
    if rustix::termios::isatty(rustix::stdio::stdin()) {
        let mut stop = SigSet::empty();
        stop.add(Signal::SIGTTOU);
        let _ = stop.thread_block();
        let _ = rustix::termios::tcsetpgrp(rustix::stdio::stdin(), rustix::process::getpgrp());
        let _ = stop.thread_unblock();
    }
}

fn reap(program: i32, signals: &SigSet) -> ! {
    let Ok(arrivals) = SignalFd::new(signals) else {
        leave(125)
    };
    loop {
        let Ok(Some(arrival)) = arrivals.read_signal() else {
            continue;
        };
        match i32::try_from(arrival.ssi_signo).unwrap_or_default() {
            libc::SIGCHLD => {
                if let Some(code) = collect(program) {
                    leave(code);
                }
            }
            // They would only stop the guardian of a stopped job.
            libc::SIGTTIN | libc::SIGTTOU | libc::SIGTSTP => {}
            signal => {
                let _ = sys::kill(program, signal);
            }
        }
    }
}

/// Reaps all that is dead; the exit code once the program is among them.
fn collect(program: i32) -> Option<i32> {
    let mut code = None;
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if Pid::as_raw(Some(pid)) == program {
            code = status
                .exit_status()
                .or_else(|| status.terminating_signal().map(|signal| 128 + signal));
        }
    }
    code
}
