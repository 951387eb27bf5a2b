//! The exec helper: one per exec. It enters the container's pid namespace, starts the program and tells how it ended.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::WaitOptions;
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use super::stdio::{self, null};
use super::{child_signals, exit, failure, protect};
use crate::cgroup::{CgroupError, Tracking};
use crate::init::{Inheritance, run_exec};
use crate::sys::{self, Fork};
use crate::wire::{
    Answer, ChildReport, ExecConfig, Exit, Failure, FdRole, Go, PROTOCOL, Reply, Request, pair,
    recv, recv_wait, send,
};

struct Program {
    pid: i32,
    pidfd: OwnedFd,
    terminal: Option<OwnedFd>,
}

pub(super) fn run(engine: &OwnedFd, mut inheritance: Inheritance) -> io::Result<()> {
    let config: ExecConfig = serde_json::from_slice(&inheritance.shim_json()?)?;
    protect();
    let signals: OwnedFd = child_signals()?.into();
    let tracking = track(&config);
    let started = start(&config, &mut inheritance, tracking.as_ref());
    drop(inheritance);
    let result = match started {
        Ok(program) => {
            let terminal: Vec<_> = program.terminal.iter().map(|fd| fd.as_fd()).collect();
            send(
                engine,
                &Reply::Started {
                    pid: program.pid,
                    protocol: PROTOCOL,
                },
                &terminal,
            )?;
            let program = Program {
                terminal: None,
                ..program
            };
            let exit = supervise(engine, &signals, &program, tracking.as_ref())?;
            send(engine, &Reply::Exited(exit), &[])
        }
        Err(failure) => send(engine, &Reply::Failed(failure), &[]),
    };
    if let Some(tracking) = tracking {
        tracking.remove();
    }
    result
}

/// Without it `kill_tree` reaches the program's process group only.
fn track(config: &ExecConfig) -> Option<Tracking> {
    let folder = config.cgroup.freezer.as_ref()?;
    Tracking::create(
        folder,
        &format!("exec-{}", rustix::process::getpid().as_raw_nonzero()),
    )
    .ok()
}

fn start(
    config: &ExecConfig,
    inheritance: &mut Inheritance,
    tracking: Option<&Tracking>,
) -> Result<Program, Failure> {
    let mut take = |role| inheritance.take(role).map_or_else(null, Ok);
    let fds = [FdRole::Stdin, FdRole::Stdout, FdRole::Stderr].map(&mut take);
    let [Ok(stdin), Ok(stdout), Ok(stderr)] = fds else {
        return Err(failure(
            "open stdio",
            "/dev/null",
            &io::Error::last_os_error(),
        ));
    };
    let fds = [stdin, stdout, stderr];
    let init = inheritance.fd(FdRole::Init).ok_or_else(|| {
        failure(
            "enter the container",
            "init",
            &io::ErrorKind::NotFound.into(),
        )
    })?;
    // Only children enter a pid namespace, so the helper stays with the host's view of things.
    move_into_thread_name_spaces(init.as_fd(), ThreadNameSpaceType::PROCESS_ID)
        .map_err(|error| failure("enter the container", "pid namespace", &error.into()))?;
    let (ours, theirs) =
        pair().map_err(|error| failure("start the child", "socket pair", &error))?;
    let target = clone_target(config, tracking)?;
    match sys::clone3(0, target.as_ref().map(|fd| fd.as_fd()))
        .map_err(|error| failure("start the child", "clone3", &error))?
    {
        Fork::Child => {
            if stdio::install(&fds).is_err() {
                #[expect(
                    clippy::exit,
                    reason = "a clone of the helper has nothing to return to"
                )]
                std::process::exit(125);
            }
            drop(fds);
            drop(ours);
            run_exec(&config.process, inheritance, config.namespaces, theirs)
        }
        Fork::Parent { pid, pidfd } => {
            drop(theirs);
            drop(fds);
            if !config.cgroup.v2
                && let Err(error) = enter_v1(config, tracking, pid)
            {
                give_up(pid, &pidfd);
                return Err(failure("enter the cgroup", error.object, &error.source));
            }
            let terminal = await_start(&ours).inspect_err(|_| give_up(pid, &pidfd))?;
            Ok(Program {
                pid,
                pidfd,
                terminal,
            })
        }
    }
}

