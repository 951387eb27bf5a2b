//! Owns the builds that are measured beside docker's BuildKit and buildah: what is cached, what changed, what runs cold.
//!
//! All three read the same folders; before a timed build each case changes what it says it changes.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::ROUNDS;
use crate::peers::Peers;
use crate::report::{Case, Measured, Unit};
use crate::shell::{command, output};

/// Files of the large context.
const FILES: usize = 100_000;
const FILES_A_FOLDER: usize = 100;
const STEPS: usize = 10;
/// Below the peers' root.
const PLACE: &str = "/bench/build";

/// Their names, as the command line has them.
pub(super) const NAMES: [&str; 5] = [
    "build-cached",
    "build-last",
    "build-cold",
    "build-parallel",
    "build-context",
];

struct Builder<'a> {
    name: &'static str,
    /// Builds a folder below [`PLACE`] under a name.
    build: Box<dyn Fn(&str) -> Command + 'a>,
}

/// One measured build: how its folder is made, and what changes before a round.
struct Work {
    name: &'static str,
    title: String,
    make: fn(&Path) -> Result<()>,
    change: fn(&Path, round: usize) -> Result<()>,
    /// A builder that needs minutes for it each time.
    without: Option<&'static str>,
}

pub(super) fn cases(hoist: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<Case>> {
    let work: Vec<Work> = work()
        .into_iter()
        .filter(|work| wanted(work.name))
        .collect();
    if work.is_empty() {
        return Ok(Vec::new());
    }
    let peers = Peers::start()?;
    let place = peers.path(PLACE);
    let builders = [ours(hoist, &place), docker(&peers), buildah(&peers)];
    folder(&place, "base", |base| {
        fs::copy("/bin/busybox", base.join("busybox")).context("copy /bin/busybox")?;
        Ok(fs::write(base.join("Dockerfile"), super::DOCKERFILE)?)
    })?;
    for builder in &builders {
        builder.timed("base")?;
    }
    work.iter()
        .map(|work| measure(&builders, work, &place))
        .collect()
}

fn ours<'a>(hoist: &'a Path, place: &Path) -> Builder<'a> {
    let place = place.to_owned();
    let data_root = PathBuf::from("/var/tmp/hoist-bench/data");
    Builder {
        name: "hoist",
        build: Box::new(move |name| {
            let mut command = command(hoist);
            command
                .args(["image", "build", "--quiet", "-t", &tag(name)])
                .arg(place.join(name));
            command
                .env("HOIST_DATA_ROOT", &data_root)
                .env("HOIST_RUN_DIR", super::HOIST_RUN_DIR);
            command
        }),
    }
}

fn docker(peers: &Peers) -> Builder<'_> {
    Builder {
        name: "docker build",
        build: Box::new(|name| {
            let mut command = peers.command("docker");
            command.args([
                "build",
                "--quiet",
                "-t",
                &tag(name),
                &format!("{PLACE}/{name}"),
            ]);
            command
        }),
    }
}

fn buildah(peers: &Peers) -> Builder<'_> {
    Builder {
        name: "buildah",
        build: Box::new(|name| {
            let mut command = peers.command("buildah");
            command.args([
                "build",
                "--quiet",
                "--layers",
                "--jobs",
                "3",
                "--pull=never",
            ]);
            command.args([
                "--ulimit",
                "nofile=1024:1024",
                "--ulimit",
                "nproc=1024:1024",
            ]);
            command.args(["-t", &tag(name), &format!("{PLACE}/{name}")]);
            command
        }),
    }
}

fn tag(name: &str) -> String {
    format!("bench/build-{name}")
}

