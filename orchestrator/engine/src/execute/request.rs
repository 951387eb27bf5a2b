//! From a request on the wire to what the planner takes: the desired stack with the digests of its files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use hoist_api::ApplyRequest;
use hoist_object::StackDoc;
use hoist_scheduler::{Desired, Run, Verb, oneoff_name, with_dependencies};
use hoist_spec::canonical;
use hoist_spec::model::{FileMount, FileObject, FileSource, Service, Stack};
use hoist_spec::name;
use hoist_spec::size::{self, TooMany};
use sha2::{Digest, Sha256};

use crate::contents;
use crate::engine::{Engine, ShuttingDown, now};

#[derive(Debug, thiserror::Error)]
pub(crate) enum PrepareError {
    #[error("the stack is not in canonical form: {0}")]
    Stack(String),
    #[error("neither a stack nor the name of a project was given")]
    NoProject,
    #[error(
        "project name {0:?} must begin with a letter or digit and go on with letters, digits, `_` and `-`"
    )]
    Name(String),
    #[error("{kind} {key:?}: reading {path}")]
    File {
        kind: &'static str,
        key: String,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{text:?} cannot be {what}")]
    Word { what: &'static str, text: String },
    #[error(transparent)]
    Size(#[from] TooMany),
    #[error(transparent)]
    ShuttingDown(#[from] ShuttingDown),
}

#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) desired: Desired,
    /// To be kept as the stack's last applied form; only verbs that bring things about keep it.
    pub(crate) document: Option<StackDoc>,
}

pub(crate) fn oneoff(project: &str, run: &Run) -> String {
    run.name
        .clone()
        .unwrap_or_else(|| oneoff_name(project, &run.service, &run.suffix))
}

fn parse(value: &serde_json::Value) -> Result<Stack, PrepareError> {
    canonical::from_json(value).map_err(|diagnostics| {
        let texts: Vec<String> = diagnostics
            .iter()
            .map(|diagnostic| diagnostic.message.clone())
            .collect();
        PrepareError::Stack(texts.join("; "))
    })
}

/// Names become file names.
fn check_name(name: &str) -> Result<(), PrepareError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let good = name
        .bytes()
        .next()
        .is_some_and(|first| first.is_ascii_alphanumeric())
        && name.bytes().all(plain);
    if good && name.len() < 200 {
        Ok(())
    } else {
        Err(PrepareError::Name(name.to_owned()))
    }
}

pub(crate) async fn prepare(
    engine: &Arc<Engine>,
    request: &ApplyRequest,
) -> Result<Prepared, PrepareError> {
    let prepared = if request.stack.is_null() {
        recorded(engine, &request.project, &request.verb).await?
    } else {
        sent(engine, request).await?
    };
    affordable(&prepared.desired.stack, &request.verb)?;
    if let Verb::Run(run) = &request.verb {
        named_well(run)?;
    }
    Ok(prepared)
}

/// What a request adds to a service is judged as what the file says of one.
fn named_well(run: &Run) -> Result<(), PrepareError> {
    let names = run.name.iter().map(|name| {
        (
            "a container name",
            name,
            name::is_object as fn(&str) -> bool,
        )
    });
    let variables = run.environment.keys().map(|name| {
        (
            "a variable's name",
            name,
            name::is_variable as fn(&str) -> bool,
        )
    });
    let suffix = [(
        "part of a container name",
        &run.suffix,
        name::is_object as fn(&str) -> bool,
    )];
    let mut all = names.chain(variables).chain(
        suffix
            .into_iter()
            .filter(|(_, suffix, _)| !suffix.is_empty()),
    );
    match all.find(|(_, text, good)| !good(text)) {
        Some((what, text, _)) => Err(PrepareError::Word {
            what,
            text: text.clone(),
        }),
        None => Ok(()),
    }
}

/// The numbers of a request count like those of a file.
fn affordable(stack: &Stack, verb: &Verb) -> Result<(), TooMany> {
    let scale = match verb {
        Verb::Up(up) => &up.scale,
        Verb::Create(create) => &create.scale,
        Verb::Scale(scale) => &scale.scale,
        // These make nothing, or one.
        _ => return Ok(()),
    };
    size::check(stack, scale)
}

async fn sent(engine: &Arc<Engine>, request: &ApplyRequest) -> Result<Prepared, PrepareError> {
    let makes = matches!(
        request.verb,
        Verb::Up(_) | Verb::Create(_) | Verb::Scale(_) | Verb::Run(_)
    );
    let stack = match (parse(&request.stack), request.stack["name"].as_str()) {
        (Ok(stack), _) => stack,
        // Existing containers can be stopped and removed regardless of the current file.
        (Err(_), Some(name)) if !makes => return recorded(engine, name, &request.verb).await,
        (Err(error), _) => return Err(error),
    };
    check_name(&stack.name)?;
    let name = stack.name.clone();
    let earlier = engine
        .look(move |world| world.stacks.get(&name).cloned())
        .await?;
    let makers = made(&stack, &request.verb);
    let needed = |files: fn(&Service) -> &[FileMount]| -> BTreeSet<&str> {
        let services = stack
            .services
            .iter()
            .filter(|(name, _)| makers.contains(*name));
        services
            .flat_map(|(_, service)| files(service))
            .map(|file| file.source.as_str())
            .collect()
    };
    let variables = &request.variables;
    let secrets = Wanted {
        needed: needed(|service| &service.secrets),
        earlier: earlier.as_ref().map(|doc| &doc.secrets),
    };
    let configs = Wanted {
        needed: needed(|service| &service.configs),
        earlier: earlier.as_ref().map(|doc| &doc.configs),
    };
    let desired = Desired {
        secrets: digests("secret", &stack.secrets, variables, &secrets)?,
        configs: digests("config", &stack.configs, variables, &configs)?,
        working_dir: PathBuf::from(&request.project_dir),
        files: request.files.iter().map(PathBuf::from).collect(),
        stack,
    };
    let document = makes.then(|| StackDoc {
        name: desired.stack.name.clone(),
        stack: request.stack.clone(),
        project_dir: desired.working_dir.clone(),
        files: desired.files.clone(),
        secrets: desired.secrets.clone(),
        configs: desired.configs.clone(),
        applied: now(),
    });
    Ok(Prepared { desired, document })
}

/// Without a file: the stack as it was last applied. `down` and supervision go by the records alone, since they mean
/// everything that there is.
async fn recorded(
    engine: &Arc<Engine>,
    project: &str,
    verb: &Verb,
) -> Result<Prepared, PrepareError> {
    if project.is_empty() {
        return Err(PrepareError::NoProject);
    }
    check_name(project)?;
    let by_records = matches!(verb, Verb::Down(_) | Verb::Supervise);
    let name = project.to_owned();
    let document = engine
        .look(move |world| world.stacks.get(&name).cloned())
        .await?;
    let desired = match document.filter(|_| !by_records) {
        None => Desired::unknown(project.to_owned()),
        Some(document) => Desired {
            stack: parse(&document.stack)?,
            secrets: document.secrets,
            configs: document.configs,
            working_dir: document.project_dir,
            files: document.files,
        },
    };
    Ok(Prepared {
        desired,
        document: None,
    })
}

/// Services that the verb may make containers of.
fn made(stack: &Stack, verb: &Verb) -> BTreeSet<String> {
    let (named, alone) = match verb {
        Verb::Up(up) => (up.services.clone(), up.no_deps),
        Verb::Create(create) => (create.services.clone(), false),
        Verb::Scale(scale) => (scale.scale.keys().cloned().collect(), scale.no_deps),
        Verb::Run(run) => (BTreeSet::from([run.service.clone()]), run.no_deps),
        _ => return BTreeSet::new(),
    };
    match (named.is_empty(), alone) {
        (true, _) => stack.services.keys().cloned().collect(),
        (false, true) => named,
        (false, false) => with_dependencies(stack, &named),
    }
}

/// Which contents a request depends on.
struct Wanted<'a> {
    needed: BTreeSet<&'a str>,
    /// Digests of when the stack was last applied: they stand for what cannot be read and is not needed.
    earlier: Option<&'a BTreeMap<String, String>>,
}

