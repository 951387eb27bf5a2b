//! `build`.

use crate::cache::{CacheError, CacheSource, CacheTarget};
use crate::model::{Build, BuildSecret, BuildSsh};

use super::service::limit;
use super::{Reader, names, storage, ulimits};

pub(super) fn build(reader: &mut Reader<'_>) -> Build {
    names::hosts(reader);
    Build {
        context: reader.text("context"),
        dockerfile: reader.text("dockerfile"),
        dockerfile_inline: reader.string("dockerfile_inline"),
        args: reader.open_table("args"),
        target: reader.string("target"),
        labels: reader.table("labels"),
        tags: reader.strings("tags"),
        network: reader.string("network"),
        no_cache: reader.flag("no_cache"),
        pull: reader.flag("pull"),
        shm_size: limit(reader, "shm_size"),
        extra_hosts: reader.hosts("extra_hosts"),
        platforms: reader.strings("platforms"),
        ulimits: ulimits(reader),
        privileged: reader.flag("privileged"),
        entitlements: reader.strings("entitlements"),
        additional_contexts: reader.table("additional_contexts"),
        cache_from: caches(reader, "cache_from", |text| CacheSource::parse(text).map(drop)),
        cache_to: caches(reader, "cache_to", |text| CacheTarget::parse(text).map(drop)),
        no_cache_filter: reader.strings("no_cache_filter"),
        secrets: secrets(reader),
        ssh: reader.strings("ssh").iter().map(|text| ssh(text)).collect(),
        provenance: reader.string("provenance"),
        sbom: reader.string("sbom"),
    }
}

/// What is not understood or not supported is refused where it stands.
fn caches(reader: &mut Reader<'_>, key: &str, check: fn(&str) -> Result<(), CacheError>) -> Vec<String> {
    for (index, node) in reader.items(key).iter().enumerate() {
        let text = node.scalar_text().unwrap_or_default();
        // A text whose variables are still in it may become anything.
        if reader.report.trusts(&text) {
            continue;
        }
        let mut path = reader.path.clone();
        path.extend([key.to_owned(), index.to_string()]);
        match check(&text) {
            Ok(()) => {}
            Err(CacheError::Unsupported(what)) => reader.inert.refuse(&path, node.span, &what, reader.report),
            Err(CacheError::Malformed(problem)) => {
                let message = format!("`{}`: {problem}", path.join("."));
                let _ = reader.report.error("E0009", message).at(node.span, "this cache");
            }
        }
    }
    reader.strings(key)
}

fn secrets(reader: &mut Reader<'_>) -> Vec<BuildSecret> {
    let items = reader.items("secrets");
    let secrets = items.iter().enumerate().map(|(index, node)| {
        let mut item = reader.item(node, "secrets", index);
        BuildSecret {
            source: item.text("source"),
            target: item.string("target"),
            uid: item.parsed("uid", "a numeric id"),
            gid: item.parsed("gid", "a numeric id"),
            mode: storage::mode(&item),
        }
    });
    secrets.collect()
}

/// `ID[=PATH]`.
fn ssh(text: &str) -> BuildSsh {
    match text.split_once('=') {
        Some((id, path)) => BuildSsh { id: id.to_owned(), path: Some(path.to_owned()) },
        None => BuildSsh { id: text.to_owned(), path: None },
    }
}
