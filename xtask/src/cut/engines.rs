//! Owns how each engine is started over a store of its own, told what to do, and ended by a power cut.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::disk::{Disk, Kind};
use crate::engine;
use crate::peers::{Dockerd, Peers};
use crate::shell::{command, output};

const HOIST_HOME: &str = "/var/tmp/hoist-cut";
const HOIST_RUN_DIR: &str = "/run/hoist-cut";
const PEER_HOME: &str = "/bench/cut";
const DISK: u64 = 2 << 30;
const VOLUME: &str = "cut";

/// An engine whose data root is on the disk. Paths that it is given are those of its own world.
pub(super) trait Engine<'a> {
    fn name(&self) -> &'static str;
    fn disk(&self, kind: Kind) -> Result<Disk<'a>>;
    /// A folder of the engine's world as this process sees it, and as the engine does.
    fn home(&self) -> (PathBuf, &'static str);
    /// Where this process sees the mounted disk.
    fn seen(&self) -> PathBuf;
    fn start(&mut self) -> Result<()>;
    /// As the power cut does it: at once, with everything that lives in memory only.
    fn die(&mut self) -> Result<()>;
    fn pull(&self, image: &str) -> Command;
    fn build(&self, tag: &str, context: &str, dockerfile: &str) -> Command;
    fn load(&self, archive: &str) -> Command;
    /// Lines of an id and perhaps a name.
    fn images(&self) -> Command;
    /// Writes the files of a container of the image into a tar of this process's world.
    fn export(&self, image: &str, tar: &Path) -> Result<()>;
    /// A container writes a mebibyte and syncs it.
    fn write_volume(&self, image: &str) -> Result<Command>;
    fn import_volume(&self, image: &str, tar: &str) -> Result<Command>;
    /// Whether the engine knows the volume.
    fn has_volume(&self) -> Result<bool>;
    /// Below the mounted disk.
    fn volume(&self) -> &'static str;
    /// The engine's own check of its store, where it has one.
    fn check(&self) -> Option<Command>;
}

const WRITE: &str = "/bin/busybox tr '\\0' w </dev/zero | /bin/busybox dd of=/data/written bs=1024 count=1024 \
                     iflag=fullblock conv=fsync";

pub(super) struct Hoist<'a> {
    pub(super) program: &'a Path,
}

impl Hoist<'_> {
    fn run(&self, args: &[&str]) -> Command {
        let mut command = command(self.program);
        command
            .env("HOIST_DATA_ROOT", format!("{HOIST_HOME}/mount/data"))
            .env("HOIST_RUN_DIR", HOIST_RUN_DIR)
            .args(args);
        command
    }

    fn stack(&self, image: &str, rest: &serde_json::Value) -> Result<String> {
        let file = format!("{HOIST_HOME}/stack.yaml");
        let mut service =
            serde_json::json!({ "image": image, "pull_policy": "never", "network_mode": "none" });
        let both = service
            .as_object_mut()
            .zip(rest.as_object())
            .context("services are objects")?;
        both.0.extend(both.1.clone());
        let stack = serde_json::json!({
            "name": "cut", "services": { "look": service }, "volumes": { "data": { "name": VOLUME } },
        });
        fs::write(&file, stack.to_string())?;
        Ok(file)
    }
}

