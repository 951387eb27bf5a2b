//! `build`.

use serde_json::Value;

use crate::fields;
use crate::model::{Build, BuildSecret, BuildSsh};

use super::Object;
use super::kinds::{self, prints};
use super::service::ownership;

pub(super) fn build(object: &mut Object, key: &str, build: &Option<Build>) {
    let Some(build) = build else { return };
    let mut section = Object::default();
    section.put("context", build.context.clone());
    match &build.dockerfile_inline {
        Some(inline) => section.put("dockerfile_inline", inline.clone()),
        None => section.text_or_empty("dockerfile", &build.dockerfile),
    }
    build.print(&mut section);
    object.put(key, section.0);
}

fields::build!(prints);

pub(super) fn secrets(object: &mut Object, key: &str, secrets: &[BuildSecret]) {
    object.list(key, secrets.iter().map(secret).collect());
}

pub(super) fn ssh(object: &mut Object, key: &str, agents: &[BuildSsh]) {
    let ssh = agents.iter().map(|ssh| match &ssh.path {
        Some(path) => Value::from(format!("{}={path}", ssh.id)),
        None => Value::from(ssh.id.clone()),
    });
    object.list(key, ssh.collect());
}

fn secret(secret: &BuildSecret) -> Value {
    let BuildSecret {
        source,
        target,
        uid,
        gid,
        mode,
    } = secret;
    let mut object = Object::default();
    object.put("source", source.clone());
    object.text("target", target.as_ref());
    ownership(&mut object, *uid, *gid, *mode);
    object.done()
}
