//! The source files of secrets and configs. They are read whole, so devices, pipes and huge files are refused. A folder
//! is mounted instead.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use hoist_tree::regular;
use rustix::fs::{Mode, OFlags};

const MAX: u64 = 64 << 20;

pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_found(&rustix::fs::open(
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// Reads the file of an `O_PATH` descriptor.
pub(crate) fn read_found(found: &OwnedFd) -> io::Result<Vec<u8>> {
    let (file, _) = regular(found)?;
    let mut content = Vec::new();
    file.take(MAX + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX {
        return Err(io::Error::other(format!(
            "it is larger than {} MiB",
            MAX >> 20
        )));
    }
    Ok(content)
}

/// Whether it is mounted instead of read.
pub(crate) fn is_folder(path: &Path) -> bool {
    path.is_dir()
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn only_files_of_some_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "x").unwrap();
        assert_eq!(read(&path).unwrap(), b"x");
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(MAX + 1)
            .unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("larger than"));
        for other in [Path::new("/dev/zero"), folder.path()] {
            assert_eq!(read(other).unwrap_err().to_string(), "not a regular file");
        }
        assert_eq!(
            read(&folder.path().join("none")).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
