//! The files that secrets and configs are made of. They are read whole, so a device, a pipe or a huge file must not be
//! one.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

const MAX: u64 = 64 << 20;

pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Looked at before it is opened: opening a pipe waits for whoever writes it.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut content = Vec::new();
    File::open(path)?.take(MAX + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX {
        return Err(io::Error::other(format!("it is larger than {} MiB", MAX >> 20)));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_some_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "x").unwrap();
        assert_eq!(read(&path).unwrap(), b"x");
        File::options().write(true).open(&path).unwrap().set_len(MAX + 1).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("larger than"));
        for other in [Path::new("/dev/zero"), folder.path()] {
            assert_eq!(read(other).unwrap_err().to_string(), "it is not a regular file");
        }
        assert_eq!(read(&folder.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
