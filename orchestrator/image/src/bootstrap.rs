//! Base images made from Debian's signed packages, for machines that reach no registry. Explicit, never a fallback.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use crate::store::{Expected, LayerBlob, LayerError};
use crate::{
    History, Image, ImageConfig, LayerInfo, Phase, Platform, Progress, ProgressSink, Reference,
    Store, StoreError,
};

const MIRROR: &str = "http://deb.debian.org/debian";
const SECURITY_MIRROR: &str = "http://deb.debian.org/debian-security";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const MEMORY: &str = "/dev/shm";
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const POSSIBLE: &str = "debian:trixie, debian:bookworm, debian:forky, debian:sid, each also with -slim \
                        (and debian:latest, :stable, :testing, :unstable, :13, :12)";

/// Why a base image was not made.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    #[error("{0} cannot be made from packages; possible are {POSSIBLE}")]
    Unknown(String),
    #[error("mmdebstrap is not installed; install it with: apt-get install mmdebstrap")]
    ProgramMissing,
    #[error(
        "Debian's keys are not at {KEYRING}; install them with: apt-get install debian-archive-keyring"
    )]
    KeyringMissing,
    #[error("running mmdebstrap")]
    Run(#[source] std::io::Error),
    #[error("mmdebstrap failed ({status}): {output}")]
    Failed { status: String, output: String },
    #[error("unpacking what mmdebstrap made for {reference}")]
    Layer {
        reference: String,
        source: Box<LayerError>,
    },
    #[error("storing the bootstrapped image {reference}")]
    Store {
        reference: String,
        source: StoreError,
    },
    #[error("bootstrapping {0}: a worker thread ended early")]
    Worker(String),
}

/// What is made for a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Recipe {
    suite: &'static str,
    slim: bool,
    /// Seconds since 1970: no file is younger, so that the same packages make the same image on another day.
    epoch: u64,
}

impl Recipe {
    fn of(reference: &Reference) -> Option<Self> {
        const TRIXIE_RELEASE: u64 = 1_754_697_600;
        const BOOKWORM_RELEASE: u64 = 1_686_355_200;
        if reference.registry() != "docker.io" || reference.repository() != "library/debian" {
            return None;
        }
        if reference.digest().is_some() {
            return None;
        }
        let tag = reference.tag()?;
        let (name, slim) = match tag.strip_suffix("-slim") {
            Some(name) => (name, true),
            None => (tag, false),
        };
        let (suite, epoch) = match name {
            "trixie" | "stable" | "13" => ("trixie", TRIXIE_RELEASE),
            "latest" if !slim => ("trixie", TRIXIE_RELEASE),
            "bookworm" | "oldstable" | "12" => ("bookworm", BOOKWORM_RELEASE),
            "forky" | "testing" => ("forky", TRIXIE_RELEASE),
            "sid" | "unstable" => ("sid", TRIXIE_RELEASE),
            _ => return None,
        };
        Some(Self { suite, slim, epoch })
    }

    fn suites(&self) -> Vec<(&'static str, String)> {
        let mut suites = vec![(MIRROR, self.suite.to_owned())];
        if self.suite != "sid" {
            suites.push((MIRROR, format!("{}-updates", self.suite)));
            suites.push((SECURITY_MIRROR, format!("{}-security", self.suite)));
        }
        suites
    }

    /// The sources that the image keeps, in the form of Debian's own images.
    fn sources_file(&self) -> String {
        let stanza = |uri: &str, suites: &str| {
            format!(
                "Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: main\nSigned-By: {KEYRING}\n"
            )
        };
        match self.suite {
            "sid" => stanza(MIRROR, "sid"),
            suite => format!(
                "{}\n{}",
                stanza(MIRROR, &format!("{suite} {suite}-updates")),
                stanza(SECURITY_MIRROR, &format!("{suite}-security"))
            ),
        }
    }