/// Digests of contents, so that changed content replaces the containers that have it. What cannot be had yet (an unset
/// variable, external objects) is left to the step that needs it, which names the service; a file that cannot be read is
/// an error only where containers that have it are made.
fn digests(
    kind: &'static str,
    objects: &BTreeMap<String, FileObject>,
    variables: &BTreeMap<String, String>,
    wanted: &Wanted<'_>,
) -> Result<BTreeMap<String, String>, PrepareError> {
    let mut digests = BTreeMap::new();
    for (key, object) in objects {
        let content = match &object.source {
            // Its content is visible as is, without recreating the container.
            FileSource::File(path) if contents::is_folder(path) => {
                path.as_os_str().as_encoded_bytes().to_vec()
            }
            FileSource::File(path) => match contents::read(path) {
                Ok(content) => content,
                Err(_) if !wanted.needed.contains(key.as_str()) => {
                    let known = wanted.earlier.and_then(|earlier| earlier.get(key));
                    digests.extend(known.map(|digest| (key.clone(), digest.clone())));
                    continue;
                }
                Err(source) => {
                    return Err(PrepareError::File {
                        kind,
                        key: key.clone(),
                        path: path.clone(),
                        source,
                    });
                }
            },
            FileSource::Content(text) => text.clone().into_bytes(),
            FileSource::Environment(variable) => match variables.get(variable) {
                Some(value) => value.clone().into_bytes(),
                None => continue,
            },
            FileSource::External => continue,
        };
        digests.insert(key.clone(), hex::encode(Sha256::digest(&content)));
    }
    Ok(digests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn project_names_cannot_be_paths() {
        for bad in ["", "..", "a/b", "-x"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert!(check_name("shop_1-a").is_ok());
    }

    #[test]
    fn a_file_that_is_gone_matters_only_to_what_needs_it() {
        let gone = FileObject {
            name: "key".to_owned(),
            source: FileSource::File("/nonexistent/key".into()),
            labels: BTreeMap::new(),
        };
        let objects = BTreeMap::from([("key".to_owned(), gone)]);
        let earlier = BTreeMap::from([("key".to_owned(), "digest".to_owned())]);
        let digests = |needed: &[&'static str]| {
            let wanted = Wanted {
                needed: needed.iter().copied().collect(),
                earlier: Some(&earlier),
            };
            digests("secret", &objects, &BTreeMap::new(), &wanted)
        };
        assert!(matches!(digests(&["key"]), Err(PrepareError::File { .. })));
        assert_eq!(digests(&[]).unwrap(), earlier);
    }

    #[test]
    fn a_million_replicas_are_refused_wherever_they_are_asked_for() {
        let mut stack = Stack::default();
        stack.services.insert(
            "a".to_owned(),
            hoist_spec::model::Service {
                replicas: 1,
                ..Default::default()
            },
        );
        let scale = |count| std::iter::once(("a".to_owned(), count)).collect::<BTreeMap<_, _>>();
        let verbs = |count| {
            [
                Verb::Up(hoist_scheduler::Up {
                    scale: scale(count),
                    ..Default::default()
                }),
                Verb::Create(hoist_scheduler::Create {
                    scale: scale(count),
                    ..Default::default()
                }),
                Verb::Scale(hoist_scheduler::Scale {
                    scale: scale(count),
                    no_deps: false,
                }),
            ]
        };
        for verb in verbs(1_000_000) {
            let error = affordable(&stack, &verb).unwrap_err();
            assert_eq!(
                error.to_string(),
                "service `a` has 1000000 replicas; 1000 is the most"
            );
        }
        assert!(
            verbs(1000)
                .iter()
                .all(|verb| affordable(&stack, verb).is_ok())
        );
    }

    #[test]
    fn what_a_run_adds_is_judged_like_a_service() {
        let named = |name: &str| Run {
            name: Some(name.to_owned()),
            ..Run::default()
        };
        assert!(named_well(&named("job-1")).is_ok());
        for bad in ["../x", "a b", "a\nb", ""] {
            assert!(named_well(&named(bad)).is_err(), "{bad:?}");
            assert!(
                named_well(&Run {
                    suffix: format!("a{bad}\n"),
                    ..Run::default()
                })
                .is_err()
            );
        }
        for bad in ["A=B", "A\nB", ""] {
            let environment = [(bad.to_owned(), Some("x".to_owned()))].into();
            assert!(
                named_well(&Run {
                    environment,
                    ..Run::default()
                })
                .is_err(),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn missing_secret_file_is_named() {
        let object = FileObject {
            name: "key".into(),
            source: FileSource::File("/nonexistent/key".into()),
            labels: BTreeMap::new(),
        };
        let objects = BTreeMap::from([("key".to_owned(), object)]);
        let wanted = |needed: &[&'static str]| Wanted {
            needed: needed.iter().copied().collect(),
            earlier: None,
        };
        assert_eq!(
            digests("secret", &objects, &BTreeMap::new(), &wanted(&[])).unwrap(),
            BTreeMap::new()
        );
        let error = digests("secret", &objects, &BTreeMap::new(), &wanted(&["key"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "secret \"key\": reading /nonexistent/key"
        );
    }
}
