//! Owns the power cuts: a store on a file system of its own that stops writing seconds after a pull, a build, a load or a
//! volume's filling. Afterwards the engine starts on what the disk has, and every file of every image that it lists is
//! compared with what the registry, the archive or the build's context has.

mod engines;
mod material;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::disk::{Disk, Kind, Plug};
use crate::peers::Peers;
use crate::registry::Registry;
use crate::shell::{command, output, run as run_to_end, say};
use crate::{artifacts, packages};
use engines::{Engine, Hoist, Peer, PeerKind};
use material::{Material, REPOSITORY};

/// Seconds between the command's end and the cut.
const DELAYS: [u64; 3] = [0, 2, 7];
const WORK: &str = "/var/tmp/hoist-cut-material";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Pull,
    Build,
    Load,
    WriteVolume,
    ImportVolume,
}

const ACTIONS: [Action; 5] = [
    Action::Pull,
    Action::Build,
    Action::Load,
    Action::WriteVolume,
    Action::ImportVolume,
];

impl Action {
    fn title(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Build => "build",
            Self::Load => "load",
            Self::WriteVolume => "volume written by a container",
            Self::ImportVolume => "volume filled from a tar",
        }
    }

    fn makes_image(self) -> bool {
        matches!(self, Self::Pull | Self::Build | Self::Load)
    }
}

#[derive(Debug)]
struct Options {
    engines: Vec<String>,
    kind: Kind,
    rounds: usize,
    /// A hoist that is built already.
    program: Option<PathBuf>,
}

impl Options {
    fn parse(args: &[String]) -> Result<Self> {
        let mut options = Self {
            engines: Vec::new(),
            kind: Kind::Ext4,
            rounds: 3,
            program: None,
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--fs" => {
                    options.kind = args.next().context("--fs needs a file system")?.parse()?
                }
                "--rounds" => {
                    options.rounds = args.next().context("--rounds needs a number")?.parse()?
                }
                "--program" => {
                    options.program = Some(args.next().context("--program needs a file")?.into())
                }
                "hoist" | "docker" | "podman" => options.engines.push(arg.clone()),
                other => bail!("no such engine: {other}; there are: hoist, docker, podman"),
            }
        }
        if options.engines.is_empty() {
            options.engines = ["hoist", "docker", "podman"].map(str::to_owned).into();
        }
        Ok(options)
    }
}

type Contender<'a> = (Box<dyn Engine<'a> + 'a>, Registry);

