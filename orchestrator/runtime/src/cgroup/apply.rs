//! Carries a plan out.

use std::fs;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{Mode, OFlags, inotify};

use super::plan::{Plan, Step};
use super::removal::{PATIENCE, breathe, kill_folders, remove_folders, wait_event};
use crate::sys;

/// An error with the file it happened on.
#[derive(Debug)]
pub(crate) struct CgroupError {
    pub(crate) object: String,
    pub(crate) source: io::Error,
}

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, CgroupError> {
    result.map_err(|source| CgroupError {
        object: path.display().to_string(),
        source,
    })
}

/// cgroup files take one write call, whole.
pub(super) fn write(path: &Path, value: &str) -> io::Result<()> {
    fs::OpenOptions::new()
        .write(true)
        .open(path)?
        .write_all(value.as_bytes())
}

impl Plan {
    pub(crate) fn create(&self) -> Result<(), CgroupError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.try_create() {
                // The last container of the parent has just taken it away. It needs its set-up again, not only to be.
                Err(error)
                    if error.source.kind() == io::ErrorKind::NotFound && self.parent_missing() =>
                {
                    if Instant::now() > deadline {
                        return Err(error);
                    }
                }
                result => return result,
            }
        }
    }

    fn parent_missing(&self) -> bool {
        self.folders
            .iter()
            .filter_map(|folder| folder.parent())
            .any(|parent| !parent.exists())
    }

    fn try_create(&self) -> Result<(), CgroupError> {
        for step in &self.steps {
            match step {
                Step::Folder(path) => at(path, make_folder(path))?,
                Step::Write {
                    file,
                    value,
                    tolerate,
                } => match write(file, value) {
                    Err(_) if *tolerate => {}
                    result => {
                        result.map_err(|source| CgroupError {
                            object: format!("{} = {value}", file.display()),
                            source,
                        })?;
                    }
                },
                Step::InheritCpuset(path) => at(path, inherit_cpuset(path))?,
            }
        }
        if let (Some(folder), false) = (self.folders.first(), self.device_program.is_empty()) {
            at(folder, self.attach_devices(folder))?;
        }
        Ok(())
    }

    fn attach_devices(&self, folder: &Path) -> io::Result<()> {
        let program = sys::bpf::load_device_program(&self.device_program)?;
        sys::bpf::attach_device_program(open_folder(folder)?.as_fd(), program.as_fd())
    }

    /// v2: the folder to clone straight into.
    pub(crate) fn clone_target(&self) -> Result<Option<OwnedFd>, CgroupError> {
        match self.folders.first() {
            Some(folder) if self.v2 => at(folder, open_folder(folder)).map(Some),
            _ => Ok(None),
        }
    }

    /// Moves a process in, for v1 or a process that exists already.
    pub(crate) fn attach(&self, pid: i32) -> Result<(), CgroupError> {
        for folder in &self.folders {
            let procs = folder.join("cgroup.procs");
            at(&procs, write(&procs, &pid.to_string()))?;
        }
        Ok(())
    }

    pub(crate) fn freeze(&self, frozen: bool) -> io::Result<()> {
        let folder = self
            .freezer
            .as_ref()
            .ok_or_else(|| io::Error::other("this host has no freezer cgroup"))?;
        if self.v2 {
            freeze_v2(folder, frozen)
        } else {
            freeze_v1(folder, frozen)
        }
    }

    pub(crate) fn oom_kills(&self) -> u64 {
        self.memory
            .as_deref()
            .map_or(0, |folder| oom_kills(folder, self.v2))
    }

    /// SIGKILL to all, and waits until they are gone.
    pub(crate) fn kill(&self) -> io::Result<()> {
        kill_folders(&self.folders)
    }

    /// Kills what is left and removes the folders; the first failure is told, the rest still goes.
    pub(crate) fn remove(&self) -> io::Result<()> {
        let result = remove_folders(&self.folders);
        for parent in self.folders.iter().filter_map(|folder| folder.parent()) {
            // Ours goes with its last container; another's (`cgroupsPath`) is not for us to judge.
            let name = parent
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            if name == "hoist" || name.starts_with("hoist-") {
                let _ = fs::remove_dir(parent);
            }
        }
        result
    }
}

fn make_folder(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

pub(super) fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

fn inherit_cpuset(folder: &Path) -> io::Result<()> {
    let Some(parent) = folder.parent() else {
        return Ok(());
    };
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if !fs::read_to_string(folder.join(file))?.trim().is_empty() {
            continue;
        }
        if fs::read_to_string(parent.join(file))?.trim().is_empty() {
            inherit_cpuset(parent)?;
        }
        write(
            &folder.join(file),
            fs::read_to_string(parent.join(file))?.trim(),
        )?;
    }
    Ok(())
}

fn oom_kills(folder: &Path, v2: bool) -> u64 {
    let file = if v2 {
        "memory.events"
    } else {
        "memory.oom_control"
    };
    let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
    super::stats::field(&text, "oom_kill").unwrap_or(0)
}

