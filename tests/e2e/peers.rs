//! Docker 26 with its BuildKit, and podman, from the root of Debian packages that `cargo xtask bench` makes: in namespaces
//! of their own and with empty stores of their own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::world::note;

const STATE: &str = "/var/lib/docker";

/// The newest root; `None`: there is none, and that was said.
pub(crate) fn root(claim: &str) -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or(home)
        .map(|cache| cache.join("hoist"));
    let number = |path: &PathBuf| {
        path.file_name()?
            .to_str()?
            .strip_prefix("peers-")?
            .parse::<u32>()
            .ok()
    };
    let folders = cache
        .and_then(|cache| fs::read_dir(cache).ok())
        .into_iter()
        .flatten()
        .flatten();
    let found = folders
        .map(|entry| entry.path())
        .filter(|path| number(path).is_some())
        .max_by_key(number);
    if found.is_none() {
        note(&format!(
            "skipped: {claim}: the root of docker and podman is not there (`cargo xtask bench` makes it)"
        ));
    }
    found
}

/// Where the peers' engines are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    Own,
    /// The calling thread's; docker makes its bridge and its firewall there, as on any host.
    Shared,
    /// The calling thread's, of which nothing is changed.
    Untouched,
}

pub(crate) struct Peers {
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

impl Peers {
    /// Starts docker's engine, with the stores of both in the folder `state`. It works, or the test fails.
    pub(crate) fn start(root: &Path, state: &Path, network: Network) -> Self {
        let own: &[&str] = if network == Network::Own {
            &["--net"]
        } else {
            &[]
        };
        let options: &[&str] = match network {
            Network::Untouched => &["--bridge=none", "--iptables=false", "--ip6tables=false"],
            Network::Own | Network::Shared => &[],
        };
        let mut holder = Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child"])
            .args(own)
            .arg("sh")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("xtask/peers/start.sh"))
            .args([root, state])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("run unshare");
        let mut answer = String::new();
        let stdout = holder.stdout.take().expect("stdout is piped");
        BufReader::new(stdout)
            .read_line(&mut answer)
            .expect("read the answer");
        assert_eq!(answer.trim(), "ready", "docker did not start");
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", holder.id()))
            .expect("its children");
        Self {
            holder,
            init: children.trim().to_owned(),
            state: state.to_owned(),
        }
    }

    /// The folder that they see as /mnt.
    pub(crate) fn share(&self) -> PathBuf {
        self.state.join("share")
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args([
                "--target", &self.init, "--mount", "--net", "--pid", "--root", "--wd",
            ])
            .args(args)
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", "/root")
            .stdin(Stdio::null());
        command
    }

    /// What a command that must succeed prints.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.command(args).output().expect("run nsenter");
        assert!(
            output.status.success(),
            "{}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("it prints text")
    }

    /// What `docker build` made under a name.
    pub(crate) fn built(&self, image: &str) -> Built {
        let data = self.ok(&[
            "docker",
            "image",
            "inspect",
            "--format",
            "{{json .GraphDriver.Data}}",
            image,
        ]);
        let data: Value = serde_json::from_str(&data).expect("docker prints JSON");
        let folders =
            ["UpperDir", "LowerDir"].map(|key| data[key].as_str().unwrap_or_default().to_owned());
        let on_host = |path: &str| {
            self.state
                .join("docker")
                .join(path.trim_start_matches(STATE).trim_matches('/'))
        };
        let layers = folders
            .iter()
            .flat_map(|list| list.split(':'))
            .filter(|path| !path.is_empty())
            .map(on_host)
            .collect();
        let archive = self.share().join("saved.tar");
        self.ok(&[
            "docker",
            "image",
            "save",
            "--output",
            "/mnt/saved.tar",
            image,
        ]);
        let manifest: Value = from_archive(&archive, "manifest.json");
        let config = from_archive(
            &archive,
            manifest[0]["Config"]
                .as_str()
                .expect("the configuration's name"),
        );
        fs::remove_file(archive).expect("remove the archive");
        Built { layers, config }
    }
}

fn from_archive(archive: &Path, name: &str) -> Value {
    let output = Command::new("tar")
        .arg("-xOf")
        .arg(archive)
        .arg(name)
        .output()
        .expect("run tar");
    serde_json::from_slice(&output.stdout).expect("JSON in docker's archive")
}

impl Drop for Peers {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        // Their engine was killed, so its cgroups are ours to remove; deepest first, empty ones only.
        let found = Command::new("find")
            .args([
                "/sys/fs/cgroup",
                "-depth",
                "-type",
                "d",
                "-path",
                "*/docker*",
            ])
            .output();
        for folder in
            String::from_utf8_lossy(&found.map(|found| found.stdout).unwrap_or_default()).lines()
        {
            let _ = fs::remove_dir(folder);
        }
    }
}
