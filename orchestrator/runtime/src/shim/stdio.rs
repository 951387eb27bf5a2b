//! The container's standard streams, as the shim holds them.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::init::Inheritance;
use crate::wire::{FdRole, ShimConfig};

pub(super) fn null() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(
        "/dev/null",
        OFlags::RDWR | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// Both ends; the container's are dropped once it has them.
#[derive(Debug, Default)]
pub(super) struct Stdio {
    pub(super) container: Option<[OwnedFd; 3]>,
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
}

impl Stdio {
    pub(super) fn open(config: &ShimConfig, inheritance: &mut Inheritance) -> io::Result<Self> {
        if config.tty {
            // The child replaces all three by its terminal.
            return Ok(Self {
                container: Some([null()?, null()?, null()?]),
                ..Self::default()
            });
        }
        if config.inherit_stdio {
            let mut take = |role| inheritance.take(role).map_or_else(null, Ok);
            let container = [
                take(FdRole::Stdin)?,
                take(FdRole::Stdout)?,
                take(FdRole::Stderr)?,
            ];
            return Ok(Self {
                container: Some(container),
                ..Self::default()
            });
        }
        let (stdin, stdin_ours) = if config.stdin_open {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
            nonblocking(&write)?;
            (read, Some(write))
        } else {
            (null()?, None)
        };
        let (stdout_ours, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stderr_ours, stderr) = pipe_with(PipeFlags::CLOEXEC)?;
        nonblocking(&stdout_ours)?;
        nonblocking(&stderr_ours)?;
        Ok(Self {
            container: Some([stdin, stdout, stderr]),
            stdin: stdin_ours,
            stdout: Some(stdout_ours),
            stderr: Some(stderr_ours),
        })
    }
}

/// Puts three descriptors in place of this process's own.
pub(super) fn install(fds: &[OwnedFd; 3]) -> io::Result<()> {
    rustix::stdio::dup2_stdin(&fds[0])?;
    rustix::stdio::dup2_stdout(&fds[1])?;
    rustix::stdio::dup2_stderr(&fds[2])?;
    Ok(())
}

pub(super) fn nonblocking(fd: &OwnedFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    Ok(rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)?)
}
