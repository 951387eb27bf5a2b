//! Places that were made only to mount something on them: they do not belong into the layer.
//!
//! A place goes when it is empty, this layer alone has it, and it is one that a run mounts on. Folders on the way to it go
//! under the same conditions. Everything is looked at and removed inside the layer, by descriptor.

use std::path::{Path, PathBuf};

use super::copy::CopyError;
use crate::fs::{Kind, MAX_TEXT, View, Writer};

/// Files that every step gets, whether the image has a place for them or not. /proc, /sys and /dev stay once they were
/// made, as with BuildKit: every container needs them.
const ALWAYS: [&str; 3] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];

pub(super) fn clean(upper: &Path, lowers: &[PathBuf], targets: &[String]) -> Result<(), CopyError> {
    let mut writer = Writer::resume(upper, lowers)?;
    let below = View::of_layers(lowers)?;
    // Deeper ones first, so that a folder is empty once its own stubs are gone.
    let mut places: Vec<&str> = ALWAYS
        .into_iter()
        .chain(targets.iter().map(String::as_str))
        .collect();
    places.sort_unstable();
    for place in places.into_iter().rev() {
        let walk = writer.view().walk(Path::new(place), true)?;
        let Some(found) = walk.found else { continue };
        let mut path = found.path;
        while !path.as_os_str().is_empty() && is_stub(writer.view(), &below, &path)? {
            writer.remove_own(&path)?;
            path.pop();
        }
    }
    writer.finish()?;
    Ok(())
}

fn is_stub(all: &View, below: &View, path: &Path) -> Result<bool, CopyError> {
    if below.walk(path, false)?.found.is_some() {
        return Ok(false);
    }
    let Some(node) = all.walk(path, false)?.found else {
        return Ok(false);
    };
    Ok(match node.kind() {
        Kind::Folder => all.children(&node, &mut { MAX_TEXT })?.is_empty(),
        Kind::File => node.stat.st_size == 0,
        Kind::Symlink | Kind::Other(_) => false,
    })
}
