//! Folders of volumes, and filling a new one with what the image has at its place.
//!
//! Filling happens once, whoever starts first: one lock a volume. A marker file says that it has begun; a volume with a
//! marker was left half filled by an engine that died, so it is emptied and filled again.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::OFlags;

use crate::copytree;
use crate::rootview::RootView;
use crate::store::{Layout, make_folder};

#[derive(Debug, Default)]
pub(crate) struct VolumeLocks {
    locks: Mutex<BTreeMap<String, Arc<Mutex<()>>>>,
    /// Of volumes that are mounted for the containers that start with them.
    starting: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum VolumeError {
    #[error("volume {volume}: preparing {path}")]
    Prepare {
        volume: String,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("volume {volume}: copying {target} from the image")]
    Fill {
        volume: String,
        target: String,
        #[source]
        source: io::Error,
    },
    #[error(
        "volume {0:?}: a name must begin with a letter or digit and go on with letters, digits, `_`, `.` or `-`"
    )]
    Name(String),
}

/// Names become folder names.
pub(crate) fn check_name(name: &str) -> Result<(), VolumeError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let good = name
        .bytes()
        .next()
        .is_some_and(|first| first.is_ascii_alphanumeric())
        && name.bytes().all(plain);
    if good && name.len() <= 255 {
        Ok(())
    } else {
        Err(VolumeError::Name(name.to_owned()))
    }
}

pub(crate) fn make(layout: &Layout, volume: &str) -> Result<PathBuf, VolumeError> {
    check_name(volume)?;
    let data = layout.volume_data(volume);
    let failed = |source| VolumeError::Prepare {
        volume: volume.to_owned(),
        path: data.clone(),
        source,
    };
    make_folder(&layout.volume(volume)).map_err(failed)?;
    match std::fs::create_dir(&data) {
        Ok(()) => set_mode(&data, 0o755).map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    Ok(data)
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

impl VolumeLocks {
    pub(crate) fn starting(&self, volume: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(locks.entry(volume.to_owned()).or_default())
    }

    /// As [`VolumeLocks::fill`], for a volume that is elsewhere.
    pub(crate) fn fill_elsewhere(
        &self,
        volume: &str,
        data: BorrowedFd<'_>,
        target: &str,
        lowers: &[PathBuf],
    ) -> Result<(), VolumeError> {
        let lock = self.lock(volume);
        let _held = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |source| VolumeError::Fill {
            volume: volume.to_owned(),
            target: target.to_owned(),
            source,
        };
        let entries = rustix::fs::Dir::read_from(data).map_err(|error| failed(error.into()))?;
        let names = entries
            .flatten()
            .filter(|entry| ![c".", c".."].contains(&entry.file_name()));
        if names.count() > 0 {
            return Ok(());
        }
        copy_up(data, target, lowers, || Ok(())).map_err(failed)
    }

    fn lock(&self, volume: &str) -> Arc<Mutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(locks.entry(volume.to_owned()).or_default())
    }

    /// Fills an empty volume with the image's folder at `target`, if there is one.
    pub(crate) fn fill(
        &self,
        layout: &Layout,
        volume: &str,
        target: &str,
        lowers: &[PathBuf],
    ) -> Result<(), VolumeError> {
        let lock = self.lock(volume);
        let _held = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let data = make(layout, volume)?;
        let failed = |source| VolumeError::Fill {
            volume: volume.to_owned(),
            target: target.to_owned(),
            source,
        };
        let marker = layout.volume(volume).join("_filling");
        if marker.exists() {
            empty(&data).map_err(failed)?;
        } else if !is_empty(&data).map_err(failed)? {
            return Ok(());
        }
        fill(&data, &marker, target, lowers).map_err(failed)
    }
}

fn fill(data: &Path, marker: &Path, target: &str, lowers: &[PathBuf]) -> io::Result<()> {
    let destination = std::fs::File::open(data)?;
    copy_up(destination.as_fd(), target, lowers, || {
        std::fs::write(marker, b"")
    })?;
    match std::fs::remove_file(marker) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Copies what the image has at `target`, if it has a folder there; `begin` is called before the first byte.
fn copy_up(
    data: BorrowedFd<'_>,
    target: &str,
    lowers: &[PathBuf],
    begin: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let view = RootView::of_layers(lowers)?;
    let source = match view.open(Path::new(target), OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(source) => source,
        // Nothing there, or a file: nothing to copy.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    begin()?;
    copytree::copy(source.as_fd(), data)
}

fn is_empty(folder: &Path) -> io::Result<bool> {
    Ok(std::fs::read_dir(folder)?.next().is_none())
}

fn empty(folder: &Path) -> io::Result<()> {
    hoist_tree::empty(std::fs::File::open(folder)?.as_fd())
}

#[cfg(test)]
#[allow(clippy::print_stderr, reason = "a test says why it is skipped")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Layers are looked at by a mount.
    fn may_mount(claim: &str) -> bool {
        let may = rustix::process::geteuid().is_root();
        if !may {
            eprintln!("skipped: {claim}: needs root");
        }
        may
    }

    fn image() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("var/db/sub")).unwrap();
        std::fs::write(root.path().join("var/db/sub/file"), b"content").unwrap();
        std::os::unix::fs::symlink("sub/file", root.path().join("var/db/link")).unwrap();
        set_mode(&root.path().join("var/db"), 0o750).unwrap();
        root
    }

    #[test]
    fn new_volume_gets_the_images_files_and_modes() {
        if !may_mount("a new volume gets the image's files") {
            return;
        }
        let (image, root) = (image(), tempfile::tempdir().unwrap());
        let layout = Layout {
            root: root.path().to_owned(),
        };
        let lowers = [image.path().to_owned()];
        VolumeLocks::default()
            .fill(&layout, "v", "/var/db", &lowers)
            .unwrap();
        let data = layout.volume_data("v");
        assert_eq!(std::fs::read(data.join("link")).unwrap(), b"content");
        assert_eq!(data.metadata().unwrap().permissions().mode() & 0o777, 0o750);
    }

    #[test]
    fn volume_with_data_is_left_alone() {
        let (image, root) = (image(), tempfile::tempdir().unwrap());
        let layout = Layout {
            root: root.path().to_owned(),
        };
        let data = make(&layout, "v").unwrap();
        std::fs::write(data.join("mine"), b"").unwrap();
        VolumeLocks::default()
            .fill(&layout, "v", "/var/db", &[image.path().to_owned()])
            .unwrap();
        assert!(!data.join("link").exists());
    }

    #[test]
    fn half_filled_volume_is_filled_again() {
        if !may_mount("a half filled volume is filled again") {
            return;
        }
        let (image, root) = (image(), tempfile::tempdir().unwrap());
        let layout = Layout {
            root: root.path().to_owned(),
        };
        let data = make(&layout, "v").unwrap();
        std::fs::write(data.join("half"), b"").unwrap();
        std::fs::write(layout.volume("v").join("_filling"), b"").unwrap();
        VolumeLocks::default()
            .fill(&layout, "v", "/var/db", &[image.path().to_owned()])
            .unwrap();
        assert!(data.join("link").exists() && !data.join("half").exists());
    }

    #[test]
    fn names_cannot_be_paths() {
        for bad in ["", ".", "..", "a/b", "-x", ".hidden"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert!(check_name("shop_db-data.1").is_ok());
    }
}
