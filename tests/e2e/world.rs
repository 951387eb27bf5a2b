//! A world of its own for a scenario: folders, an engine, a project, and the check that nothing of it remains.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::host::{Instance, Traces};
use crate::{effects, lan};

/// A static userland in an image of a few megabytes, built by hoist itself.
const BUSYBOX: &str = "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n";

/// What scenarios that kill and damage have in common: a program with data in a volume, and one that serves a page. More
/// lines of `web` and more services follow. Both are ended at once.
pub(crate) const DB_AND_WEB: &str = r#"
services:
  db:
    image: busybox
    command: [sleep, "10000"]
    restart: always
    stop_grace_period: 0s
    volumes: ["data:/data"]
  web:
    image: busybox
    command: [sh, -c, "mkdir -p /www; echo served >/www/index.html; exec httpd -f -p 80 -h /www"]
    restart: always
    stop_grace_period: 0s
"#;

/// Scenarios on the network of the real host run one at a time.
static HOST: Mutex<()> = Mutex::new(());

pub(crate) struct World {
    pub(crate) data_root: PathBuf,
    pub(crate) run_dir: PathBuf,
    pub(crate) instance: Instance,
    /// The project's folder; commands run here.
    pub(crate) project: PathBuf,
    before: Traces,
    finished: bool,
    _dir: tempfile::TempDir,
    _host: Option<MutexGuard<'static, ()>>,
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: i32,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code().unwrap_or(-1),
        }
    }
}

impl World {
    /// In a network namespace of its own, unless the scenario has one already. `None`: this machine cannot run it, and
    /// the reason was printed.
    pub(crate) fn new(claim: &str) -> Option<Self> {
        Self::with_data_root(claim, None)
    }

    /// With a data root at a place of the scenario's choice.
    pub(crate) fn with_data_root(claim: &str, data_root: Option<PathBuf>) -> Option<Self> {
        Self::with_folders(claim, data_root, None)
    }

    /// With data root and run directory at places of the scenario's choice.
    pub(crate) fn with_folders(
        claim: &str,
        data_root: Option<PathBuf>,
        run_dir: Option<PathBuf>,
    ) -> Option<Self> {
        Self::possible(claim)?;
        lan::own_network(claim)?;
        Some(Self::make(data_root, run_dir, None))
    }

    /// On the host's own network, from which packages can be fetched, and with an image store that is kept from run to
    /// run, for images that take minutes to make.
    pub(crate) fn on_the_host(claim: &str, kept: PathBuf) -> Option<Self> {
        Self::possible(claim)?;
        lan::hosts_network();
        Some(Self::make(
            Some(kept),
            None,
            Some(HOST.lock().unwrap_or_else(PoisonError::into_inner)),
        ))
    }

    fn possible(claim: &str) -> Option<()> {
        let root = fs::metadata("/proc/self")
            .is_ok_and(|of| std::os::unix::fs::MetadataExt::uid(&of) == 0);
        if !root {
            note(&format!("skipped: {claim}: needs root"));
            return None;
        }
        for tool in ["/usr/sbin/nft", "/bin/busybox"] {
            if !Path::new(tool).exists() {
                note(&format!("skipped: {claim}: needs {tool}"));
                return None;
            }
        }
        Some(())
    }