/// The engines that the options name, each with a registry of its own.
fn engines<'a>(
    options: &Options,
    program: &'a Path,
    peers: Option<&'a Peers>,
    material: &Material,
) -> Result<Vec<Contender<'a>>> {
    let wanted = |name: &str| options.engines.iter().any(|engine| engine == name);
    let mut engines: Vec<Contender<'a>> = Vec::new();
    if wanted("hoist") {
        engines.push((
            Box::new(Hoist { program }),
            Registry::start(&material.folder, None)?,
        ));
    }
    if let Some(peers) = peers {
        for (name, kind) in [
            ("docker", PeerKind::Docker(None)),
            ("podman", PeerKind::Podman),
        ] {
            if wanted(name) {
                let registry = Registry::start(&material.folder, Some(peers))?;
                engines.push((Box::new(Peer { peers, kind }), registry));
            }
        }
    }
    Ok(engines)
}

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let options = Options::parse(args)?;
    packages::ensure(&[packages::DEMO, packages::TEST])?;
    if let Kind::Xfs = options.kind {
        packages::ensure(&[&["xfsprogs"]])?;
    }
    let material = Material::make(PathBuf::from(WORK))?;
    let wanted = |name: &str| options.engines.iter().any(|engine| engine == name);
    let program = match options.program.clone() {
        Some(program) => program,
        None if wanted("hoist") => artifacts::release()?,
        None => PathBuf::new(),
    };
    let peers = if wanted("docker") || wanted("podman") {
        Some(Peers::start()?)
    } else {
        None
    };
    let mut engines = engines(&options, &program, peers.as_ref(), &material)?;
    let mut table = String::from(
        "| cut after | by | seconds | what was made is there | files of listed images that differ | its own check | \
         the same after pulling again |\n|---|---|---|---|---|---|---|\n",
    );
    let mut whole = true;
    for (engine, registry) in &mut engines {
        for action in ACTIONS {
            for after in DELAYS {
                let mut seen = Vec::new();
                for _ in 0..options.rounds {
                    let cut = Cut {
                        action,
                        after,
                        kind: options.kind,
                        material: &material,
                        port: registry.port,
                    };
                    let result = cut.make(engine.as_mut());
                    let result = result.with_context(|| {
                        format!("{} after {}, {after} s", engine.name(), action.title())
                    })?;
                    say(&format!(
                        "{} {action:?} {after} s: {result:?}",
                        engine.name()
                    ));
                    whole &= engine.name() != "hoist"
                        || result.differ == 0 && result.check != Some(false);
                    seen.push(result);
                }
                table.push_str(&row(engine.name(), action, after, &seen));
            }
        }
    }
    say(&table);
    Ok(if whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What was found after a cut.
#[derive(Debug)]
struct Found {
    /// The image that was made, or the volume with all that was promised.
    there: bool,
    differ: usize,
    files: usize,
    /// Whether the engine's own check finds everything sound.
    check: Option<bool>,
    /// Files that differ although the image was pulled once more.
    again: Option<usize>,
}

fn row(engine: &str, action: Action, after: u64, seen: &[Found]) -> String {
    let there = seen.iter().filter(|found| found.there).count();
    let each = |of: &dyn Fn(&Found) -> Option<String>| {
        let all: Vec<String> = seen
            .iter()
            .map(|found| of(found).unwrap_or_else(|| "–".to_owned()))
            .collect();
        if all.windows(2).all(|pair| pair[0] == pair[1]) {
            all[0].clone()
        } else {
            all.join(", ")
        }
    };
    let differ = each(&|found| Some(format!("{} of {}", found.differ, found.files)));
    let check = each(&|found| {
        found
            .check
            .map(|sound| if sound { "sound" } else { "broken" }.to_owned())
    });
    let again = each(&|found| found.again.map(|differ| differ.to_string()));
    format!(
        "| {} | {engine} | {after} | {there} of {} | {differ} | {check} | {again} |\n",
        action.title(),
        seen.len()
    )
}

struct Cut<'a> {
    action: Action,
    /// Seconds.
    after: u64,
    kind: Kind,
    material: &'a Material,
    port: u16,
}

