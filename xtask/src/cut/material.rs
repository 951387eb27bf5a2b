//! Owns what is given to the engines before their power is cut, and what it must look like afterwards.
//!
//! Every image exists twice: in a registry or an archive, and as the plain tree of its files.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::image::{self, Layer};
use crate::registry::Registry;
use crate::shell::{command, run};

pub(super) const REPOSITORY: &str = "cut/image";
/// Folders with a hundred files each.
const FOLDERS: u64 = 10;

pub(super) struct Material {
    pub(super) folder: PathBuf,
    /// Image ids, with the name of the tree that has the image's files.
    ids: Vec<(String, &'static str)>,
}

impl Material {
    /// Makes everything and pushes the images `1` (that a build begins with) and `2` of [`REPOSITORY`].
    pub(super) fn make(folder: PathBuf) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        let trees = folder.join("trees");
        fs::create_dir_all(&trees).with_context(|| format!("create {}", trees.display()))?;
        fs::create_dir_all(folder.join("storage"))?;
        let registry = Registry::start(&folder, None)?;
        let mut ids = Vec::new();
        for (tag, name) in [("1", "base"), ("2", "pulled")] {
            let layers = layers(&folder, name)?;
            ids.push((
                image::push(&registry, &folder, REPOSITORY, tag, &layers)?,
                name,
            ));
        }
        drop(registry);
        ids.push((archive(&folder)?, "loaded"));
        context(&folder)?;
        let files = folder.join("volume");
        write_files(&files, 7)?;
        run(command("tar")
            .arg("-C")
            .arg(&files)
            .arg("-cf")
            .arg(folder.join("volume.tar"))
            .arg("."))?;
        fs::write(folder.join("written"), [b'w'; 1 << 20])?;
        Ok(Self { folder, ids })
    }

    /// The files of the image with this id; what is not known was built.
    pub(super) fn tree(&self, id: &str) -> PathBuf {
        let name = self
            .ids
            .iter()
            .find(|(known, _)| known == id)
            .map_or("built", |(_, name)| name);
        self.folder.join("trees").join(name)
    }
}

impl Drop for Material {
    fn drop(&mut self) {
        // What cannot be removed is replaced next time.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Two layers: a program to run and a thousand files, then another thousand.
fn layers(folder: &Path, name: &str) -> Result<Vec<Layer>> {
    let tree = folder.join("trees").join(name);
    let mut layers = Vec::new();
    for number in 0..2 {
        let root = folder.join(format!("{name}-{number}"));
        if number == 0 {
            fs::create_dir_all(root.join("bin"))?;
            fs::copy("/bin/busybox", root.join("bin/busybox")).context("copy /bin/busybox")?;
        }
        write_files(
            &root.join(format!("files-{number}")),
            name.len() as u64 * 10 + number,
        )?;
        let tar = folder.join(format!("{name}-{number}.tar"));
        run(command("tar")
            .args([
                "--sort=name",
                "--mtime=@1700000000",
                "--owner=0",
                "--group=0",
                "-C",
            ])
            .arg(&root)
            .arg("-cf")
            .arg(&tar)
            .arg("."))?;
        layers.push(Layer::of(&tar)?);
        run(command("cp").arg("-a").arg(root.join(".")).arg(&tree))?;
    }
    Ok(layers)
}

/// `loaded.tar`, as `docker save` writes one.
fn archive(folder: &Path) -> Result<String> {
    let layers = layers(folder, "loaded")?;
    let id = image::configuration(&folder.join("loaded.json"), &layers)?;
    let manifest = serde_json::json!([{
        "Config": "loaded.json", "RepoTags": ["cut/loaded:1"], "Layers": ["loaded-0.tar", "loaded-1.tar"],
    }]);
    fs::write(folder.join("manifest.json"), manifest.to_string())?;
    run(command("tar")
        .arg("-C")
        .arg(folder)
        .arg("-cf")
        .arg(folder.join("loaded.tar"))
        .args([
            "manifest.json",
            "loaded.json",
            "loaded-0.tar",
            "loaded-1.tar",
        ]))?;
    Ok(id)
}

/// What is built: files of the context, and the same files made by a program.
fn context(folder: &Path) -> Result<()> {
    let context = folder.join("context");
    write_files(&context.join("files"), 99)?;
    let built = folder.join("trees/built");
    run(command("cp")
        .arg("-a")
        .arg(folder.join("trees/base"))
        .arg(&built))?;
    for name in ["copied", "made", "last"] {
        run(command("cp")
            .arg("-a")
            .arg(context.join("files"))
            .arg(built.join(name)))?;
    }
    Ok(())
}

/// The Dockerfile lies beside the context: the registry's port is another one for every engine.
pub(super) fn dockerfile(base: &str) -> String {
    format!(
        "FROM {base}\nCOPY files /copied\nRUN [\"/bin/busybox\", \"cp\", \"-r\", \"/copied\", \"/made\"]\n\
         COPY files /last\n"
    )
}

fn write_files(folder: &Path, seed: u64) -> Result<()> {
    for directory in 0..FOLDERS {
        let place = folder.join(directory.to_string());
        fs::create_dir_all(&place)?;
        for number in 0..100 {
            let mut file = BufWriter::new(File::create(place.join(number.to_string()))?);
            for line in 0..50 + number {
                writeln!(file, "{seed} {directory} {number} {line}")?;
            }
            file.flush()?;
        }
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    Ok(())
}
