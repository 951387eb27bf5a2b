//! Bind mounts of files that are missing: the engine makes a folder in their place, as docker does, which is rarely what was
//! meant.

use std::collections::BTreeSet;
use std::path::Path;

use hoist_spec::Loaded;
use hoist_spec::model::{Mount, MountSource};

use crate::render::Ui;

/// Warns of what will become a folder and has the name of a file.
pub(crate) fn warn_of_folders(ui: Ui, loaded: &Loaded, services: &BTreeSet<String>) {
    for (name, service) in loaded
        .stack
        .services
        .iter()
        .filter(|(name, _)| services.contains(*name))
    {
        for (path, target) in service.mounts.iter().filter_map(missing) {
            if names_a_file(path) || names_a_file(Path::new(target)) {
                let path = path.display();
                ui.warn(&format!(
                    "service `{name}`: {path} does not exist, so a folder is made there and mounted at {target}; if a \
                     file is meant, create it first"
                ));
            }
        }
    }
}

fn missing(mount: &Mount) -> Option<(&Path, &str)> {
    match &mount.source {
        MountSource::Bind {
            path,
            create_host_path: true,
            ..
        } if path.symlink_metadata().is_err() => Some((path, &mount.target)),
        _ => None,
    }
}

/// By its ending (but `.d` is that of folders), or as `Caddyfile` and its kin.
fn names_a_file(path: &Path) -> bool {
    let ending = path
        .extension()
        .and_then(|ending| ending.to_str())
        .unwrap_or_default();
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let plain = ending.bytes().all(|byte| byte.is_ascii_alphanumeric()) && ending.len() <= 8;
    let letter = ending.starts_with(|first: char| first.is_ascii_alphabetic());
    plain && letter && ending != "d" || name.len() > 4 && name.ends_with("file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_name() {
        for file in [
            "a/nginx.conf",
            "prometheus.yml",
            "x.json",
            "/etc/Caddyfile",
            "docker.sock",
            ".env.local",
            "a.sh",
        ] {
            assert!(names_a_file(Path::new(file)), "{file}");
        }
        for folder in [
            "data",
            "conf.d",
            ".ssh",
            "pg-15.4",
            "file",
            "/",
            "a/.config",
            "my.very-long-name",
        ] {
            assert!(!names_a_file(Path::new(folder)), "{folder}");
        }
    }
}
