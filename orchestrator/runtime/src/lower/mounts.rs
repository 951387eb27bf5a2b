//! Mount entries: option words to attribute bits.

use std::path::Path;

use oci_spec::runtime::{Linux, Mount, Spec};

use super::invalid;
use crate::launch::{Launch, LaunchError, Tree};
use crate::wire::{MountConfig, MountKind};

const ATIME_MASK: u64 = libc::MOUNT_ATTR__ATIME;

/// Attribute words: name, set, clear. With an `r` before them they hold for the mounts below, too.
const ATTRIBUTES: [(&str, u64, u64); 14] = [
    ("ro", libc::MOUNT_ATTR_RDONLY, 0),
    ("rw", 0, libc::MOUNT_ATTR_RDONLY),
    ("nosuid", libc::MOUNT_ATTR_NOSUID, 0),
    ("suid", 0, libc::MOUNT_ATTR_NOSUID),
    ("nodev", libc::MOUNT_ATTR_NODEV, 0),
    ("dev", 0, libc::MOUNT_ATTR_NODEV),
    ("noexec", libc::MOUNT_ATTR_NOEXEC, 0),
    ("exec", 0, libc::MOUNT_ATTR_NOEXEC),
    ("noatime", libc::MOUNT_ATTR_NOATIME, ATIME_MASK),
    ("strictatime", libc::MOUNT_ATTR_STRICTATIME, ATIME_MASK),
    ("relatime", 0, ATIME_MASK),
    ("nodiratime", libc::MOUNT_ATTR_NODIRATIME, 0),
    ("diratime", 0, libc::MOUNT_ATTR_NODIRATIME),
    ("nosymfollow", libc::MOUNT_ATTR_NOSYMFOLLOW, 0),
];

const PROPAGATIONS: [(&str, u64); 8] = [
    ("private", libc::MS_PRIVATE),
    ("rprivate", libc::MS_PRIVATE),
    ("slave", libc::MS_SLAVE),
    ("rslave", libc::MS_SLAVE),
    ("shared", libc::MS_SHARED),
    ("rshared", libc::MS_SHARED),
    ("unbindable", libc::MS_UNBINDABLE),
    ("runbindable", libc::MS_UNBINDABLE),
];

/// mount(8)'s option for a subfolder of the mounted tree.
const BELOW: &str = "X-mount.subdir=";

pub(super) fn text(path: &Path) -> Result<String, LaunchError> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| invalid(format!("path {} is not UTF-8", path.display())))
}

fn words(mount: &Mount) -> impl Iterator<Item = &str> {
    mount.options().iter().flatten().map(String::as_str)
}

pub(super) fn is_bind(mount: &Mount) -> bool {
    mount.typ().as_deref() == Some("bind")
        || words(mount).any(|word| word == "bind" || word == "rbind")
}

/// The type of a mount whose source is the name of a [`crate::Tree`].
pub const TREE: &str = "hoist-tree";

pub(super) fn of_spec(launch: &Launch) -> Result<Vec<MountConfig>, LaunchError> {
    launch
        .spec
        .mounts()
        .iter()
        .flatten()
        .map(|mount| one(mount, &launch.bundle, &launch.trees))
        .collect()
}

fn one(mount: &Mount, bundle: &Path, trees: &[Tree]) -> Result<MountConfig, LaunchError> {
    let target = text(mount.destination())?;
    let mut config = MountConfig {
        target,
        kind: MountKind::Cgroup,
        set: 0,
        clear: 0,
        recursive_attributes: false,
        propagation: 0,
    };
    let options = Options::read(mount, &mut config)?;
    config.kind = kind(mount, &config.target, options, bundle, trees)?;
    Ok(config)
}

/// The options that are not attributes of the mount.
struct Options {
    /// Part of the source that is mounted.
    below: Option<String>,
    /// For the file system.
    data: Vec<(String, Option<String>)>,
}

impl Options {
    /// Sets attributes in `config` and keeps the others.
    fn read(mount: &Mount, config: &mut MountConfig) -> Result<Self, LaunchError> {
        let mut options = Self {
            below: None,
            data: Vec::new(),
        };
        for word in words(mount) {
            if matches!(word, "bind" | "rbind" | "defaults" | "newinstance")
                || config.take_word(word)?
            {
                continue;
            }
            if let Some(path) = word.strip_prefix(BELOW) {
                options.below = Some(path.to_owned());
                continue;
            }
            let (key, value) = match word.split_once('=') {
                Some((key, value)) => (key, Some(value.to_owned())),
                None => (word, None),
            };
            options.data.push((key.to_owned(), value));
        }
        Ok(options)
    }
}

