//! Extended attributes: which ones are part of a file, and which are overlayfs's own marks.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use hoist_image::{is_attribute_of_host, is_attribute_of_overlay};
use rustix::io::Errno;

/// Attributes of a file that travel with it: everything but overlayfs's marks and the host's security labels.
pub(crate) fn content_attributes(fd: BorrowedFd<'_>) -> io::Result<Vec<(CString, Vec<u8>)>> {
    let path = link(fd);
    let size = match rustix::fs::listxattr_query(path.as_str()) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Ok(size) => size,
        Err(errno) => return Err(errno.into()),
    };
    let mut names = vec![0u8; size];
    let size = rustix::fs::listxattr(path.as_str(), names.as_mut_slice())?;
    let mut attributes = Vec::new();
    for name in names[..size].split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else {
            continue;
        };
        if is_attribute_of_overlay(name.to_bytes()) || is_attribute_of_host(name.to_bytes()) {
            continue;
        }
        if let Some(value) = get(&path, name)? {
            attributes.push((name.to_owned(), value));
        }
    }
    attributes.sort();
    Ok(attributes)
}

pub(super) fn is_opaque(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let path = link(fd);
    for name in [c"trusted.overlay.opaque", c"user.overlay.opaque"] {
        if get(&path, name)?.is_some_and(|value| value == b"y") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// An `O_PATH` descriptor has no attributes of its own; its link in /proc leads to those of the file.
fn link(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

fn get(path: &str, name: &CStr) -> io::Result<Option<Vec<u8>>> {
    let size = match rustix::fs::getxattr_query(path, name) {
        Ok(size) => size,
        Err(Errno::NODATA | Errno::NOTSUP) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    let mut value = vec![0u8; size];
    if size > 0 {
        let size = rustix::fs::getxattr(path, name, value.as_mut_slice())?;
        value.truncate(size);
    }
    Ok(Some(value))
}