    fn command(&self, epoch: u64) -> Command {
        let mut command = Command::new("mmdebstrap");
        command.args([
            "--variant=minbase",
            "--format=tar",
            "--components=main",
            "--skip=output/dev",
        ]);
        command.arg(format!("--keyring={KEYRING}"));
        // As in Debian's own images: no fsync per unpacked file. The store makes the layer durable as a whole.
        command.arg("--dpkgopt=force-unsafe-io");
        if self.slim {
            for kept_out in ["doc", "groff", "info", "linda", "lintian", "locale", "man"] {
                command.arg(format!("--dpkgopt=path-exclude=/usr/share/{kept_out}/*"));
            }
            command.arg("--dpkgopt=path-include=/usr/share/doc/*/copyright");
            command.arg("--dpkgopt=path-include=/usr/share/locale/locale.alias");
        }
        for script in self.hooks() {
            command.arg(format!("--customize-hook={script}"));
        }
        command.args([self.suite, "-"]);
        command.args(
            self.suites()
                .iter()
                .map(|(mirror, suite)| format!("deb {mirror} {suite} main")),
        );
        if std::env::var_os("TMPDIR").is_none() && memory_is_roomy() {
            command.env("TMPDIR", MEMORY);
        }
        command
            .env("SOURCE_DATE_EPOCH", epoch.to_string())
            .env("LC_ALL", "C.UTF-8");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Shell run with the new root as `$1`.
    fn hooks(&self) -> Vec<String> {
        let mut hooks = vec![
            format!(
                "rm -f \"$1\"/etc/apt/sources.list && printf %s '{}' > \"$1\"/etc/apt/sources.list.d/debian.sources",
                self.sources_file()
            ),
            // What apt downloads in a RUN step has no use in the layer. Written at the end: mmdebstrap needs its downloads.
            "printf '%s;\\n' 'Acquire::Languages \"none\"' 'APT::AutoRemove::SuggestsImportant \"false\"' \
             'Binary::apt::APT::Keep-Downloaded-Packages \"false\"' 'APT::Keep-Downloaded-Packages \"false\"' \
             > \"$1\"/etc/apt/apt.conf.d/99image"
                .to_owned(),
            // Services are not started by a package that a RUN step installs.
            "printf '#!/bin/sh\\nexit 101\\n' > \"$1\"/usr/sbin/policy-rc.d && chmod 755 \"$1\"/usr/sbin/policy-rc.d"
                .to_owned(),
            // Nothing of this machine goes into an image.
            "rm -f \"$1\"/etc/hostname \"$1\"/etc/resolv.conf \"$1\"/etc/machine-id && : > \"$1\"/etc/machine-id"
                .to_owned(),
            "rm -rf \"$1\"/var/cache/ldconfig/aux-cache \"$1\"/var/cache/debconf/*-old \"$1\"/var/lib/dpkg/*-old"
                .to_owned(),
        ];
        if self.slim {
            // What maintainer scripts made in spite of the exclusions; the licences stay.
            hooks.push(
                "cd \"$1\"/usr/share && rm -rf groff/* info/* linda/* lintian/* man/* && find doc -mindepth 1 \
                 ! -type d ! -name copyright -delete && find doc -mindepth 1 -type d -empty -delete && \
                 find locale -mindepth 1 -maxdepth 1 ! -name locale.alias -exec rm -rf {} +"
                    .to_owned(),
            );
        }
        hooks
    }
}

/// Whether the tree that mmdebstrap works in (about 0.4 GB, with devices and programs) can be made in memory.
fn memory_is_roomy() -> bool {
    use rustix::fs::StatVfsMountFlags as Flags;
    rustix::fs::statvfs(MEMORY).is_ok_and(|stat| {
        !stat
            .f_flag
            .intersects(Flags::NOEXEC | Flags::NODEV | Flags::NOSUID | Flags::RDONLY)
            && stat.f_bavail.saturating_mul(stat.f_frsize) >= 2 << 30
    })
}

/// Makes `debian:<suite>` or `debian:<suite>-slim` with mmdebstrap and stores it under that name.
pub async fn bootstrap(
    store: &Arc<Store>,
    reference: &Reference,
    progress: ProgressSink,
) -> Result<Arc<Image>, BootstrapError> {
    let store = Arc::clone(store);
    let reference = reference.clone();
    let name = reference.short();
    tokio::task::spawn_blocking(move || make(&store, &reference, &progress))
        .await
        .map_err(|_| BootstrapError::Worker(name))?
}

fn make(
    store: &Store,
    reference: &Reference,
    progress: &ProgressSink,
) -> Result<Arc<Image>, BootstrapError> {
    let recipe = Recipe::of(reference).ok_or_else(|| BootstrapError::Unknown(reference.short()))?;
    let name = reference.short();
    let lock = store.busy(format!("image {reference}"));
    let _working = lock.blocking_lock();
    if !Path::new(KEYRING).exists() {
        return Err(BootstrapError::KeyringMissing);
    }
    let epoch = std::env::var("SOURCE_DATE_EPOCH")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(recipe.epoch);
    let mut child = recipe
        .command(epoch)
        .spawn()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => BootstrapError::ProgramMissing,
            _ => BootstrapError::Run(error),
        })?;
    let layer = unpack(store, &mut child, progress, &name)?;
    let created = jiff::Timestamp::from_second(i64::try_from(epoch).unwrap_or(0))
        .unwrap_or_default()
        .to_string();
    let platform = Platform::host();
    let mut config = ImageConfig::new(&platform.architecture, &platform.os);
    config.variant = platform.variant;
    config.created = Some(created.clone());
    config.config.env = vec![PATH.to_owned()];
    config.config.cmd = Some(vec!["bash".to_owned()]);
    config.rootfs.diff_ids = vec![layer.diff_id];
    config.history = vec![History {
        created: Some(created),
        created_by: Some(format!("mmdebstrap --variant=minbase {}", recipe.suite)),
        comment: Some(format!("{name} from Debian's signed packages")),
        ..History::default()
    }];
    let image = store
        .add_image(&config, std::slice::from_ref(reference))
        .map_err(|source| BootstrapError::Store {
            reference: name,
            source,
        })?;
    report(progress, Phase::Complete, String::new());
    Ok(image)
}