impl<'a> Engine<'a> for Hoist<'_> {
    fn name(&self) -> &'static str {
        "hoist"
    }

    fn disk(&self, kind: Kind) -> Result<Disk<'a>> {
        Disk::fresh(kind, DISK, PathBuf::from(HOIST_HOME), HOIST_HOME, command)
    }

    fn home(&self) -> (PathBuf, &'static str) {
        (PathBuf::from(HOIST_HOME), HOIST_HOME)
    }

    fn seen(&self) -> PathBuf {
        PathBuf::from(format!("{HOIST_HOME}/mount"))
    }

    fn start(&mut self) -> Result<()> {
        output(&mut self.run(&["image", "ls", "-q"])).map(drop)
    }

    fn die(&mut self) -> Result<()> {
        engine::end(&engine::of(HOIST_RUN_DIR)?, "-KILL")?;
        fs::remove_dir_all(HOIST_RUN_DIR).context("empty the run directory")
    }

    fn pull(&self, image: &str) -> Command {
        self.run(&["image", "pull", "-q", image])
    }

    fn build(&self, tag: &str, context: &str, dockerfile: &str) -> Command {
        self.run(&[
            "image",
            "build",
            "-q",
            "--network",
            "none",
            "-t",
            tag,
            "-f",
            dockerfile,
            context,
        ])
    }

    fn load(&self, archive: &str) -> Command {
        self.run(&["image", "load", "-i", archive])
    }

    fn images(&self) -> Command {
        self.run(&["image", "ls", "-q", "--no-trunc"])
    }

    fn export(&self, image: &str, tar: &Path) -> Result<()> {
        let stack = self.stack(image, &serde_json::json!({ "command": ["/bin/busybox"] }))?;
        output(&mut self.run(&["--progress", "quiet", "-f", &stack, "create"]))?;
        output(self.run(&["-f", &stack, "export", "look", "-o"]).arg(tar))?;
        output(&mut self.run(&["--progress", "quiet", "-f", &stack, "down"])).map(drop)
    }

    fn write_volume(&self, image: &str) -> Result<Command> {
        let command = ["/bin/busybox", "sh", "-c", WRITE];
        let stack = self.stack(
            image,
            &serde_json::json!({ "command": command, "volumes": ["data:/data"] }),
        )?;
        Ok(self.run(&[
            "--progress",
            "quiet",
            "-f",
            &stack,
            "run",
            "--rm",
            "-T",
            "look",
        ]))
    }

    fn import_volume(&self, _: &str, tar: &str) -> Result<Command> {
        Ok(self.run(&["volume", "import", VOLUME, tar]))
    }

    fn has_volume(&self) -> Result<bool> {
        Ok(output(&mut self.run(&["volume", "ls", "-q"]))?
            .lines()
            .any(|name| name == VOLUME))
    }

    fn volume(&self) -> &'static str {
        "data/volumes/cut/_data"
    }

    fn check(&self) -> Option<Command> {
        Some(self.run(&["system", "check"]))
    }
}

/// docker and podman, which speak nearly the same command line.
pub(super) struct Peer<'a> {
    pub(super) peers: &'a Peers,
    pub(super) kind: PeerKind<'a>,
}

pub(super) enum PeerKind<'a> {
    Docker(Option<Dockerd<'a>>),
    Podman,
}

impl Peer<'_> {
    fn run(&self, args: &[&str]) -> Command {
        match &self.kind {
            PeerKind::Docker(Some(daemon)) => daemon.docker(args),
            PeerKind::Docker(None) => self.peers.command("false"),
            PeerKind::Podman => {
                let mut podman = self.peers.command("podman");
                podman
                    .args([
                        "--storage-driver",
                        "overlay",
                        "--root",
                        &format!("{PEER_HOME}/mount/data"),
                    ])
                    .args([
                        "--runroot",
                        "/run/peers/podman-cut",
                        "--cgroup-manager",
                        "cgroupfs",
                    ])
                    .args(args);
                podman
            }
        }
    }

    fn container<'b>(image: &'b str, rest: &[&'b str]) -> Vec<&'b str> {
        let mut args = vec![
            "run",
            "--rm",
            "-i",
            "--network",
            "none",
            "-v",
            "cut:/data",
            image,
        ];
        args.extend(rest);
        args
    }
}