    fn make(
        data_root: Option<PathBuf>,
        run_dir: Option<PathBuf>,
        host: Option<MutexGuard<'static, ()>>,
    ) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("hoist-e2e-")
            .tempdir_in("/var/tmp")
            .expect("make a folder");
        let data_root = data_root.unwrap_or_else(|| dir.path().join("data"));
        let run_dir = run_dir.unwrap_or_else(|| dir.path().join("run"));
        let project = dir.path().join("project");
        fs::create_dir_all(&project).expect("make the project's folder");
        let instance = Instance::new(data_root.clone(), run_dir.clone());
        let before = instance.traces();
        Self {
            data_root,
            run_dir,
            instance,
            project,
            before,
            finished: false,
            _dir: dir,
            _host: host,
        }
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.project.join(name);
        fs::create_dir_all(path.parent().expect("a file has a folder")).expect("make a folder");
        fs::write(&path, text).expect("write a file");
        path
    }

    /// Builds the image `busybox` in this world's store.
    pub(crate) fn busybox(&self) -> &Self {
        self.file("busybox.image/Dockerfile", BUSYBOX);
        fs::copy("/bin/busybox", self.project.join("busybox.image/busybox")).expect("copy busybox");
        self.ok(&["image", "build", "-q", "-t", "busybox", "busybox.image"]);
        self
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        effects::strip(self);
        self.bare(args)
    }

    /// A command of hoist that leaves the files as they are.
    pub(crate) fn bare(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .args(args)
            .current_dir(&self.project)
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", &self.project)
            .env("HOIST_DATA_ROOT", &self.data_root)
            .env("HOIST_RUN_DIR", &self.run_dir)
            .stdin(Stdio::null());
        if let Some(shim) = std::env::var_os("HOIST_SHIM") {
            command.env("HOIST_SHIM", shim);
        }
        command
    }

    pub(crate) fn hoist(&self, args: &[&str]) -> Run {
        self.command(args).output().expect("run hoist").into()
    }

    /// Runs a command that must succeed and returns its standard output.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let run = self.hoist(args);
        assert_eq!(
            run.code,
            0,
            "hoist {} failed\n{}\n{}",
            args.join(" "),
            run.stdout,
            run.stderr
        );
        run.stdout
    }

    /// Starts a command and leaves it running.
    pub(crate) fn spawn(&self, args: &[&str]) -> Child {
        self.command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("run hoist")
    }

    /// `ps` of all containers as JSON values.
    pub(crate) fn ps(&self) -> Vec<serde_json::Value> {
        let text = self.ok(&["ps", "-a", "--format", "json"]);
        text.lines()
            .map(|line| serde_json::from_str(line).expect("ps prints JSON lines"))
            .collect()
    }

    /// One field of the container of a service, as text.
    pub(crate) fn field(&self, service: &str, field: &str) -> String {
        let all = self.ps();
        let found = all.iter().find(|container| container["Service"] == service);
        found.map_or_else(
            || "absent".to_owned(),
            |container| match &container[field] {
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            },
        )
    }

    pub(crate) fn engine(&self) -> Option<String> {
        self.instance.engine()
    }

    /// The process of a step or a container that sleeps for so long.
    pub(crate) fn sleeper(&self, seconds: &str) -> Option<String> {
        let words = format!("sleep\0{seconds}\0");
        let sleeps = |pid: &String| {
            fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == words.as_bytes())
        };
        self.instance.processes().find(sleeps)
    }

    pub(crate) fn kill_engine(&self) -> Option<String> {
        self.instance.kill_engine()
    }

    /// Asks a published port of this host.
    pub(crate) fn get(&self, address: &str) -> Option<String> {
        self.get_within(address, "10")
    }

    /// With the seconds after which no answer counts as none, for what must not be reached.
    pub(crate) fn get_within(&self, address: &str, seconds: &str) -> Option<String> {
        let output = Command::new("curl")
            .args(["-s", "-f", "--max-time", seconds, address])
            .output()
            .expect("run curl");
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Takes the project down with its volumes, and shows that nothing but the engine and its store is left.
    pub(crate) fn finish(mut self) {
        if ["compose.yaml", "stack.yaml"]
            .iter()
            .any(|name| self.project.join(name).exists())
        {
            self.ok(&["down", "-v", "--remove-orphans", "-t", "1"]);
        }
        self.assert_nothing_left();
        self.finished = true;
    }

    pub(crate) fn assert_nothing_left(&self) {
        let left = || self.instance.traces().since(&self.before);
        // The kernel takes network namespaces apart in the background, and links with them.
        let deadline = Instant::now() + Duration::from_secs(10) * patience();
        while Instant::now() < deadline && !left().is_empty() {
            std::thread::yield_now();
        }
        let left = left();
        assert!(
            left.is_empty(),
            "left on the host after down:\n  {}",
            left.join("\n  ")
        );
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !self.finished && std::thread::panicking() && !effects::failure_is_wanted() {
            for args in [
                &["ps", "-a"][..],
                &["logs", "--tail", "20"],
                &["down", "-v", "-t", "0"],
            ] {
                let run = self.hoist(args);
                note(&format!(
                    "$ hoist {}\n{}{}",
                    args.join(" "),
                    run.stdout,
                    run.stderr
                ));
            }
            if let Ok(log) = fs::read_to_string(self.data_root.join("engine.log")) {
                note(&format!("engine.log:\n{log}"));
            }
        }
        self.instance.wipe();
    }
}

/// The `hoist` under test: the one that was built with the tests, or the one that `HOIST_E2E_PROGRAM` names, on a machine
/// that built neither.
fn program() -> PathBuf {
    std::env::var_os("HOIST_E2E_PROGRAM")
        .map_or_else(|| env!("CARGO_BIN_EXE_hoist").into(), PathBuf::from)
}

/// How much longer than usual this machine may take: `HOIST_E2E_PATIENCE`, for an emulated one.
fn patience() -> u32 {
    std::env::var("HOIST_E2E_PATIENCE").map_or(1, |factor| {
        factor.parse().expect("HOIST_E2E_PATIENCE is a number")
    })
}

/// Waits for a state, looking again and again; fails when it has not come within half a minute.
pub(crate) fn eventually(state: &str, reached: impl FnMut() -> bool) {
    within(Duration::from_secs(30), state, reached);
}

pub(crate) fn within(limit: Duration, state: &str, mut reached: impl FnMut() -> bool) {
    let (start, limit) = (Instant::now(), limit * patience());
    while !reached() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {state}");
        // Looking is a process or a file read; a short pause leaves the processor to what is waited for.
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

pub(crate) fn kill(signal: &str, pid: &str) {
    let status = Command::new("kill")
        .args([signal, pid])
        .status()
        .expect("run kill");
    assert!(status.success(), "kill {signal} {pid}");
}

#[expect(
    clippy::print_stderr,
    reason = "what a skipped or failed scenario says"
)]
pub(crate) fn note(text: &str) {
    eprintln!("{text}");
}
