//! SOURCE_DATE_EPOCH: the one time that a build writes down, so that the same inputs give the same digests anywhere.
//!
//! As BuildKit's `rewrite-timestamp` has it: what is newer than that time takes it, what is older keeps its own.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use crate::error::BuildError;
use crate::request::BuildRequest;

const NAME: &str = "SOURCE_DATE_EPOCH";

#[derive(Debug, Clone, Copy)]
pub(crate) struct Epoch(jiff::Timestamp);

impl Epoch {
    /// Among the build's arguments; an empty one is none.
    pub(crate) fn of(request: &BuildRequest) -> Result<Option<Self>, BuildError> {
        let Some(Some(text)) = request.args.get(NAME) else { return Ok(None) };
        if text.is_empty() {
            return Ok(None);
        }
        let time = text.parse().ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
        time.map(|time| Some(Self(time))).ok_or_else(|| BuildError::Epoch(text.clone()))
    }

    /// RFC 3339.
    pub(crate) fn text(self) -> String {
        self.0.to_string()
    }

    /// Takes the time of everything below a folder, and of the folder, back to the epoch.
    pub(super) fn clamp(self, folder: &Path) -> std::io::Result<()> {
        let root = File::open(folder)?;
        let mut open = vec![OwnedFd::from(root)];
        while let Some(folder) = open.pop() {
            if self.is_before(&rustix::fs::fstat(&folder)?) {
                rustix::fs::futimens(&folder, &self.times())?;
            }
            for entry in Dir::read_from(&folder)? {
                let entry = entry?;
                let name = entry.file_name();
                if name == c"." || name == c".." {
                    continue;
                }
                let stat = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
                if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                    open.push(enter(folder.as_fd(), name)?);
                } else if self.is_before(&stat) {
                    rustix::fs::utimensat(&folder, name, &self.times(), AtFlags::SYMLINK_NOFOLLOW)?;
                }
            }
        }
        Ok(())
    }

    fn is_before(self, stat: &rustix::fs::Stat) -> bool {
        (stat.st_mtime, stat.st_mtime_nsec) > (self.0.as_second(), 0)
    }

    fn times(self) -> Timestamps {
        Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: self.0.as_second(), tv_nsec: 0 },
        }
    }
}

fn enter(folder: std::os::fd::BorrowedFd<'_>, name: &std::ffi::CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(folder, name, flags, Mode::empty())
}
