//! Volumes on their way in: made whole beside the others, then given their places all together.
//!
//! `<data root>/staging/<name>/<volume>/` is a volume's folder as it will be. Renaming `<name>` to `<name>.ready` is the
//! moment at which all of its volumes exist: whoever opens the data root afterwards finishes what is ready and removes what
//! is not.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use hoist_object::VolumeDoc;

use crate::store::{Layout, VOLUME_RECORDS, make_folder};

const READY: &str = "ready";

/// Volumes that do not exist yet; dropped without [`Staging::commit`], they never do.
#[derive(Debug)]
pub(crate) struct Staging {
    layout: Layout,
    folder: PathBuf,
}

fn folder(layout: &Layout) -> PathBuf {
    layout.root.join("staging")
}

impl Staging {
    pub(crate) fn new(layout: &Layout) -> io::Result<Self> {
        let folder = folder(layout).join(&crate::engine::new_id()[..12]);
        make_folder(&folder)?;
        Ok(Self {
            layout: layout.clone(),
            folder,
        })
    }

    /// An empty folder for a volume's content.
    pub(crate) fn volume(&self, volume: &VolumeDoc) -> io::Result<PathBuf> {
        let place = self.folder.join(&volume.name);
        let data = place.join("_data");
        make_folder(&place)?;
        fs::create_dir(&data)?;
        std::os::unix::fs::chown(&data, Some(0), Some(0))?;
        fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        for name in VOLUME_RECORDS {
            fs::write(place.join(name), serde_json::to_vec(volume)?)?;
        }
        Ok(data)
    }

    /// Gives every volume its place, on the disk.
    pub(crate) fn commit(self) -> io::Result<()> {
        rustix::fs::syncfs(File::open(&self.folder)?)?;
        let ready = self.folder.with_extension(READY);
        fs::rename(&self.folder, &ready)?;
        File::open(folder(&self.layout))?.sync_all()?;
        finish(&self.layout, &ready)
    }

    /// Puts a volume's content in the place of an existing volume's.
    pub(crate) fn exchange(self, volume: &str) -> io::Result<()> {
        rustix::fs::syncfs(File::open(&self.folder)?)?;
        let (new, old) = (
            self.folder.join(volume).join("_data"),
            self.layout.volume_data(volume),
        );
        let flags = rustix::fs::RenameFlags::EXCHANGE;
        rustix::fs::renameat_with(rustix::fs::CWD, &new, rustix::fs::CWD, &old, flags)?;
        File::open(self.layout.volume(volume))?.sync_all()
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What cannot be removed now is removed when the data root is opened.
        let _ = hoist_tree::remove(&self.folder);
    }
}

fn finish(layout: &Layout, ready: &Path) -> io::Result<()> {
    for entry in fs::read_dir(ready)? {
        let entry = entry?;
        let place = layout.root.join("volumes").join(entry.file_name());
        match fs::rename(entry.path(), &place) {
            // A volume of that name came into being in between, and has content: it is somebody's.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
                ) =>
            {
                tracing::warn!(volume = %place.display(), "exists already; what was loaded for it is dropped");
            }
            other => other?,
        }
    }
    File::open(layout.root.join("volumes"))?.sync_all()?;
    hoist_tree::remove(ready)
}

/// Before the objects are read: completes committed operations, removes uncommitted ones. Returns the failures; the
/// next engine retries them.
pub(crate) fn recover(layout: &Layout) -> Vec<String> {
    let folder = folder(layout);
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => return vec![format!("{} cannot be listed: {error}", folder.display())],
        Ok(entries) => entries,
    };
    let mut failed = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        let done = match path.extension().is_some_and(|extension| extension == READY) {
            true => finish(layout, &path),
            false => hoist_tree::remove(&path),
        };
        failed.extend(
            done.err()
                .map(|error| format!("{} cannot be finished: {error}", path.display())),
        );
    }
    failed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> (tempfile::TempDir, Layout) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("volumes")).unwrap();
        let layout = Layout {
            root: root.path().to_owned(),
        };
        (root, layout)
    }

    fn doc(name: &str) -> VolumeDoc {
        VolumeDoc {
            name: name.to_owned(),
            ..VolumeDoc::default()
        }
    }

    #[test]
    fn volumes_appear_together_or_not_at_all() {
        let (_root, layout) = layout();
        let staging = Staging::new(&layout).unwrap();
        for name in ["a", "b"] {
            fs::write(staging.volume(&doc(name)).unwrap().join("file"), name).unwrap();
        }
        assert!(!layout.volume("a").exists());
        staging.commit().unwrap();
        assert_eq!(
            fs::read(layout.volume_data("b").join("file")).unwrap(),
            b"b"
        );
        drop(Staging::new(&layout).unwrap().volume(&doc("c")).unwrap());
        assert_eq!(fs::read_dir(folder(&layout)).unwrap().count(), 0);
    }

    #[test]
    fn what_was_ready_is_finished_after_a_crash() {
        let (_root, layout) = layout();
        let staging = Staging::new(&layout).unwrap();
        fs::write(staging.volume(&doc("a")).unwrap().join("file"), "x").unwrap();
        fs::rename(&staging.folder, staging.folder.with_extension(READY)).unwrap();
        let half = Staging::new(&layout).unwrap();
        half.volume(&doc("half")).unwrap();
        std::mem::forget(half);
        assert_eq!(recover(&layout), Vec::<String>::new());
        assert!(layout.volume_data("a").join("file").exists() && !layout.volume("half").exists());
        assert_eq!(fs::read_dir(folder(&layout)).unwrap().count(), 0);
    }
}
