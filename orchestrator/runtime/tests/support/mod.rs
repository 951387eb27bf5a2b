//! A root folder of busybox and containers on it that clean up after themselves.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "tests; each file uses its part"
)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use hoist_runtime::{
    EngineRestart, ExecHandle, ExecRequest, ExecStdio, Join, Launch, LogConfig, Netns, Rootfs,
    Runtime, RuntimeConfig, Seccomp, Shim, spec_defaults,
};
use oci_spec::runtime::ProcessBuilder;
use tempfile::TempDir;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The static busybox that the roots are made of.
fn busybox() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            ["/bin/busybox", "/usr/bin/busybox"]
                .iter()
                .map(PathBuf::from)
                .find(|path| {
                    let bytes = fs::read(path).unwrap_or_default();
                    // A dynamic one names its loader.
                    let head = &bytes[..bytes.len().min(4096)];
                    !head.is_empty() && !head.windows(9).any(|window| window == b"ld-linux-")
                })
        })
        .as_deref()
}

/// Why tests of this file cannot run here.
pub(crate) fn missing() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root");
    }
    if busybox().is_none() {
        return Some("needs the static busybox (apt install busybox-static)");
    }
    None
}

#[macro_export]
macro_rules! world {
    () => {
        match support::missing() {
            Some(reason) => {
                eprintln!("skipped: {reason}");
                return;
            }
            None => support::World::new(),
        }
    };
}

/// A runtime with folders of its own. At its end nothing of it may be left on the host.
pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) runtime: Runtime,
    pub(crate) instance: String,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_engine(|_| None)
    }

    pub(crate) fn with_engine(engine: impl FnOnce(&Path) -> Option<EngineRestart>) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("hoist-rt-")
            .tempdir()
            .unwrap();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let instance = format!("{:06x}{number:02x}", std::process::id());
        let runtime = Runtime::open(RuntimeConfig {
            run_dir: folder.path().join("run"),
            instance: instance.clone(),
            shim: Some(
                std::env::var_os("HOIST_TEST_SHIM")
                    .unwrap_or_else(|| env!("CARGO_BIN_EXE_hoist-shim").into())
                    .into(),
            ),
            engine: engine(folder.path()),
            descriptors: None,
        })
        .unwrap();
        make_root(&folder.path().join("root"));
        Self {
            folder,
            runtime,
            instance,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `sh -c script` with docker's defaults on an overlay over the busybox root.
    pub(crate) fn launch(&self, script: &str) -> Launch {
        let id = format!(
            "{:0>64}",
            format!(
                "{}{:x}",
                self.instance,
                NEXT.fetch_add(1, Ordering::Relaxed)
            )
        );
        let upper = self.path(&format!("{id}.upper"));
        let work = self.path(&format!("{id}.work"));
        fs::create_dir_all(&upper).unwrap();
        fs::create_dir_all(&work).unwrap();
        let mut spec = spec_defaults::spec();
        set_argv(&mut spec, &["sh", "-c", script]);
        Launch {
            bundle: self.path("run").join("containers").join(&id),
            spec,
            rootfs: Rootfs::Overlay {
                lowers: vec![self.path("root")],
                upper,
                work,
            },
            netns: Netns::New,
            user: None,
            group_add: Vec::new(),
            log: Some(LogConfig::new(self.path(&format!("{id}.log/current.log")))),
            exit_record: self.path(&format!("{id}.exit.json")),
            tty: false,
            stdin_open: false,
            stdin_once: false,
            files: Vec::new(),
            trees: Vec::new(),
            init: false,
            join: Join::default(),
            seccomp: Seccomp::Default,
            privileged: false,
            id,
        }
    }

    pub(crate) fn upper(&self, launch: &Launch) -> PathBuf {
        match &launch.rootfs {
            Rootfs::Overlay { upper, .. } => upper.clone(),
            Rootfs::Dir(path) => path.clone(),
        }
    }

    /// Runs to the end: exit code and the log's text.
    pub(crate) fn run(&self, launch: &Launch) -> (i32, String) {
        let shim = self
            .runtime
            .start(launch)
            .unwrap_or_else(|error| panic!("{}", chain(&error)));
        let status = shim.wait().unwrap();
        (
            status.code,
            String::from_utf8_lossy(&log_bytes(launch)).into_owned(),
        )
    }

    pub(crate) fn sh(&self, script: &str) -> (i32, String) {
        self.run(&self.launch(script))
    }

    pub(crate) fn exec(&self, launch: &Launch, shim: &Shim, argv: &[&str]) -> (i32, String) {
        let request = exec_request(launch, shim, argv);
        let (mut read, write) = std::io::pipe().unwrap();
        let stdio = ExecStdio::Fds {
            stdin: None,
            stdout: Some(write.try_clone().unwrap().into()),
            stderr: Some(write.into()),
        };
        let handle = self
            .runtime
            .exec(ExecRequest { stdio, ..request })
            .unwrap_or_else(|e| panic!("{}", chain(&e)));
        let mut out = String::new();
        std::io::Read::read_to_string(&mut read, &mut out).unwrap();
        (handle.wait().unwrap().code, out)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let errors = self.runtime.sweep(&BTreeSet::new(), |_| true).errors;
        if std::thread::panicking() {
            return;
        }
        assert!(errors.is_empty(), "{errors:?}");
        let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(
            !text.contains(self.folder.path().to_str().unwrap()),
            "a mount was left: {text}"
        );
        let found = Command::new("find")
            .args(["/sys/fs/cgroup", "-maxdepth", "3", "-name"])
            .arg(format!("*{}*", self.instance))
            .output();
        let found = String::from_utf8_lossy(&found.unwrap().stdout).into_owned();
        assert!(found.is_empty(), "a cgroup was left: {found}");
    }
}

