//! `build`.

use crate::model::Build;

use super::Reader;

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
    }
}
