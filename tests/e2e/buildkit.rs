//! Docker 26 with its BuildKit, from the root of Debian packages that `cargo xtask bench` makes, in namespaces of its own
//! and with an empty state of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::world::note;

/// Where the peers' root is kept; its name carries the number of xtask/src/peers.rs.
const ROOT: &str = "hoist/peers-2";
const STATE: &str = "/var/lib/docker";

pub(crate) struct BuildKit {
    /// `unshare`, which takes the whole pid namespace with it when it ends.
    holder: Child,
    init: String,
    state: PathBuf,
}

/// An image as docker built it.
#[derive(Debug)]
pub(crate) struct Built {
    /// Folders of its layers on this host, topmost first.
    pub(crate) layers: Vec<PathBuf>,
    pub(crate) config: Value,
}

impl BuildKit {
    /// `None`: the peers' root is not here, and that was said.
    pub(crate) fn start(claim: &str, state: &Path) -> Option<Self> {
        let cache = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
        let root = cache.map(|cache| cache.join(ROOT)).filter(|root| root.join("usr/sbin/dockerd").exists());
        let Some(root) = root else {
            note(&format!("skipped: {claim}: needs docker's root (`cargo xtask bench` makes it)"));
            return None;
        };
        let mut holder = Command::new("unshare")
            .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "sh"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("xtask/peers/start.sh"))
            .args([&root, state])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("run unshare");
        let mut answer = String::new();
        let stdout = holder.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut answer).expect("read the answer");
        assert_eq!(answer.trim(), "ready", "docker did not start");
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", holder.id())).expect("its children");
        Some(Self { holder, init: children.trim().to_owned(), state: state.to_owned() })
    }

    /// The folder that docker sees as /mnt.
    pub(crate) fn share(&self) -> PathBuf {
        self.state.join("share")
    }

    pub(crate) fn docker(&self, args: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.init, "--mount", "--net", "--pid", "--root", "--wd", "docker"])
            .args(args)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null());
        command
    }

    fn ok(&self, args: &[&str]) -> Vec<u8> {
        let output = self.docker(args).output().expect("run docker");
        assert!(output.status.success(), "docker {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// What `docker build` made under a name.
    pub(crate) fn built(&self, image: &str) -> Built {
        let data = self.ok(&["image", "inspect", "--format", "{{json .GraphDriver.Data}}", image]);
        let data: Value = serde_json::from_slice(&data).expect("docker prints JSON");
        let folders = ["UpperDir", "LowerDir"].map(|key| data[key].as_str().unwrap_or_default().to_owned());
        let on_host = |path: &str| self.state.join("docker").join(path.trim_start_matches(STATE).trim_matches('/'));
        let layers =
            folders.iter().flat_map(|list| list.split(':')).filter(|path| !path.is_empty()).map(on_host).collect();
        let archive = self.share().join("saved.tar");
        self.ok(&["image", "save", "--output", "/mnt/saved.tar", image]);
        let manifest: Value = from_archive(&archive, "manifest.json");
        let config = from_archive(&archive, manifest[0]["Config"].as_str().expect("the configuration's name"));
        fs::remove_file(archive).expect("remove the archive");
        Built { layers, config }
    }
}

fn from_archive(archive: &Path, name: &str) -> Value {
    let output = Command::new("tar").arg("-xOf").arg(archive).arg(name).output().expect("run tar");
    serde_json::from_slice(&output.stdout).expect("JSON in docker's archive")
}

impl Drop for BuildKit {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        // Its engine was killed, so its cgroups are ours to remove; deepest first, empty ones only.
        let found =
            Command::new("find").args(["/sys/fs/cgroup", "-depth", "-type", "d", "-path", "*/docker*"]).output();
        for folder in String::from_utf8_lossy(&found.map(|found| found.stdout).unwrap_or_default()).lines() {
            let _ = fs::remove_dir(folder);
        }
    }
}
