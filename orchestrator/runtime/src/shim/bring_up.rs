//! From a launch to a running program, or to a clean failure.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::stdio::{self, Stdio};
use super::supervisor::{Container, Phase, Supervisor};
use super::{child_signals, failure, protect};
use crate::init::{Inheritance, run_container};
use crate::sys::{self, Fork};
use crate::wire::{ChildReport, Failure, FdRole, Go, Reply, ShimConfig, pair, recv_wait, send};

/// In the bundle, which is the working folder.
pub(super) const SOCKET: &str = "shim.sock";
const BACKLOG: i32 = 16;

pub(super) fn run(engine: OwnedFd, mut inheritance: Inheritance) -> io::Result<()> {
    let config: ShimConfig = serde_json::from_slice(&inheritance.shim_json()?)?;
    protect();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let signals = child_signals()?;
    match start(&config, &mut inheritance) {
        Ok(container) => {
            drop(inheritance);
            Supervisor::new(config, container, signals.into(), engine).run()
        }
        Err(failure) => {
            let _ = config.cgroup.remove();
            let _ = std::fs::remove_file(SOCKET);
            send(&engine, &Reply::Failed(failure), &[])
        }
    }
}

fn start(config: &ShimConfig, inheritance: &mut Inheritance) -> Result<Container, Failure> {
    let bundle = config.bundle.display().to_string();
    rustix::process::chdir(&config.bundle)
        .map_err(|error| failure("open the bundle", &bundle, &error.into()))?;
    let listener =
        listen().map_err(|error| failure("listen", format!("{bundle}/{SOCKET}"), &error))?;
    let mut stdio =
        Stdio::open(config, inheritance).map_err(|error| failure("open stdio", "pipes", &error))?;
    config
        .cgroup
        .create()
        .map_err(|error| failure("create the cgroup", error.object, &error.source))?;
    let (sync, child) = spawn(config, inheritance, &mut stdio)?;
    let mut container = Container {
        pid: child.0,
        pidfd: child.1,
        stdio,
        listener,
        terminal: None,
        phase: Phase::Running,
        oom: None,
        root: None,
    };
    if !config.cgroup.v2
        && let Err(error) = config.cgroup.attach(container.pid)
    {
        // A child that failed on its own has the better story.
        let told = child_failure(&sync, container.pid);
        return Err(
            told.unwrap_or_else(|| failure("enter the cgroup", error.object, &error.source))
        );
    }
    container.oom = crate::cgroup::OomWatch::open(&config.cgroup);
    await_ready(&sync, &mut container)?;
    container.root = hold_root(container.pid);
    // Only `oci create` names a socket; every other terminal stays with the shim.
    if let Some(socket) = inheritance.take(FdRole::ConsoleSocket)
        && let Some(master) = container.terminal.take()
    {
        give_away(&socket, &master)
            .map_err(|error| failure("open the terminal", "console socket", &error))?;
    }
    if config.hold {
        container.phase = Phase::Held(sync);
        return Ok(container);
    }
    go(&sync, container.pid)?;
    Ok(container)
}

/// Takes the bundle as it is now and listens in it. `None`: nothing has changed, the socket is there.
pub(super) fn listen_again(bundle: &Path) -> io::Result<Option<OwnedFd>> {
    let here = rustix::fs::stat(".")?;
    let same = rustix::fs::stat(bundle)
        .is_ok_and(|there| (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino));
    if same && Path::new(SOCKET).try_exists()? {
        return Ok(None);
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(bundle)?;
    rustix::process::chdir(bundle)?;
    listen().map(Some)
}

fn listen() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let listener =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    match std::fs::remove_file(SOCKET) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // The socket's mode is what umask leaves at bind; chmod afterwards would leave a gap.
    let mask = rustix::process::umask(Mode::from_raw_mode(0o177));
    // Relative to the bundle, which is the working directory: the whole path may be too long for a socket address.
    let bound = rustix::net::bind(&listener, &SocketAddrUnix::new(SOCKET)?);
    rustix::process::umask(mask);
    bound?;
    rustix::net::listen(&listener, BACKLOG)?;
    Ok(listener)
}

type Child = (i32, OwnedFd);

