//! Where one exec's processes are found again.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::apply::{open_folder, write};
use super::removal::{PATIENCE, breathe, is_busy, kill_folders, processes, remove_folder};

/// A sub-cgroup that one exec's processes stay in, so that all of them can be found. On v1 the freezer hierarchy alone
/// has it: being somewhere costs no limit there, and the rest of the exec stays in the container's own folders.
#[derive(Debug)]
pub(crate) struct Tracking {
    folder: PathBuf,
}

impl Tracking {
    pub(crate) fn create(container: &Path, name: &str) -> io::Result<Self> {
        let folder = container.join(name);
        fs::create_dir(&folder)?;
        Ok(Self { folder })
    }

    pub(crate) fn open(&self) -> io::Result<OwnedFd> {
        open_folder(&self.folder)
    }

    pub(crate) fn attach(&self, pid: i32) -> io::Result<()> {
        write(&self.folder.join("cgroup.procs"), &pid.to_string())
    }

    pub(crate) fn kill(&self) -> io::Result<()> {
        kill_folders(std::slice::from_ref(&self.folder))
    }

    /// Left in place while a daemon that the exec started lives on; it then goes with the container's cgroup.
    pub(crate) fn remove(&self) {
        let deadline = Instant::now() + PATIENCE;
        for round in 0.. {
            match remove_folder(&self.folder) {
                Err(error)
                    if is_busy(&error)
                        && processes(&self.folder).is_ok_and(|pids| pids.is_empty())
                        && Instant::now() < deadline =>
                {
                    breathe(round);
                }
                _ => return,
            }
        }
    }
}
