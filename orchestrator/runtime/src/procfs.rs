//! Shims and containers as /proc shows them, for when they cannot be asked.

use std::fs;
use std::io;
use std::path::Path;

/// Shims of the container: by their name, the id that they were started with, and the folder that they work in. One may
/// still bring output of an earlier run to a slow client.
pub(crate) fn find_shims(id: &str) -> io::Result<Vec<i32>> {
    let mut shims = Vec::new();
    let wanted = format!("hoist-shim\0start\0{}\0", hoist_object::short(id));
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let line = match fs::read(format!("/proc/{pid}/cmdline")) {
            Err(error) if has_ended(&error) => continue,
            line => line?,
        };
        if line != wanted.as_bytes() {
            continue;
        }
        match fs::read_link(format!("/proc/{pid}/cwd")) {
            // A folder that was removed keeps its name, with a mark behind it.
            Ok(folder) => {
                let folder = folder.to_string_lossy();
                if Path::new(folder.trim_end_matches(" (deleted)")).ends_with(id) {
                    shims.push(pid);
                }
            }
            Err(error) if has_ended(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(shims)
}

fn has_ended(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

/// Whether the process is number 1 of its process namespace, and that is not this one's.
pub(crate) fn is_first_of_namespace(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let numbers = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))
        .unwrap_or_default();
    numbers.split_whitespace().skip(1).last() == Some("1")
}