/// Streams the program's tar straight into a layer.
fn unpack(
    store: &Store,
    child: &mut Child,
    progress: &ProgressSink,
    name: &str,
) -> Result<LayerInfo, BootstrapError> {
    let mut stdout = child.stdout.take().expect("stdout is piped");
    let stderr = child.stderr.take().expect("stderr is piped");
    let listener = {
        let progress = Arc::clone(progress);
        std::thread::spawn(move || {
            let mut tail = std::collections::VecDeque::new();
            // Bytes that are no UTF-8 end the listening; then the program's pipe breaks, and its failure is reported.
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if tail.len() == 10 {
                    tail.pop_front();
                }
                report(&progress, Phase::Output, line.clone());
                tail.push_back(line);
            }
            Vec::from(tail).join("\n")
        })
    };
    // The blob is kept: mmdebstrap's tar cannot be reproduced byte by byte from the layer.
    let layer = store.ingest(&mut stdout, Expected::default(), LayerBlob::Keep);
    drop(stdout);
    let status = child.wait().map_err(BootstrapError::Run)?;
    let output = listener.join().unwrap_or_default();
    if !status.success() {
        return Err(BootstrapError::Failed {
            status: status.to_string(),
            output,
        });
    }
    layer.map_err(|source| BootstrapError::Layer {
        reference: name.to_owned(),
        source: Box::new(source),
    })
}

fn report(progress: &ProgressSink, phase: Phase, text: String) {
    progress(Progress {
        item: String::new(),
        phase,
        done: 0,
        total: None,
        text,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_debian_itself_can_be_bootstrapped() {
        let recipe = |name: &str| Recipe::of(&Reference::parse(name).unwrap());
        assert_eq!(
            recipe("debian:trixie-slim").map(|recipe| (recipe.suite, recipe.slim)),
            Some(("trixie", true))
        );
        assert_eq!(
            recipe("debian").map(|recipe| (recipe.suite, recipe.slim)),
            Some(("trixie", false))
        );
        assert_eq!(
            recipe("debian:12").map(|recipe| recipe.suite),
            Some("bookworm")
        );
        for other in [
            "alpine",
            "debian:potato",
            "user/debian:trixie",
            "ghcr.io/library/debian:trixie",
        ] {
            assert_eq!(recipe(other), None, "{other}");
        }
    }
}