impl Cut<'_> {
    fn make<'a>(&self, engine: &mut dyn Engine<'a>) -> Result<Found> {
        let disk = engine.disk(self.kind)?;
        let result = self.on(engine, &disk);
        if result.is_err() {
            // The first error is the one to report; the disk cannot go while the engine has it.
            let _ = engine.die();
        }
        result
    }

    fn on<'a>(&self, engine: &mut dyn Engine<'a>, disk: &Disk<'a>) -> Result<Found> {
        let (home, inside) = engine.home();
        run_to_end(
            command("cp")
                .arg("-a")
                .arg(self.material.folder.join("context"))
                .arg(&home),
        )?;
        for file in ["loaded.tar", "volume.tar"] {
            fs::copy(self.material.folder.join(file), home.join(file))?;
        }
        fs::write(
            home.join("Dockerfile"),
            material::dockerfile(&self.image("1")),
        )?;
        engine.start()?;
        quietly(engine.pull(&self.image("1")))?;
        run_to_end(command("sync").arg("-f").arg(engine.seen()))?;
        let plug = Plug::of(&engine.seen())?;
        let before = ids(engine)?;
        quietly(match self.action {
            Action::Pull => engine.pull(&self.image("2")),
            Action::Build => engine.build(
                "cut/built:1",
                &format!("{inside}/context"),
                &format!("{inside}/Dockerfile"),
            ),
            Action::Load => engine.load(&format!("{inside}/loaded.tar")),
            Action::WriteVolume => engine.write_volume(&self.image("1"))?,
            Action::ImportVolume => {
                engine.import_volume(&self.image("1"), &format!("{inside}/volume.tar"))?
            }
        })?;
        // Not a wait for something to happen: the time that passes is what is tested.
        std::thread::park_timeout(Duration::from_secs(self.after));
        plug.pull()?;
        engine.die()?;
        disk.mount_again()?;
        engine.start()?;
        let found = self.look(engine, &before);
        engine.die()?;
        found
    }

    fn look(&self, engine: &dyn Engine<'_>, before: &[String]) -> Result<Found> {
        let check = engine.check().map(succeeds).transpose()?;
        let listed = ids(engine)?;
        let (mut differ, files) = self.compare(engine, &listed)?;
        let there = if self.action.makes_image() {
            listed.iter().any(|id| !before.contains(id))
        } else {
            let place = engine.seen().join(engine.volume());
            let expected = self.material.folder.join("volume");
            let whole = match self.action {
                Action::WriteVolume => same(
                    &self.material.folder.join("written"),
                    &place.join("written"),
                ),
                _ => differing(&expected, &place)?.0 == 0,
            };
            whole && engine.has_volume()?
        };
        let mut again = None;
        if differ > 0 && self.action == Action::Pull {
            // What the registry has is asked for once more; whether that is refused is seen by the files.
            let _ = quietly(engine.pull(&self.image("2")));
            again = Some(self.compare(engine, &ids(engine)?)?.0);
        }
        differ = differ.min(files);
        Ok(Found {
            there,
            differ,
            files,
            check,
            again,
        })
    }

    /// How many files of these images are not what they should be, and how many there are.
    fn compare(&self, engine: &dyn Engine<'_>, images: &[String]) -> Result<(usize, usize)> {
        let work = self.material.folder.join("seen");
        let tar = self.material.folder.join("seen.tar");
        let (mut differ, mut files) = (0, 0);
        for image in images {
            fs::create_dir_all(&work)?;
            match engine.export(image, &tar) {
                Ok(()) => {
                    let unpacked = command("tar")
                        .arg("-C")
                        .arg(&work)
                        .arg("-xf")
                        .arg(&tar)
                        .stderr(Stdio::null())
                        .status()?;
                    ensure!(
                        unpacked.success() || work.exists(),
                        "unpack what {} exported",
                        engine.name()
                    );
                }
                // Nothing of it can be used.
                Err(error) => say(&format!("  {}: {error:#}", engine.name())),
            }
            let (wrong, all) = differing(&self.material.tree(image), &work)?;
            differ += wrong;
            files += all;
            fs::remove_dir_all(&work)?;
        }
        Ok((differ, files))
    }

    fn image(&self, tag: &str) -> String {
        format!("127.0.0.1:{}/{REPOSITORY}:{tag}", self.port)
    }
}

/// Of every image that the engine lists; those without a name are steps of a build.
fn ids(engine: &dyn Engine<'_>) -> Result<Vec<String>> {
    let listed = output(&mut engine.images())?;
    let named = listed.lines().filter(|line| !line.ends_with("<none>"));
    let mut ids: Vec<String> = named
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect();
    ids.sort();
    ids.dedup();
    Ok(ids)
}

/// How many of the expected files are missing or have another content, and how many are expected.
fn differing(expected: &Path, found: &Path) -> Result<(usize, usize)> {
    let (mut differ, mut files) = (0, 0);
    for entry in fs::read_dir(expected).with_context(|| format!("list {}", expected.display()))? {
        let entry = entry?;
        let other = found.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            let (wrong, all) = differing(&entry.path(), &other)?;
            differ += wrong;
            files += all;
        } else {
            files += 1;
            differ += usize::from(!same(&entry.path(), &other));
        }
    }
    Ok((differ, files))
}

fn same(expected: &Path, found: &Path) -> bool {
    fs::read(found).is_ok_and(|found| fs::read(expected).is_ok_and(|expected| expected == found))
}

fn quietly(mut command: Command) -> Result<()> {
    output(&mut command).map(drop)
}

fn succeeds(mut command: Command) -> Result<bool> {
    let output = command.output()?;
    if !output.status.success() {
        say(&format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    Ok(output.status.success())
}