pub(crate) fn exec_request(launch: &Launch, shim: &Shim, argv: &[&str]) -> ExecRequest {
    ExecRequest {
        id: launch.id.clone(),
        pid: shim.pid(),
        process: ProcessBuilder::default()
            .args(argv.iter().map(|&arg| arg.to_owned()).collect::<Vec<_>>())
            .env(["PATH=/bin".to_owned()])
            .cwd("/")
            .capabilities(spec_defaults::capabilities(spec_defaults::CAPABILITIES))
            .build()
            .unwrap(),
        user: None,
        group_add: Vec::new(),
        seccomp: Seccomp::Default,
        privileged: false,
        stdio: ExecStdio::Fds {
            stdin: None,
            stdout: None,
            stderr: None,
        },
    }
}

/// Ends what a test leaves running.
pub(crate) fn end(shim: &Shim) {
    let _ = shim.shutdown();
    let _ = shim.wait();
}

pub(crate) fn wait_exec(handle: &ExecHandle) -> i32 {
    handle.wait().unwrap().code
}

pub(crate) fn set_argv(spec: &mut oci_spec::runtime::Spec, argv: &[&str]) {
    let argv: Vec<String> = argv.iter().map(|&arg| arg.to_owned()).collect();
    spec.process_mut().as_mut().unwrap().set_args(Some(argv));
}

pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

/// What the program wrote, put together again from the log's records (all files, oldest first).
pub(crate) fn log_bytes(launch: &Launch) -> Vec<u8> {
    let current = &launch.log.as_ref().unwrap().path;
    let mut files: Vec<PathBuf> = (1..10)
        .rev()
        .map(|n| PathBuf::from(format!("{}.{n}", current.display())))
        .collect();
    files.push(current.clone());
    let mut out = Vec::new();
    for file in files {
        let bytes = fs::read(&file).unwrap_or_default();
        for line in bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let record = hoist_runtime::log::parse(line)
                .unwrap_or_else(|| panic!("{:?}", String::from_utf8_lossy(line)));
            out.extend_from_slice(record.text);
            if record.part.newline() {
                out.push(b'\n');
            }
        }
    }
    out
}

fn make_root(root: &Path) {
    for folder in [
        "bin", "dev", "proc", "sys", "etc", "tmp", "root", "run", "var",
    ] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    let busybox = busybox().unwrap();
    fs::copy(busybox, root.join("bin/busybox")).unwrap();
    let list = Command::new(busybox).arg("--list").output().unwrap();
    for applet in String::from_utf8(list.stdout)
        .unwrap()
        .lines()
        .filter(|name| *name != "busybox")
    {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33:web:/var/www:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
    )
    .unwrap();
    fs::write(
        root.join("etc/group"),
        "root:x:0:\nweb:x:33:\nlog:x:50:web\n",
    )
    .unwrap();
    fs::write(root.join("etc/plain"), "not executable\n").unwrap();
}
