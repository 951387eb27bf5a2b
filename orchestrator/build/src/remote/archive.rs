//! A context that is one file of this machine, as a client makes it of what it reads from standard input: an archive, or
//! a Dockerfile that stands alone.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use hoist_image::{Digest, Hasher, TarFile};

use super::RemoteError;

/// The folder of the unpacked archive, named by its content; the folder of a file that is none.
pub(crate) fn archive(path: &Path, state: &Path) -> Result<PathBuf, RemoteError> {
    let io_error = |attempt, path: &Path| {
        let path = path.to_owned();
        move |source| RemoteError::Io {
            attempt,
            path,
            source,
        }
    };
    let opened = || File::open(path).map_err(io_error("opening", path));
    let Some(archive) = TarFile::open(opened()?) else {
        return Ok(path.parent().unwrap_or(Path::new("/")).to_owned());
    };
    std::fs::create_dir_all(state).map_err(io_error("making", state))?;
    let name = digest(opened()?).map_err(io_error("reading", path))?.hex();
    let place = state.join(format!("archive-{name}"));
    if !place.exists() {
        let partial = hoist_tree::Scratch::with_prefix_in("partial-", state)
            .map_err(io_error("making a folder in", state))?;
        let folder = File::open(partial.path()).map_err(io_error("opening", partial.path()))?;
        archive
            .unpack_over(folder.as_fd(), Path::new(""))
            .map_err(|error| RemoteError::Unpack {
                url: path.display().to_string(),
                reason: crate::execute::chain(&error),
            })?;
        match std::fs::rename(partial.path(), &place) {
            // Another build was first.
            Err(_) if place.exists() => {}
            done => done.map_err(io_error("writing", &place))?,
        }
    }
    Ok(place)
}

fn digest(file: File) -> io::Result<Digest> {
    let mut hasher = Hasher::new();
    let mut reader = io::BufReader::with_capacity(128 << 10, file);
    loop {
        let bytes = io::BufRead::fill_buf(&mut reader)?;
        if bytes.is_empty() {
            return Ok(hasher.finish());
        }
        hasher.update(bytes);
        let length = bytes.len();
        io::BufRead::consume(&mut reader, length);
    }
}