fn spawn(
    config: &ShimConfig,
    inheritance: &mut Inheritance,
    stdio: &mut Stdio,
) -> Result<(OwnedFd, Child), Failure> {
    let (ours, theirs) =
        pair().map_err(|error| failure("start the child", "socket pair", &error))?;
    let target = config.cgroup.clone_target();
    let target =
        target.map_err(|error| failure("enter the cgroup", error.object, &error.source))?;
    // Only children enter a pid namespace; the shim takes its own back afterwards, for the engine that it may start.
    let own_pids = match inheritance.fd(FdRole::JoinPid) {
        Some(joined) => Some(
            switch_pids(joined)
                .map_err(|error| failure("join namespaces", "pid namespace", &error))?,
        ),
        None => None,
    };
    let forked = sys::clone3(
        config.namespaces,
        target.as_ref().map(|target| target.as_fd()),
    );
    match forked.map_err(|error| failure("start the child", "clone3", &error))? {
        Fork::Child => {
            if let Some(fds) = stdio.container.take()
                && stdio::install(&fds).is_err()
            {
                #[expect(clippy::exit, reason = "a clone of the shim has nothing to return to")]
                std::process::exit(125);
            }
            drop(ours);
            run_container(inheritance, theirs)
        }
        Fork::Parent { pid, pidfd } => {
            if let Some(own) = own_pids {
                let _ = move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::ProcessID));
            }
            stdio.container = None;
            Ok((ours, (pid, pidfd)))
        }
    }
}

fn switch_pids(joined: &OwnedFd) -> io::Result<OwnedFd> {
    let own = std::fs::File::open("/proc/self/ns/pid")?;
    move_into_link_name_space(joined.as_fd(), Some(LinkNameSpaceType::ProcessID))?;
    Ok(own.into())
}

/// Set-up runs to its gate; the terminal's master comes on the way.
fn await_ready(sync: &OwnedFd, container: &mut Container) -> Result<(), Failure> {
    loop {
        match recv_wait::<ChildReport>(sync) {
            Ok(Some((ChildReport::Ready, _))) => return Ok(()),
            Ok(Some((ChildReport::Terminal, fds))) => container.terminal = fds.into_iter().next(),
            Ok(Some((ChildReport::Failed(failure), _))) => {
                reap(container.pid);
                return Err(failure);
            }
            Ok(None) => {
                let status = reap(container.pid);
                let object = format!("the child ended in the middle of it ({status})");
                return Err(failure(
                    "set the container up",
                    object,
                    &io::Error::from_raw_os_error(libc::ECHILD),
                ));
            }
            Err(error) => {
                let _ = sys::pidfd_signal(container.pidfd.as_fd(), libc::SIGKILL);
                reap(container.pid);
                return Err(failure(
                    "set the container up",
                    "message from the child",
                    &error,
                ));
            }
        }
    }
}

/// A hold on the container's root mount. Unmounting an overlay writes back the whole file system below it, and the last
/// process of a mount namespace pays for that: its end was measured to take 200 ms on a busy disk. With this hold the
/// shim pays instead, when it leaves, and the exit is told first. Without it (no right to look) only that is lost.
fn hold_root(pid: i32) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(format!("/proc/{pid}/root"), flags, Mode::empty()).ok()
}

/// Opens the gate. Exec closes the child's end, which is the good news.
pub(super) fn go(sync: &OwnedFd, pid: i32) -> Result<(), Failure> {
    send(sync, &Go, &[]).map_err(|error| failure("start the program", "gate", &error))?;
    match recv_wait::<ChildReport>(sync) {
        Ok(Some((ChildReport::Failed(failure), _))) => {
            reap(pid);
            Err(failure)
        }
        Ok(_) => Ok(()),
        Err(error) => Err(failure(
            "start the program",
            "message from the child",
            &error,
        )),
    }
}

/// The console socket's protocol: one byte string with the descriptor.
fn give_away(socket: &OwnedFd, master: &OwnedFd) -> io::Result<()> {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = [master.as_fd()];
    if !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    sendmsg(
        socket,
        &[io::IoSlice::new(b"/dev/ptmx")],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

fn child_failure(sync: &OwnedFd, pid: i32) -> Option<Failure> {
    let _ = sys::kill(pid, libc::SIGKILL);
    let told = match recv_wait::<ChildReport>(sync) {
        Ok(Some((ChildReport::Failed(failure), _))) => Some(failure),
        _ => None,
    };
    reap(pid);
    told
}

fn reap(pid: i32) -> String {
    let pid = rustix::process::Pid::from_raw(pid);
    match rustix::process::waitpid(pid, rustix::process::WaitOptions::empty()) {
        Ok(Some((_, status))) => match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (_, Some(signal)) => format!("signal {signal}"),
            _ => "unknown status".to_owned(),
        },
        _ => "no status".to_owned(),
    }
}
