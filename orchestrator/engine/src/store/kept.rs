//! Copies in the run folder of the records of what lives in the kernel: running containers and their networks. Both go
//! with the machine. While they exist, a damaged record on disk does no harm.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use hoist_object::{ContainerDoc, NetworkDoc, form};
use serde::Serialize;

use super::files::make_folder;

fn container_file(bundle: &Path) -> PathBuf {
    bundle.join("record.json")
}

fn networks_folder(run_dir: &Path) -> PathBuf {
    run_dir.join("networks")
}

/// A failure to keep a copy loses only this safeguard.
fn keep(path: &Path, document: &impl Serialize) {
    let write = || -> io::Result<()> {
        let temporary = path.with_extension("new");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(&form::write(document))?;
        fs::rename(&temporary, path)
    };
    if let Err(error) = write() {
        tracing::debug!(path = %path.display(), %error, "cannot keep a copy of a record");
    }
}

pub(crate) fn keep_container(bundle: &Path, doc: &ContainerDoc) {
    keep(&container_file(bundle), doc);
}

pub(crate) fn container(bundle: &Path) -> Option<ContainerDoc> {
    Some(
        form::read(&fs::read(container_file(bundle)).ok()?)
            .ok()?
            .document,
    )
}

pub(crate) fn keep_network(run_dir: &Path, doc: &NetworkDoc) {
    let folder = networks_folder(run_dir);
    if make_folder(&folder).is_ok() {
        keep(&folder.join(format!("{}.json", doc.id)), doc);
    }
}

pub(crate) fn forget_network(run_dir: &Path, id: &str) {
    let _ = fs::remove_file(networks_folder(run_dir).join(format!("{id}.json")));
}

pub(crate) fn networks(run_dir: &Path) -> Vec<NetworkDoc> {
    let files = fs::read_dir(networks_folder(run_dir))
        .into_iter()
        .flatten()
        .flatten();
    files
        .filter_map(|file| Some(form::read(&fs::read(file.path()).ok()?).ok()?.document))
        .collect()
}
