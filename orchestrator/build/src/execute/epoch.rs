//! SOURCE_DATE_EPOCH: the one time that a build writes down, so that the same inputs give the same digests anywhere.
//!
//! As BuildKit's `rewrite-timestamp` has it: what is newer than that time takes it, what is older keeps its own.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use hoist_tree::{Visit, Walk};
use rustix::fs::{AtFlags, Timespec, Timestamps, UTIME_OMIT};

use crate::error::BuildError;
use crate::request::BuildRequest;

const NAME: &str = "SOURCE_DATE_EPOCH";

#[derive(Debug, Clone, Copy)]
pub(crate) struct Epoch(jiff::Timestamp);

impl Epoch {
    /// Among the build's arguments; an empty one is none.
    pub(crate) fn of(request: &BuildRequest) -> Result<Option<Self>, BuildError> {
        let Some(Some(text)) = request.args.get(NAME) else {
            return Ok(None);
        };
        if text.is_empty() {
            return Ok(None);
        }
        let time = text
            .parse()
            .ok()
            .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
        time.map(|time| Some(Self(time)))
            .ok_or_else(|| BuildError::Epoch(text.clone()))
    }

    /// RFC 3339.
    pub(crate) fn text(self) -> String {
        self.0.to_string()
    }

    /// Takes the time of everything below a folder, and of the folder, back to the epoch.
    pub(super) fn clamp(self, folder: &Path) -> std::io::Result<()> {
        let root = File::open(folder)?;
        let mut walk = Walk::new(root.as_fd())?;
        while let Some(visit) = walk.step()? {
            match visit {
                Visit::Entry { name, stat } if Visit::is_folder(&stat) => drop(walk.enter(&name)?),
                Visit::Entry { name, stat } if self.is_before(&stat) => {
                    let flags = AtFlags::SYMLINK_NOFOLLOW;
                    rustix::fs::utimensat(walk.folder(), name.as_c_str(), &self.times(), flags)?;
                }
                Visit::Entry { .. } => {}
                Visit::End if self.is_before(&rustix::fs::fstat(walk.folder())?) => {
                    rustix::fs::futimens(walk.folder(), &self.times())?;
                }
                Visit::End => {}
            }
        }
        Ok(())
    }

    fn is_before(self, stat: &rustix::fs::Stat) -> bool {
        (stat.st_mtime, stat.st_mtime_nsec) > (self.0.as_second(), 0)
    }

    fn times(self) -> Timestamps {
        Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT,
            },
            last_modification: Timespec {
                tv_sec: self.0.as_second(),
                tv_nsec: 0,
            },
        }
    }
}
