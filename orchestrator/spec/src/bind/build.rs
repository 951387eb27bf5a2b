//! `build`.

use crate::cache::{CacheError, CacheSource, CacheTarget};
use crate::fields;
use crate::model::{Build, BuildSecret, BuildSsh};

use super::kinds::{self, reads};
use super::{Reader, names, storage};

pub(super) fn build(reader: &mut Reader<'_>, key: &str) -> Option<Build> {
    let mut section = reader.section(key)?;
    names::hosts(&mut section);
    Some(Build::read(&mut section))
}

fields::build!(reads);

fn context(reader: &mut Reader<'_>) -> String {
    reader.text("context")
}

fn dockerfile(reader: &mut Reader<'_>) -> String {
    reader.text("dockerfile")
}

fn dockerfile_inline(reader: &mut Reader<'_>) -> Option<String> {
    reader.string("dockerfile_inline")
}

pub(super) fn cache_from(reader: &mut Reader<'_>, key: &str) -> Vec<String> {
    caches(reader, key, |text| CacheSource::parse(text).map(drop))
}

pub(super) fn cache_to(reader: &mut Reader<'_>, key: &str) -> Vec<String> {
    caches(reader, key, |text| CacheTarget::parse(text).map(drop))
}

/// What is not understood or not supported is refused where it stands.
fn caches(
    reader: &mut Reader<'_>,
    key: &str,
    check: fn(&str) -> Result<(), CacheError>,
) -> Vec<String> {
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
            Err(CacheError::Unsupported(what)) => {
                reader.inert.refuse(&path, node.span, &what, reader.report)
            }
            Err(CacheError::Malformed(problem)) => {
                let message = format!("`{}`: {problem}", path.join("."));
                let _ = reader
                    .report
                    .error("E0009", message)
                    .at(node.span, "this cache");
            }
        }
    }
    reader.strings(key)
}

pub(super) fn secrets(reader: &mut Reader<'_>, key: &str) -> Vec<BuildSecret> {
    let items = reader.items(key);
    let secrets = items.iter().enumerate().map(|(index, node)| {
        let mut item = reader.item(node, key, index);
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
pub(super) fn ssh(reader: &mut Reader<'_>, key: &str) -> Vec<BuildSsh> {
    let agents = reader
        .strings(key)
        .into_iter()
        .map(|text| match text.split_once('=') {
            Some((id, path)) => BuildSsh {
                id: id.to_owned(),
                path: Some(path.to_owned()),
            },
            None => BuildSsh {
                id: text,
                path: None,
            },
        });
    agents.collect()
}