impl<'a> Engine<'a> for Peer<'a> {
    fn name(&self) -> &'static str {
        match self.kind {
            PeerKind::Docker(_) => "docker",
            PeerKind::Podman => "podman",
        }
    }

    fn disk(&self, kind: Kind) -> Result<Disk<'a>> {
        let peers = self.peers;
        Disk::fresh(kind, DISK, peers.path(PEER_HOME), PEER_HOME, |program| {
            peers.command(program)
        })
    }

    fn home(&self) -> (PathBuf, &'static str) {
        (self.peers.path(PEER_HOME), PEER_HOME)
    }

    fn seen(&self) -> PathBuf {
        self.peers.seen(&format!("{PEER_HOME}/mount"))
    }

    fn start(&mut self) -> Result<()> {
        if let PeerKind::Docker(daemon) = &mut self.kind {
            *daemon = Some(self.peers.dockerd(&format!("{PEER_HOME}/mount/data"))?);
        }
        Ok(())
    }

    fn die(&mut self) -> Result<()> {
        match &mut self.kind {
            PeerKind::Docker(daemon) => daemon.take().context("a dockerd runs")?.kill(),
            PeerKind::Podman => output(
                self.peers
                    .command("rm")
                    .args(["-rf", "/run/peers/podman-cut"]),
            )
            .map(drop),
        }
    }

    fn pull(&self, image: &str) -> Command {
        match self.kind {
            PeerKind::Docker(_) => self.run(&["pull", "-q", image]),
            PeerKind::Podman => self.run(&["pull", "-q", "--tls-verify=false", image]),
        }
    }

    fn build(&self, tag: &str, context: &str, dockerfile: &str) -> Command {
        let mut args = vec![
            "build",
            "-q",
            "--network",
            "none",
            "-t",
            tag,
            "-f",
            dockerfile,
        ];
        if let PeerKind::Podman = self.kind {
            args.extend([
                "--tls-verify=false",
                "--ulimit",
                "nofile=1024:1024",
                "--ulimit",
                "nproc=1024:1024",
            ]);
        }
        args.push(context);
        self.run(&args)
    }

    fn load(&self, archive: &str) -> Command {
        self.run(&["load", "-q", "-i", archive])
    }

    fn images(&self) -> Command {
        self.run(&[
            "images",
            "--no-trunc",
            "--format",
            "{{.ID}} {{.Repository}}",
        ])
    }

    fn export(&self, image: &str, tar: &Path) -> Result<()> {
        let container =
            output(&mut self.run(&["create", "--network", "none", image, "/bin/busybox"]))?;
        let container = container.trim();
        let exported = self
            .run(&["export", container])
            .stdout(File::create(tar)?)
            .stderr(Stdio::null())
            .status()?;
        output(&mut self.run(&["rm", container]))?;
        ensure!(exported.success(), "export {image}: {exported}");
        Ok(())
    }

    fn write_volume(&self, image: &str) -> Result<Command> {
        Ok(self.run(&Self::container(
            image,
            &["/bin/busybox", "sh", "-c", WRITE],
        )))
    }

    fn import_volume(&self, image: &str, tar: &str) -> Result<Command> {
        match self.kind {
            PeerKind::Docker(_) => {
                let file = self.peers.path(tar);
                let mut command = self.run(&Self::container(
                    image,
                    &["/bin/busybox", "tar", "-x", "-C", "/data"],
                ));
                command.stdin(File::open(file)?);
                Ok(command)
            }
            PeerKind::Podman => {
                output(&mut self.run(&["volume", "create", VOLUME]))?;
                Ok(self.run(&["volume", "import", VOLUME, tar]))
            }
        }
    }

    fn has_volume(&self) -> Result<bool> {
        Ok(output(&mut self.run(&["volume", "ls", "-q"]))?
            .lines()
            .any(|name| name == VOLUME))
    }

    fn volume(&self) -> &'static str {
        "data/volumes/cut/_data"
    }

    fn check(&self) -> Option<Command> {
        match self.kind {
            PeerKind::Docker(_) => None,
            PeerKind::Podman => Some(self.run(&["system", "check"])),
        }
    }
}