fn kind(
    mount: &Mount,
    target: &str,
    options: Options,
    bundle: &Path,
    trees: &[Tree],
) -> Result<MountKind, LaunchError> {
    let Options { below, data } = options;
    let source = mount.source().as_deref().unwrap_or(Path::new(""));
    match mount.typ().as_deref() {
        _ if is_bind(mount) => {
            if let Some((key, _)) = data.first() {
                return Err(invalid(format!(
                    "bind mount on {target} does not know the option {key}"
                )));
            }
            if source.as_os_str().is_empty() {
                return Err(invalid(format!("bind mount on {target} has no source")));
            }
            let recursive = words(mount).any(|word| word == "rbind");
            Ok(MountKind::Bind {
                source: bundle.join(source),
                below,
                recursive,
            })
        }
        Some(TREE) => {
            let missing = || {
                invalid(format!(
                    "mount on {target} has no tree {}",
                    source.display()
                ))
            };
            let index = trees
                .iter()
                .position(|tree| Path::new(&tree.name) == source)
                .ok_or_else(missing)?;
            Ok(MountKind::Tree {
                index: u16::try_from(index).map_err(|_| missing())?,
                below,
            })
        }
        Some("cgroup" | "cgroup2") => Ok(MountKind::Cgroup),
        Some("") | None => Err(invalid(format!("mount on {target} has no type"))),
        Some(name) => {
            let source = if source.as_os_str().is_empty() {
                Path::new(name)
            } else {
                source
            };
            Ok(MountKind::Filesystem {
                name: name.to_owned(),
                source: text(source)?,
                options: data,
            })
        }
    }
}

/// The bits that a word sets and clears.
pub(crate) fn attribute(word: &str) -> Option<(u64, u64)> {
    ATTRIBUTES
        .iter()
        .find(|(name, _, _)| *name == word)
        .map(|(_, set, clear)| (*set, *clear))
}

impl MountConfig {
    /// Whether the word was an attribute or a propagation.
    fn take_word(&mut self, word: &str) -> Result<bool, LaunchError> {
        if let Some((_, kind)) = PROPAGATIONS.iter().find(|(name, _)| *name == word) {
            if *kind == libc::MS_SHARED {
                return Err(invalid(format!(
                    "{word} mount on {}: mounts of a container never reach the host",
                    self.target
                )));
            }
            self.propagation = *kind;
            return Ok(true);
        }
        let (found, recursive) = match attribute(word) {
            Some(found) => (found, false),
            None => match word.strip_prefix('r').and_then(attribute) {
                Some(found) => (found, true),
                None => return Ok(false),
            },
        };
        let (set, clear) = found;
        self.set = (self.set & !clear) | set;
        self.clear = (self.clear & !set) | clear;
        self.recursive_attributes |= recursive;
        Ok(true)
    }
}

/// The copy of the host's tree: cut off, or still hearing of the host's new mounts where a mount asks for that.
pub(super) fn host_propagation(spec: &Spec, linux: &Linux) -> Result<u64, LaunchError> {
    let mounts = spec.mounts().iter().flatten();
    let asks = mounts
        .into_iter()
        .any(|mount| words(mount).any(|word| word == "slave" || word == "rslave"));
    let root = root_propagation(linux)?;
    Ok(if asks || root == libc::MS_SLAVE {
        libc::MS_SLAVE
    } else {
        libc::MS_PRIVATE
    })
}

pub(super) fn root_propagation(linux: &Linux) -> Result<u64, LaunchError> {
    match linux.rootfs_propagation().as_deref() {
        None | Some("") => Ok(0),
        Some(word) => PROPAGATIONS
            .iter()
            .find(|(name, _)| *name == word)
            .map(|(_, kind)| *kind)
            .ok_or_else(|| invalid(format!("unknown rootfsPropagation {word}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::MountBuilder;

    fn lowered(kind: &str, options: &[&str]) -> Result<MountConfig, LaunchError> {
        let options: Vec<String> = options.iter().map(|&word| word.to_owned()).collect();
        let mount = MountBuilder::default()
            .destination("/t")
            .typ(kind)
            .source("/s")
            .options(options)
            .build()
            .unwrap();
        one(&mount, Path::new("/bundle"), &[])
    }

    #[test]
    fn the_last_word_wins() {
        let config = lowered(
            "bind",
            &["rbind", "ro", "rw", "noatime", "relatime", "nosuid"],
        )
        .unwrap();
        assert_eq!(
            (config.set, config.clear),
            (
                libc::MOUNT_ATTR_NOSUID,
                libc::MOUNT_ATTR_RDONLY | ATIME_MASK
            )
        );
        assert!(matches!(
            config.kind,
            MountKind::Bind {
                recursive: true,
                ..
            }
        ));
    }

    #[test]
    fn file_system_options_go_to_the_file_system() {
        let config = lowered("tmpfs", &["nosuid", "size=1m", "mode=1777"]).unwrap();
        let MountKind::Filesystem { options, .. } = config.kind else {
            panic!("not a file system")
        };
        assert_eq!(
            options,
            [
                ("size".into(), Some("1m".into())),
                ("mode".into(), Some("1777".into()))
            ]
        );
    }

    #[test]
    fn sharing_with_the_host_is_refused() {
        let error = lowered("bind", &["rbind", "rshared"]).unwrap_err();
        assert!(
            error.to_string().contains("never reach the host"),
            "{error}"
        );
    }
}
