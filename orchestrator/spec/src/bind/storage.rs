//! Volumes, secrets and configs; and how services mount them.

use std::path::PathBuf;

use crate::fields;
use crate::local::LocalMount;
use crate::model::{FileMount, FileObject, FileSource, Mount, MountSource, Volume, VolumesFrom};
use crate::node::Node;
use hoist_object::units;

use super::kinds::{self, reads};
use super::{Reader, names};

pub(super) fn volume(reader: &mut Reader<'_>) -> Volume {
    reader.only("driver", &["local"]);
    reader.named();
    names::resource(reader);
    if let Err(error) = LocalMount::of(&reader.table("driver_opts")) {
        let options = reader.map.get("driver_opts");
        let given = options
            .and_then(Node::as_map)
            .and_then(|map| map.0.iter().find(|entry| entry.key == error.option));
        let span = given
            .map(|entry| entry.key_span)
            .or(options.map(|node| node.span))
            .unwrap_or(reader.node.span);
        let message = format!("`{}.driver_opts`: {}", reader.path.join("."), error.problem);
        let _ = reader
            .report
            .error("E0009", message)
            .at(span, "these options");
    }
    Volume::read(reader)
}

fields::volume!(reads);

fn name(reader: &mut Reader<'_>) -> String {
    reader.text("name")
}

pub(super) fn file_object(reader: &mut Reader<'_>) -> FileObject {
    let source = match (
        reader.string("file"),
        reader.string("environment"),
        reader.string("content"),
    ) {
        _ if reader.flag("external") => {
            if let Some(node) = reader.map.get("external") {
                let path = reader.path.clone();
                let kind = path[0].trim_end_matches('s').to_owned();
                reader.inert.refuse(
                    &path,
                    node.span,
                    &format!("an external {kind}"),
                    reader.report,
                );
            }
            FileSource::External
        }
        (Some(path), _, _) => FileSource::File(PathBuf::from(path)),
        (None, Some(name), _) => FileSource::Environment(name),
        (None, None, content) => FileSource::Content(content.unwrap_or_default()),
    };
    FileObject {
        name: reader.text("name"),
        source,
        labels: reader.table("labels"),
    }
}

/// The mounts of `volumes` and `tmpfs`.
pub(super) fn mounts(reader: &mut Reader<'_>) -> Vec<Mount> {
    let mut mounts = Vec::new();
    let items = reader.items("volumes");
    for (index, node) in items.iter().enumerate() {
        let mut item = reader.item(node, "volumes", index);
        if let Some(mount) = mount(&mut item) {
            mounts.push(mount);
        }
    }
    for node in reader.items("tmpfs") {
        let Some(text) = node.scalar_text() else {
            continue;
        };
        match tmpfs(&text) {
            Ok(mount) => mounts.push(mount),
            Err(option) => {
                let message = format!(
                    "`{}.tmpfs`: `{option}` is not an option of a tmpfs",
                    reader.path.join(".")
                );
                let _ = reader
                    .report
                    .error("E0009", message)
                    .at(node.span, "this value");
            }
        }
    }
    mounts
}

pub(super) fn volumes_from(reader: &mut Reader<'_>, key: &str) -> Vec<String> {
    let mut sources = Vec::new();
    for node in reader.items(key) {
        let Some(text) = node.scalar_text() else {
            continue;
        };
        if VolumesFrom::parse(&text).is_none() {
            let message = format!(
                "`{}.volumes_from`: `{text}` is not a source of volumes",
                reader.path.join(".")
            );
            let _ = reader
                .report
                .error("E0009", message)
                .at(node.span, "SERVICE[:ro|:rw] or container:NAME[:ro|:rw]");
        }
        sources.push(text);
    }
    sources
}

/// Targets of mounts that have no section of their kind.
pub(super) fn bare_mounts(reader: &Reader<'_>) -> Vec<String> {
    let text = |node: &Node, key: &str| {
        node.at(&[key])
            .and_then(Node::scalar_text)
            .unwrap_or_default()
    };
    let bare =
        |node: &&Node| node.at(&[&text(node, "type")]).is_none() && is_ours(&text(node, "type"));
    reader
        .items("volumes")
        .iter()
        .filter(bare)
        .map(|node| text(node, "target"))
        .collect()
}

fn is_ours(kind: &str) -> bool {
    matches!(kind, "volume" | "bind" | "tmpfs")
}

