//! `build`.

use crate::model::{Build, BuildSecret, BuildSsh};

use super::{Reader, storage, ulimits};

pub(super) fn build(reader: &mut Reader<'_>) -> Build {
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
        shm_size: reader.number("shm_size"),
        extra_hosts: reader.hosts("extra_hosts"),
        platforms: reader.strings("platforms"),
        ulimits: ulimits(reader),
        privileged: reader.flag("privileged"),
        entitlements: reader.strings("entitlements"),
        additional_contexts: reader.table("additional_contexts"),
        cache_from: reader.strings("cache_from"),
        cache_to: reader.strings("cache_to"),
        no_cache_filter: reader.strings("no_cache_filter"),
        secrets: secrets(reader),
        ssh: reader.strings("ssh").iter().map(|text| ssh(text)).collect(),
        provenance: reader.string("provenance"),
        sbom: reader.string("sbom"),
    }
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
