//! Empties a cgroup and takes it away, while others may still begin something in it.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

use super::apply::write;

/// How long emptying a cgroup may take before it is given up: a process stuck in the kernel cannot be killed.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Between two tries of what the kernel finishes in the background without an event to wait for: v1's freezer, which
/// goes on only when its state is read, and the last reference to a cgroup whose processes have ended (`rmdir` says
/// busy). Most often the next turn of the scheduler brings it; what takes longer is tried a thousand times a second, for
/// [`PATIENCE`] at most.
pub(super) fn breathe(round: u32) {
    if round < 100 {
        rustix::thread::sched_yield();
    } else {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until v2's `cgroup.events` has this line; the kernel signals each change of the file.
pub(super) fn wait_event(folder: &Path, line: &str) -> io::Result<()> {
    let file = folder.join("cgroup.events");
    let events = fs::File::open(&file)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        if fs::read_to_string(&file)?.lines().any(|have| have == line) {
            return Ok(());
        }
        let Some(left) = deadline.checked_duration_since(Instant::now()) else {
            return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT));
        };
        poll(
            &mut [PollFd::new(&events, PollFlags::PRI)],
            Some(&left.try_into().map_err(io::Error::other)?),
        )?;
    }
}

/// The folder and all below it, children before parents. A missing folder is not an error; any other failure is, since
/// a cgroup that was not seen must not count as empty.
fn tree(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = vec![folder.to_path_buf()];
    let mut next = 0;
    while let Some(folder) = folders.get(next) {
        next += 1;
        let entries = match fs::read_dir(folder) {
            Err(error) if is_gone(&error) => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    folders.reverse();
    Ok(folders)
}

/// The kernel says `ENODEV` for files of a cgroup that is being removed.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

/// Process ids in the folder and below it; none when it is not there.
pub(crate) fn processes(folder: &Path) -> io::Result<Vec<i32>> {
    let mut pids = Vec::new();
    for folder in tree(folder)? {
        let text = match fs::read_to_string(folder.join("cgroup.procs")) {
            Err(error) if is_gone(&error) => continue,
            text => text?,
        };
        pids.extend(
            text.lines()
                .filter_map(|line| line.parse::<i32>().ok())
                .filter(|pid| *pid > 0),
        );
    }
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// Kills everything in these folders (they describe one cgroup) and waits for it. Missing folders are fine.
pub(crate) fn kill_folders(folders: &[PathBuf]) -> io::Result<()> {
    for folder in folders {
        let kill_file = folder.join("cgroup.kill");
        if kill_file.exists() {
            write(&kill_file, "1")?;
            return wait_event(folder, "populated 0");
        }
    }
    let Some(folder) = folders
        .iter()
        .find(|folder| folder.join("cgroup.procs").exists())
    else {
        return Ok(());
    };
    let deadline = Instant::now() + PATIENCE;
    for round in 0.. {
        let victims = processes(folder)?;
        if victims.is_empty() {
            return Ok(());
        }
        let handles = kill_each(&victims);
        // A frozen process dies when it thaws.
        for frozen in folders
            .iter()
            .map(|folder| folder.join("freezer.state"))
            .filter(|file| file.exists())
        {
            let _ = write(&frozen, "THAWED");
        }
        for handle in &handles {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT));
            };
            poll(
                &mut [PollFd::new(handle, PollFlags::IN)],
                Some(&left.try_into().map_err(io::Error::other)?),
            )?;
        }
        if handles.is_empty() {
            if Instant::now() > deadline {
                return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT));
            }
            breathe(round);
        }
    }
    Ok(())
}

fn kill_each(victims: &[i32]) -> Vec<OwnedFd> {
    let mut handles = Vec::new();
    for pid in victims.iter().filter_map(|pid| Pid::from_raw(*pid)) {
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => {
                let _ = pidfd_send_signal(&handle, Signal::KILL);
                handles.push(handle);
            }
            // Without a descriptor to be had it dies all the same; its end is then seen by looking again.
            Err(_) => drop(kill_process(pid, Signal::KILL)),
        }
    }
    handles
}

/// Kills and removes the folders (they describe one cgroup) and what is below them. Missing ones are fine.
pub(crate) fn remove_folders(folders: &[PathBuf]) -> io::Result<()> {
    // The first failure is told, the rest still goes.
    folders
        .iter()
        .map(|folder| remove_tree(folder, folders))
        .fold(Ok(()), io::Result::and)
}

/// Looks again in each round: an exec that begins in between brings a folder of its own.
fn remove_tree(folder: &Path, folders: &[PathBuf]) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    for round in 0.. {
        let mut removals = tree(folder)?.into_iter().map(|path| remove_folder(&path));
        match removals.find(io::Result::is_err) {
            Some(Err(error)) if is_busy(&error) && Instant::now() < deadline => {
                // Either processes are left (killing waits for their end), or the last one is dead and the kernel has
                // not finished taking it out.
                kill_folders(folders)?;
                breathe(round);
            }
            Some(result) => return result,
            None => return Ok(()),
        }
    }
    Ok(())
}

pub(super) fn remove_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

pub(super) fn is_busy(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EBUSY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::{Tracking, v2_mount};

    #[test]
    fn removal_meets_execs_that_begin() {
        let Some(point) = v2_mount() else {
            return;
        };
        let folder = point.join(format!("hoist-test-{}-execs", std::process::id()));
        fs::create_dir(&folder).unwrap();
        std::thread::scope(|scope| {
            let (begun, some) = std::sync::mpsc::channel();
            // Each leaves its folder, as one that is killed does.
            scope.spawn(move || {
                for number in 0..500 {
                    if Tracking::create(&folder, &format!("exec-{number}")).is_err() {
                        return;
                    }
                    let _ = begun.send(folder.clone());
                }
            });
            let folder = some.recv().unwrap();
            remove_folders(std::slice::from_ref(&folder)).unwrap();
            assert!(!folder.exists());
        });
    }
}