/// v1 freezes in the background; reading the state drives it on.
fn freeze_v1(folder: &Path, frozen: bool) -> io::Result<()> {
    let (file, want) = (
        folder.join("freezer.state"),
        if frozen { "FROZEN" } else { "THAWED" },
    );
    let deadline = Instant::now() + PATIENCE;
    for round in 0.. {
        write(&file, want)?;
        if fs::read_to_string(&file)?.trim() == want {
            return Ok(());
        }
        if Instant::now() > deadline {
            write(&file, "THAWED")?;
            return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT));
        }
        breathe(round);
    }
    Ok(())
}

fn freeze_v2(folder: &Path, frozen: bool) -> io::Result<()> {
    write(
        &folder.join("cgroup.freeze"),
        if frozen { "1" } else { "0" },
    )?;
    wait_event(folder, if frozen { "frozen 1" } else { "frozen 0" })
}

/// Tells of OOM kills: readable when there may be news.
#[derive(Debug)]
pub(crate) struct OomWatch {
    signal: OwnedFd,
    seen: u64,
    /// v1 tells of the shortage, and the kill that ends it is counted a moment later.
    again: Option<Instant>,
    looks: u32,
}

const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Some seconds: a victim that is stuck in the kernel is not waited for.
const MAX_LOOKS: u32 = 250;

impl OomWatch {
    /// `None` where the kernel offers no notice (then the counter is read at the end only).
    pub(crate) fn open(plan: &Plan) -> Option<Self> {
        let folder = plan.memory.as_deref()?;
        let signal = if plan.v2 {
            watch_v2(folder)
        } else {
            watch_v1(folder)
        }
        .ok()?;
        Some(Self {
            signal,
            seen: 0,
            again: None,
            looks: 0,
        })
    }

    pub(crate) fn signal(&self) -> &OwnedFd {
        &self.signal
    }

    /// When to call [`OomWatch::take`] though nothing was signalled.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.again
    }

    /// Whether there were kills since the last call.
    pub(crate) fn take(&mut self, plan: &Plan) -> bool {
        let mut buffer = [0; 1024];
        let signalled =
            matches!(rustix::io::read(&self.signal, &mut buffer), Ok(count) if count > 0);
        let kills = plan.oom_kills();
        let news = kills > self.seen;
        self.seen = kills;
        self.looks = if signalled { 0 } else { self.looks + 1 };
        let open = !plan.v2 && !news && self.looks < MAX_LOOKS;
        self.again = open.then(|| Instant::now() + LOOK_AGAIN);
        news
    }
}

fn watch_v1(folder: &Path) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd as _;
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let control = fs::File::open(folder.join("memory.oom_control"))?;
    write(
        &folder.join("cgroup.event_control"),
        &format!("{} {}", event.as_raw_fd(), control.as_raw_fd()),
    )?;
    Ok(event)
}

fn watch_v2(folder: &Path) -> io::Result<OwnedFd> {
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    inotify::add_watch(
        &watch,
        folder.join("memory.events"),
        inotify::WatchFlags::MODIFY,
    )?;
    Ok(watch)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::cgroup::{Layout, plan, v2_mount};

    fn in_cgroup(plan: &Plan, script: &str) -> Child {
        let mut child = Command::new("sh")
            .args(["-c", &format!("read go; {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        plan.attach(i32::try_from(child.id()).unwrap()).unwrap();
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        child
    }

    #[test]
    fn v2_device_program_freezer_and_kill_work() {
        let Some(point) = v2_mount() else {
            return;
        };
        let relative = format!("hoist-test-{}/x", std::process::id());
        let spec = crate::spec_defaults::spec();
        let resources = spec.linux().as_ref().unwrap().resources().as_ref();
        let plan = plan(&Layout::V2(point), Path::new(&relative), resources).unwrap();
        plan.create().unwrap();
        let mut child = in_cgroup(
            &plan,
            "head -c 1 /dev/zero | wc -c; head -c 1 /dev/kmsg; echo $?; head -c 1 /dev/vda; echo $?",
        );
        let mut out = String::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut out)
            .unwrap();
        child.wait().unwrap();
        assert_eq!(
            out, "1\n1\n1\n",
            "zero can be read, the kernel's log and disks cannot"
        );
        let mut child = in_cgroup(&plan, "while :; do :; done");
        plan.freeze(true).unwrap();
        plan.freeze(false).unwrap();
        plan.freeze(true).unwrap();
        // A frozen one can be killed, too; it must be reaped by its parent for the cgroup to count as empty.
        let reaper = std::thread::spawn(move || child.wait().unwrap());
        plan.kill().unwrap();
        assert!(!reaper.join().unwrap().success());
        plan.remove().unwrap();
        assert!(!plan.folders[0].parent().unwrap().exists());
    }
}
