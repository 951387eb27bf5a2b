//! Owns file systems of their own for stores: a sparse file behind a loop device, which can lose its power.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::shell::{command, run, say};

#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Ext4,
    Xfs,
}

impl std::str::FromStr for Kind {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "ext4" => Ok(Self::Ext4),
            "xfs" => Ok(Self::Xfs),
            other => bail!("no cut for file system {other:?}; there are: ext4, xfs"),
        }
    }
}

/// A new file system, mounted where the tool sees it; gone when dropped.
pub(crate) struct Disk<'a> {
    folder: PathBuf,
    /// The folder as the tool sees it.
    inside: String,
    /// Where the tool sees the file system.
    pub(crate) mount: String,
    program: Box<dyn Fn(&'static str) -> Command + 'a>,
}

impl<'a> Disk<'a> {
    /// `folder` as this process sees it, `inside` as the tool does; `program` makes commands of the tool's world.
    pub(crate) fn fresh(
        kind: Kind,
        size: u64,
        folder: PathBuf,
        inside: &str,
        program: impl Fn(&'static str) -> Command + 'a,
    ) -> Result<Self> {
        fs::create_dir_all(folder.join("mount"))
            .with_context(|| format!("create {}", folder.display()))?;
        let image = folder.join("disk");
        File::create(&image)?.set_len(size)?;
        let mut make = match kind {
            Kind::Ext4 => command("mkfs.ext4"),
            Kind::Xfs => command("mkfs.xfs"),
        };
        match kind {
            Kind::Ext4 => make.args(["-q", "-E", "lazy_itable_init=1,nodiscard"]),
            Kind::Xfs => make.args(["-q", "-K"]),
        };
        run(make.arg(&image))?;
        let inside = inside.to_owned();
        let disk = Self {
            folder,
            mount: format!("{inside}/mount"),
            inside,
            program: Box::new(program),
        };
        disk.attach()?;
        Ok(disk)
    }

    fn attach(&self) -> Result<()> {
        run((self.program)("mount").args([
            "-o",
            "loop",
            &format!("{}/disk", self.inside),
            &self.mount,
        ]))
    }

    /// What lies over the store's own folders goes first.
    fn detach(&self) -> Result<()> {
        run((self.program)("umount").args(["--recursive", &self.mount]))
    }

    /// After a cut: the file system as the disk has it. Nothing may use it any more.
    pub(crate) fn mount_again(&self) -> Result<()> {
        self.detach()?;
        self.attach()
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let removed = self
            .detach()
            .and_then(|()| fs::remove_dir_all(&self.folder).map_err(Into::into));
        if let Err(error) = removed {
            say(&format!(
                "xtask: remove {}: {error:#}",
                self.folder.display()
            ));
        }
    }
}

/// The plug of a file system, in the hand: pulling it takes no program's start.
pub(crate) struct Plug(Child);

/// The shutdown ioctl that ext4 and xfs share, without flushing the journal: nothing is written from then on.
const SHUTDOWN: &str = "import fcntl, os, struct, sys; disk = os.open(sys.argv[1], os.O_RDONLY); \
                        print(flush=True); sys.stdin.readline(); fcntl.ioctl(disk, 0x8004587d, struct.pack('I', 2))";

impl Plug {
    /// Of the file system that this process sees there.
    pub(crate) fn of(seen: &Path) -> Result<Self> {
        let mut child = command("python3")
            .args(["-c", SHUTDOWN])
            .arg(seen)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("run python3")?;
        child
            .stdout
            .take()
            .context("stdout is piped")?
            .read_exact(&mut [0])
            .context("python3 has the disk")?;
        Ok(Self(child))
    }

    pub(crate) fn pull(mut self) -> Result<()> {
        drop(self.0.stdin.take());
        let status = self.0.wait()?;
        ensure!(
            status.success(),
            "the file system cannot be shut down: {status}"
        );
        Ok(())
    }
}
