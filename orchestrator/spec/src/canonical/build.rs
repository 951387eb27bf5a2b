//! `build`.

use serde_json::Value;

use crate::model::{Build, BuildSecret};

use super::Object;
use super::service::{ownership, ulimits};

pub(super) fn build(build: &Build) -> Value {
    let mut object = Object::default();
    object.put("context", build.context.clone());
    match &build.dockerfile_inline {
        Some(inline) => object.put("dockerfile_inline", inline.clone()),
        None => object.text_or_empty("dockerfile", &build.dockerfile),
    }
    object.open_table("args", &build.args);
    object.text("target", build.target.as_ref());
    object.table("labels", &build.labels);
    object.strings("tags", &build.tags);
    object.text("network", build.network.as_ref());
    object.flag("no_cache", build.no_cache);
    object.flag("pull", build.pull);
    object.bytes("shm_size", build.shm_size);
    object.hosts("extra_hosts", &build.extra_hosts);
    object.strings("platforms", &build.platforms);
    object.section("ulimits", ulimits(&build.ulimits));
    object.flag("privileged", build.privileged);
    object.strings("entitlements", &build.entitlements);
    object.table("additional_contexts", &build.additional_contexts);
    object.strings("cache_from", &build.cache_from);
    object.strings("cache_to", &build.cache_to);
    object.strings("no_cache_filter", &build.no_cache_filter);
    object.list("secrets", build.secrets.iter().map(secret).collect());
    let ssh = build.ssh.iter().map(|ssh| match &ssh.path {
        Some(path) => Value::from(format!("{}={path}", ssh.id)),
        None => Value::from(ssh.id.clone()),
    });
    object.list("ssh", ssh.collect());
    object.text("provenance", build.provenance.as_ref());
    object.text("sbom", build.sbom.as_ref());
    object.done()
}

fn secret(secret: &BuildSecret) -> Value {
    let mut object = Object::default();
    object.put("source", secret.source.clone());
    object.text("target", secret.target.as_ref());
    ownership(&mut object, secret.uid, secret.gid, secret.mode);
    object.done()
}