fn mount(reader: &mut Reader<'_>) -> Option<Mount> {
    let kind = reader.text("type");
    let source = reader.string("source").filter(|source| !source.is_empty());
    let source = match kind.as_str() {
        "volume" => {
            let section = reader.section("volume");
            let nocopy = section
                .as_ref()
                .is_some_and(|section| section.flag("nocopy"));
            let subpath = section.and_then(|section| section.string("subpath"));
            // Labels of SELinux and propagation say nothing about a volume, and are printed.
            reader.carry("bind");
            MountSource::Volume {
                name: source,
                nocopy,
                subpath,
            }
        }
        "bind" => {
            let section = reader.section("bind");
            let text = |key: &str| section.as_ref().and_then(|section| section.string(key));
            let create = section
                .as_ref()
                .and_then(|section| section.boolean("create_host_path"));
            MountSource::Bind {
                path: PathBuf::from(source.unwrap_or_default()),
                create_host_path: create.unwrap_or(true),
                propagation: text("propagation"),
                selinux: text("selinux"),
            }
        }
        "tmpfs" => {
            let mut section = reader.section("tmpfs");
            MountSource::Tmpfs {
                size: section
                    .as_mut()
                    .and_then(|section| section.number("size"))
                    .filter(|size| *size != 0),
                mode: section.as_mut().and_then(|section| section.number("mode")),
                uid: None,
                gid: None,
                options: Vec::new(),
            }
        }
        // It is not a mount, which was reported.
        "" => return None,
        other => {
            let path = reader.path.clone();
            reader.inert.not_yet(
                &path,
                reader.node,
                &format!("a mount of type `{other}`"),
                reader.report,
            );
            return None;
        }
    };
    let target = reader.text("target");
    if !target.starts_with('/') {
        let path = reader.path.clone();
        reader.inert.refuse(
            &path,
            reader.node.span,
            &format!("the target `{target}`, which is not absolute,"),
            reader.report,
        );
    }
    Some(Mount {
        target,
        read_only: reader.flag("read_only"),
        source,
        consistency: reader.string("consistency"),
    })
}

/// Options of a tmpfs that are a word. The last of those that contradict each other counts.
const TMPFS_WORDS: [&str; 13] = [
    "exec",
    "noexec",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "noatime",
    "relatime",
    "strictatime",
    "diratime",
    "nodiratime",
    "sync",
    "dirsync",
];

/// `PATH[:OPTION[,OPTION]]` of the `tmpfs` attribute; on failure the unknown option.
pub(crate) fn tmpfs(text: &str) -> Result<Mount, String> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let mut mount = Mount {
        target: crate::paths::clean(target),
        read_only: false,
        source: MountSource::Tmpfs {
            size: None,
            mode: None,
            uid: None,
            gid: None,
            options: Vec::new(),
        },
        consistency: None,
    };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let MountSource::Tmpfs {
            size,
            mode,
            uid,
            gid,
            options,
        } = &mut mount.source
        else {
            continue;
        };
        let unknown = || option.to_owned();
        match key {
            "ro" => mount.read_only = true,
            "rw" => mount.read_only = false,
            word if value.is_empty() && TMPFS_WORDS.contains(&word) => {
                options.push(option.to_owned())
            }
            "nr_inodes" | "nr_blocks" | "mpol" if !value.is_empty() => {
                options.push(option.to_owned())
            }
            "size"
                if value
                    .strip_suffix('%')
                    .is_some_and(|part| part.parse::<u8>().is_ok()) =>
            {
                options.push(option.to_owned());
            }
            "size" => {
                let bytes = units::bytes(value).and_then(|bytes| u64::try_from(bytes).ok());
                *size = Some(bytes.ok_or_else(unknown)?);
            }
            "mode" => *mode = Some(u32::from_str_radix(value, 8).map_err(|_| unknown())?),
            "uid" => *uid = Some(value.parse().map_err(|_| unknown())?),
            "gid" => *gid = Some(value.parse().map_err(|_| unknown())?),
            _ => return Err(unknown()),
        }
    }
    Ok(mount)
}

pub(super) fn secrets(reader: &mut Reader<'_>, key: &str) -> Vec<FileMount> {
    file_mounts(reader, key, "/run/secrets")
}

pub(super) fn configs(reader: &mut Reader<'_>, key: &str) -> Vec<FileMount> {
    file_mounts(reader, key, "")
}

/// `folder` is where those with a relative target, or none, are.
fn file_mounts(reader: &mut Reader<'_>, key: &str, folder: &str) -> Vec<FileMount> {
    let mut mounts = Vec::new();
    let items = reader.items(key);
    for (index, node) in items.iter().enumerate() {
        let mut item = reader.item(node, key, index);
        let source = item.text("source");
        let target = match item.string("target") {
            Some(target) if target.starts_with('/') => target,
            Some(target) => format!("{folder}/{target}"),
            None => format!("{folder}/{source}"),
        };
        let mode = mode(&item);
        mounts.push(FileMount {
            source,
            target,
            uid: item.parsed("uid", "a numeric id"),
            gid: item.parsed("gid", "a numeric id"),
            mode,
        });
    }
    mounts
}

/// Permission bits of a secret or config.
pub(super) fn mode(reader: &Reader<'_>) -> Option<u32> {
    reader
        .string("mode")
        .and_then(|text| u32::from_str_radix(&text, 8).ok())
}