/// The cgroup that the child is cloned into; on v1 it enters its cgroups after that.
fn clone_target(
    config: &ExecConfig,
    tracking: Option<&Tracking>,
) -> Result<Option<OwnedFd>, Failure> {
    match tracking {
        Some(tracking) if config.cgroup.v2 => tracking
            .open()
            .map(Some)
            .map_err(|error| failure("enter the cgroup", "tracking folder", &error)),
        _ => config
            .cgroup
            .clone_target()
            .map_err(|error| failure("enter the cgroup", error.object, &error.source)),
    }
}

fn enter_v1(config: &ExecConfig, tracking: Option<&Tracking>, pid: i32) -> Result<(), CgroupError> {
    config.cgroup.attach(pid)?;
    let tracked = tracking.map_or(Ok(()), |tracking| tracking.attach(pid));
    tracked.map_err(|source| CgroupError {
        object: "tracking folder".to_owned(),
        source,
    })
}

/// A failed child must not stay in the container as a zombie: its parent is outside.
fn give_up(pid: i32, pidfd: &OwnedFd) {
    let _ = sys::pidfd_signal(pidfd.as_fd(), libc::SIGKILL);
    let _ = rustix::process::waitpid(rustix::process::Pid::from_raw(pid), WaitOptions::empty());
}

fn await_start(sync: &OwnedFd) -> Result<Option<OwnedFd>, Failure> {
    let mut terminal = None;
    let mut ready = false;
    loop {
        match recv_wait::<ChildReport>(sync) {
            Ok(Some((ChildReport::Ready, _))) => {
                ready = true;
                send(sync, &Go, &[])
                    .map_err(|error| failure("start the program", "gate", &error))?;
            }
            Ok(Some((ChildReport::Terminal, fds))) => terminal = fds.into_iter().next(),
            Ok(Some((ChildReport::Failed(failure), _))) => return Err(failure),
            Ok(None) if ready => return Ok(terminal),
            Ok(None) => {
                let gone = io::Error::from_raw_os_error(libc::ECHILD);
                return Err(failure(
                    "enter the container",
                    "the child ended in the middle of it",
                    &gone,
                ));
            }
            Err(error) => {
                return Err(failure(
                    "start the program",
                    "message from the child",
                    &error,
                ));
            }
        }
    }
}

/// Until the program ends. An engine that goes away changes nothing for it.
fn supervise(
    engine: &OwnedFd,
    signals: &OwnedFd,
    program: &Program,
    tracking: Option<&Tracking>,
) -> io::Result<Exit> {
    let mut connected = true;
    loop {
        if let Some(exit) = reap(program.pid) {
            return Ok(exit);
        }
        let mut fds = vec![PollFd::new(signals, PollFlags::IN)];
        if connected {
            fds.push(PollFd::new(engine, PollFlags::IN));
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let asked = fds.get(1).is_some_and(|fd| !fd.revents().is_empty());
        let mut buffer = [0; 1024];
        let _ = rustix::io::read(signals, &mut buffer);
        if !asked {
            continue;
        }
        match recv::<Request>(engine) {
            Ok(Some((request, _))) => {
                let answer = match answer(&request, program, tracking) {
                    Ok(()) => Answer::Done,
                    Err(error) => Answer::Refused(error.to_string()),
                };
                let _ = send(engine, &Reply::Answer(answer), &[]);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(None) | Err(_) => connected = false,
        }
    }
}

fn answer(request: &Request, program: &Program, tracking: Option<&Tracking>) -> io::Result<()> {
    match request {
        Request::Kill { signal } => match sys::pidfd_signal(program.pidfd.as_fd(), *signal) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            result => result,
        },
        // The program leads its own session, and is our child until reaped: the id cannot have been reused.
        Request::KillGroup { signal } => match sys::kill(-program.pid, *signal) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            result => result,
        },
        Request::KillAll => match tracking {
            Some(tracking) => tracking.kill(),
            // The program leads a session of its own.
            None => sys::kill(-program.pid, libc::SIGKILL),
        },
        _ => Err(io::Error::other("not for an exec")),
    }
}

fn reap(pid: i32) -> Option<Exit> {
    let mut ended = None;
    while let Ok(Some((dead, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if dead.as_raw_nonzero().get() == pid {
            ended = Some(exit(status, false));
        }
    }
    ended
}