impl Builder<'_> {
    fn timed(&self, name: &str) -> Result<f64> {
        let mut command = (self.build)(name);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let start = Instant::now();
        let output = command
            .output()
            .with_context(|| format!("run {}", self.name))?;
        let seconds = start.elapsed().as_secs_f64();
        if !output.status.success() {
            bail!(
                "{} cannot build {name}: {}",
                self.name,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(seconds)
    }
}

/// The builders take turns; the first round fills their caches.
fn measure(builders: &[Builder<'_>], work: &Work, place: &Path) -> Result<Case> {
    let folder = folder(place, work.name, work.make)?;
    let builders: Vec<_> = builders
        .iter()
        .filter(|builder| work.without != Some(builder.name))
        .collect();
    let mut case = Case {
        title: work.title.clone(),
        unit: Unit::Seconds,
        measured: builders
            .iter()
            .map(|builder| Measured::new(builder.name))
            .collect(),
    };
    for round in 0..=ROUNDS {
        (work.change)(&folder, round)?;
        for (index, builder) in builders.iter().enumerate() {
            let seconds = builder.timed(work.name)?;
            if round > 0 {
                case.measured[index].values.push(seconds);
            }
        }
    }
    Ok(case)
}

fn work() -> Vec<Work> {
    vec![
        Work {
            name: "build-cached",
            title: format!("build, {STEPS} steps, all of them cached"),
            make: |folder| Ok(fs::write(folder.join("Dockerfile"), steps("first"))?),
            change: |_, _| Ok(()),
            without: None,
        },
        Work {
            name: "build-last",
            title: format!("build, {STEPS} steps, the last one's file changed"),
            make: |folder| {
                Ok(fs::write(
                    folder.join("Dockerfile"),
                    steps("first") + "COPY file /file\n",
                )?)
            },
            change: |folder, round| Ok(fs::write(folder.join("file"), unique(round)?)?),
            without: None,
        },
        Work {
            name: "build-cold",
            title: format!("build, {STEPS} cheap steps, none of them cached"),
            make: |_| Ok(()),
            change: |folder, round| {
                Ok(fs::write(
                    folder.join("Dockerfile"),
                    steps(&unique(round)?),
                )?)
            },
            without: None,
        },
        Work {
            name: "build-parallel",
            title: "build, three independent stages of one second".to_owned(),
            make: |_| Ok(()),
            change: |folder, round| {
                Ok(fs::write(
                    folder.join("Dockerfile"),
                    stages(&unique(round)?),
                )?)
            },
            without: None,
        },
        Work {
            name: "build-context",
            title: format!("build, a context of {FILES} files, nothing changed"),
            make: large_context,
            change: |_, _| Ok(()),
            without: Some("buildah"),
        },
    ]
}

/// Not the same in two runs of the benchmark: the builders keep their caches.
fn unique(round: usize) -> Result<String> {
    Ok(format!(
        "{round}-{}",
        output(command("date").arg("+%s%N"))?.trim()
    ))
}

fn steps(first: &str) -> String {
    let mut text = format!("FROM bench/build-base\nRUN echo {first} > /step-1\n");
    for step in 2..=STEPS {
        writeln!(text, "RUN echo {step} > /step-{step}").expect("into a string");
    }
    text
}

fn stages(mark: &str) -> String {
    let mut text = String::new();
    for stage in ["a", "b", "c"] {
        writeln!(
            text,
            "FROM bench/build-base AS {stage}\nRUN sleep 1 && echo {mark} > /{stage}"
        )
        .expect("into a string");
    }
    text + "FROM bench/build-base\nCOPY --from=a /a /a\nCOPY --from=b /b /b\nCOPY --from=c /c /c\n"
}

fn large_context(folder: &Path) -> Result<()> {
    fs::write(
        folder.join("Dockerfile"),
        "FROM bench/build-base\nCOPY files /files\n",
    )?;
    for number in 0..FILES / FILES_A_FOLDER {
        let inner = folder.join(format!("files/{}/{number}", number % 10));
        fs::create_dir_all(&inner)?;
        for file in 0..FILES_A_FOLDER {
            fs::write(
                inner.join(format!("file-{file}.txt")),
                format!("{number} {file}\n"),
            )?;
        }
    }
    Ok(())
}

/// Made once: a large context is expensive, and one that was just made is not what people build.
fn folder(place: &Path, name: &str, make: impl Fn(&Path) -> Result<()>) -> Result<PathBuf> {
    let folder = place.join(name);
    if !folder.exists() {
        let fresh = place.join(format!("{name}.new"));
        fs::create_dir_all(&fresh).with_context(|| format!("create {}", fresh.display()))?;
        make(&fresh)?;
        fs::rename(&fresh, &folder).with_context(|| format!("rename {}", fresh.display()))?;
    }
    Ok(folder)
}
