//! The values of `hoist image build`'s options, as docker's command line writes them → the model of a stack.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hoist_spec::model::{BuildSecret, BuildSsh, FileObject, FileSource, Ulimit};

use crate::commands::build;
use crate::ctx::Ctx;
use crate::error::{Failure, Result};

/// Secrets of the stack, and what the build is granted of them.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    pub(super) objects: BTreeMap<String, FileObject>,
    pub(super) grants: Vec<BuildSecret>,
}

pub(super) fn absolute(ctx: &Ctx, path: &Path) -> Result<PathBuf> {
    let joined = ctx.settings.working_dir.join(path);
    std::fs::canonicalize(&joined).map_err(|error| {
        Failure::from(
            anyhow::Error::new(error).context(format!("cannot find {}", joined.display())),
        )
    })
}

/// A folder, made absolute, or a URL as it is.
pub(super) fn context(ctx: &Ctx, text: &str) -> Result<String> {
    if ["://", "git@"].iter().any(|mark| text.contains(mark)) || text.starts_with("github.com/") {
        return Ok(text.to_owned());
    }
    let folder = absolute(ctx, Path::new(text))?;
    if !folder.is_dir() {
        return Err(Failure::user(format!(
            "build context {} is not a folder",
            folder.display()
        )));
    }
    Ok(folder.display().to_string())
}

/// `NAME=CONTEXT`
pub(super) fn contexts(ctx: &Ctx, texts: &[String]) -> Result<BTreeMap<String, String>> {
    let pair = |text: &String| {
        let (name, value) = cut(text, "--build-context", "NAME=CONTEXT")?;
        let value = match value.strip_prefix("oci-layout://") {
            Some(layout) => format!(
                "oci-layout://{}",
                ctx.settings.working_dir.join(layout).display()
            ),
            None => context(ctx, &value)?,
        };
        Ok((name, value))
    };
    texts.iter().map(pair).collect()
}

/// `id=NAME[,src=FILE]`, `id=NAME,env=VARIABLE`; without either, the variable of that name, else the file.
pub(super) fn secrets(ctx: &Ctx, texts: &[String]) -> Result<Secrets> {
    let mut found = Secrets::default();
    for text in texts {
        let (mut id, mut file, mut variable) = (None, None, None);
        for field in text.split(',') {
            let (key, value) = cut(field, "--secret", "id=NAME,src=FILE")?;
            match key.as_str() {
                "id" => id = Some(value),
                "src" | "source" => file = Some(value),
                "env" => variable = Some(value),
                "type" if value == "file" => {}
                "type" if value == "env" => variable = variable.or_else(|| id.clone()),
                _ => {
                    return Err(
                        Failure::user(format!("--secret {text}: {field} is not known"))
                            .hint("id=NAME,src=FILE or id=NAME,env=VARIABLE"),
                    );
                }
            }
        }
        let Some(id) = id.filter(|id| !id.is_empty()) else {
            return Err(Failure::user(format!("--secret {text}: it has no id=NAME")));
        };
        let known = ctx.settings.env.0.contains_key(&id);
        let source = match (file, variable) {
            (None, Some(variable)) => FileSource::Environment(variable),
            (None, None) if known => FileSource::Environment(id.clone()),
            (file, _) => FileSource::File(absolute(
                ctx,
                Path::new(&file.unwrap_or_else(|| id.clone())),
            )?),
        };
        found.objects.insert(
            id.clone(),
            FileObject {
                name: id.clone(),
                source,
                labels: BTreeMap::new(),
            },
        );
        found.grants.push(BuildSecret {
            source: id,
            ..BuildSecret::default()
        });
    }
    Ok(found)
}

pub(super) fn agents(ctx: &Ctx, texts: &[String]) -> Vec<BuildSsh> {
    let one = |text: &String| {
        let (id, path) = build::agent(ctx, text);
        BuildSsh { id, path }
    };
    texts.iter().map(one).collect()
}

/// `HOST=ADDRESS` or `HOST:ADDRESS`
pub(super) fn hosts(texts: &[String]) -> Result<BTreeMap<String, Vec<String>>> {
    let mut hosts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for text in texts {
        let pair = text.split_once('=').or_else(|| text.split_once(':'));
        let (host, address) = pair
            .ok_or_else(|| Failure::user(format!("--add-host {text}: HOST=ADDRESS is expected")))?;
        hosts
            .entry(host.to_owned())
            .or_default()
            .push(address.trim_matches(['[', ']']).to_owned());
    }
    Ok(hosts)
}

/// `NAME=SOFT[:HARD]`
pub(super) fn ulimits(texts: &[String]) -> Result<BTreeMap<String, Ulimit>> {
    let one = |text: &String| {
        let (name, value) = cut(text, "--ulimit", "NAME=SOFT[:HARD]")?;
        let (soft, hard) = value.split_once(':').unwrap_or((&value, &value));
        let number = |text: &str| {
            text.parse::<i64>()
                .map_err(|_| Failure::user(format!("--ulimit {name}: {text:?} is not a number")))
        };
        Ok((
            name.clone(),
            Ulimit {
                soft: number(soft)?,
                hard: number(hard)?,
                single: !value.contains(':'),
            },
        ))
    };
    texts.iter().map(one).collect()
}

pub(super) fn bytes(text: &str) -> Result<u64> {
    let bytes = hoist_object::units::bytes(text).and_then(|bytes| u64::try_from(bytes).ok());
    bytes.ok_or_else(|| {
        Failure::user(format!("{text:?} is not a size")).hint("a number with k, m or g: 64m")
    })
}

fn cut(text: &str, flag: &str, form: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.trim().to_owned(), value.to_owned())),
        _ => Err(Failure::user(format!("{flag} {text}: {form} is expected"))),
    }
}
