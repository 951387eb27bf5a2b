//! Opens files for their content.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::path::Arg;

/// Error cause: not a regular file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotRegular;

impl fmt::Display for NotRegular {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a regular file")
    }
}

impl std::error::Error for NotRegular {}

/// Opens a regular file of a folder for reading, without following symlinks. The name is opened with `O_PATH` first to
/// check its type, so an entry exchanged for a device or a pipe is never opened.
pub fn open_regular(folder: impl AsFd, name: impl Arg) -> io::Result<(File, Stat)> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    regular(&rustix::fs::openat(folder, name, flags, Mode::empty())?)
}

/// Opens the file of an `O_PATH` descriptor if it is regular; otherwise the error's cause is [`NotRegular`].
pub fn regular(path: &OwnedFd) -> io::Result<(File, Stat)> {
    let stat = rustix::fs::fstat(path)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, NotRegular));
    }
    // The link leads to this very file, even if its name now belongs to another.
    let link = format!("/proc/self/fd/{}", path.as_raw_fd());
    let file = rustix::fs::open(
        link,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    Ok((file.into(), stat))
}

/// Whether a file or folder is on a kernel pseudo file system such as /proc or /sys. Reading such a file can have side
/// effects, reveal host data, or never end.
pub fn is_kernel_made(file: impl AsFd) -> io::Result<bool> {
    // linux/magic.h
    const MADE_UP: [u64; 14] = [
        0x9fa0,      // proc
        0x6265_6572, // sysfs
        0x0027_e0eb, // cgroup
        0x6367_7270, // cgroup2
        0x6462_6720, // debugfs
        0x7472_6163, // tracefs
        0x7363_6673, // securityfs
        0xcafe_4a11, // bpf
        0x1cd1,      // devpts
        0x1980_0202, // mqueue
        0x6265_6570, // configfs
        0xde5e_81e4, // efivarfs
        0x6165_676c, // pstore
        0x4249_4e4d, // binfmt_misc
    ];
    let kind = u64::try_from(rustix::fs::fstatfs(file)?.f_type).unwrap_or(0);
    Ok(MADE_UP.contains(&(kind & 0xffff_ffff)))
}
