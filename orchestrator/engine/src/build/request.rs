//! A service's build section, with what the stack has beside it → what the builder is asked for.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hoist_build::{
    Agent, BuildRequest, CacheDestination, CacheMode, CacheTarget, ContextSource, DockerfileSource,
    Entitlement, Keys, NamedContext, NetworkMode, SecretBytes,
};
use hoist_image::{CachePlace, Digest, LayoutName, Reference};
use hoist_scheduler::image_reference;
use hoist_spec::cache::{CachePlace as Place, CacheSource};
use hoist_spec::model::{Build, FileSource, Stack};

use super::Wanted;
use crate::actions::StepError;
use crate::error::chain;

/// As BuildKit has it.
const MAX_SECRET: u64 = 500 << 10;

/// What travels beside a build section.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beside<'a> {
    pub(crate) stack: &'a Stack,
    /// Of the caller's environment.
    pub(crate) variables: &'a BTreeMap<String, String>,
    /// Where relative folders of caches and OCI layouts start.
    pub(crate) project_dir: &'a Path,
}

/// Reads the files of secrets: not for an async thread.
pub(super) fn request(
    wanted: &Wanted<'_>,
    platforms: Vec<String>,
    beside: Beside<'_>,
) -> Result<BuildRequest, StepError> {
    let build = wanted.build;
    let dockerfile = match &build.dockerfile_inline {
        Some(text) => DockerfileSource::Inline(text.clone()),
        None if build.dockerfile.is_empty() => DockerfileSource::default(),
        None => DockerfileSource::File(PathBuf::from(&build.dockerfile)),
    };
    // An argument without a value takes the caller's variable.
    let argument = |name: &String, value: &Option<String>| {
        value
            .clone()
            .or_else(|| beside.variables.get(name).cloned())
    };
    let mut args: BTreeMap<_, _> = build
        .args
        .iter()
        .map(|(name, value)| (name.clone(), argument(name, value)))
        .collect();
    if let Some(time) = beside.variables.get("SOURCE_DATE_EPOCH") {
        args.entry("SOURCE_DATE_EPOCH".to_owned())
            .or_insert_with(|| Some(time.clone()));
    }
    let mut tags = vec![wanted.reference.to_owned()];
    tags.extend(build.tags.iter().cloned());
    let contexts = build.additional_contexts.iter();
    Ok(BuildRequest {
        context: ContextSource::parse(&build.context),
        contexts: contexts
            .map(|(name, text)| Ok((name.clone(), context(text, beside)?)))
            .collect::<Result<_, StepError>>()?,
        dockerfile,
        args,
        target: build.target.clone(),
        labels: build.labels.clone(),
        tags,
        platforms,
        no_cache: build.no_cache,
        no_cache_filter: build.no_cache_filter.clone(),
        pull: build.pull,
        network: network(build, beside)?,
        extra_hosts: build
            .extra_hosts
            .iter()
            .flat_map(|(name, addresses)| {
                addresses
                    .iter()
                    .map(|address| (name.clone(), address.clone()))
            })
            .collect(),
        shm_size: build.shm_size,
        secrets: secrets(build, beside)?,
        ssh: agents(build, beside)?,
        entitlements: entitlements(build)?,
        cache_from: caches(&build.cache_from, beside, cache_source)?,
        cache_to: caches(&build.cache_to, beside, cache_target)?,
        ulimits: build
            .ulimits
            .iter()
            .map(|(name, limit)| (name.clone(), limit.soft, limit.hard))
            .collect(),
    })
}

/// A network of the stack is named by its key; any other one of the engine's by its own name.
fn network(build: &Build, beside: Beside<'_>) -> Result<NetworkMode, StepError> {
    match NetworkMode::parse(build.network.as_deref().unwrap_or_default()) {
        NetworkMode::Named(name) if name.contains(':') => Err(StepError::new(format!(
            "build.network {name}: a RUN step has interfaces of its own; name a network that the container is in"
        ))),
        NetworkMode::Named(name) => {
            let of_stack = beside
                .stack
                .networks
                .get(&name)
                .map(|network| network.name.clone());
            Ok(NetworkMode::Named(of_stack.unwrap_or(name)))
        }
        mode => Ok(mode),
    }
}

fn context(text: &str, beside: Beside<'_>) -> Result<NamedContext, StepError> {
    if let Some(key) = text.strip_prefix("service:") {
        let service = beside.stack.services.get(key);
        let service = service.ok_or_else(|| {
            StepError::new(format!("context {text}: there is no service {key:?}"))
        })?;
        return Ok(NamedContext::Image(image_reference(
            &beside.stack.name,
            key,
            service,
        )));
    }
    match NamedContext::parse(text)
        .map_err(|error| StepError::new(format!("context {text}: {error}")))?
    {
        NamedContext::Layout(name) => Ok(NamedContext::Layout(layout(name, beside.project_dir))),
        context => Ok(context),
    }
}

/// With an absolute folder.
fn layout(name: LayoutName, project_dir: &Path) -> LayoutName {
    LayoutName {
        folder: project_dir.join(&name.folder),
        ..name
    }
}

fn caches<T>(
    texts: &[String],
    beside: Beside<'_>,
    parse: fn(&str, &Path) -> Result<T, String>,
) -> Result<Vec<T>, StepError> {
    let one = |text: &String| {
        parse(text, beside.project_dir)
            .map_err(|problem| StepError::new(format!("cache {text}: {problem}")))
    };
    texts.iter().map(one).collect()
}

fn cache_source(text: &str, project_dir: &Path) -> Result<CachePlace, String> {
    match CacheSource::parse(text).map_err(|error| error.to_string())? {
        CacheSource::Registry { reference } => registry(&reference),
        CacheSource::Local {
            folder,
            tag,
            digest,
        } => {
            let digest = digest
                .map(|digest| Digest::parse(&digest))
                .transpose()
                .map_err(|error| error.to_string())?;
            let name = LayoutName {
                folder: PathBuf::from(folder),
                tag,
                digest,
            };
            Ok(CachePlace::Layout(layout(name, project_dir)))
        }
    }
}

fn cache_target(text: &str, project_dir: &Path) -> Result<CacheTarget, String> {
    let wanted = hoist_spec::cache::CacheTarget::parse(text).map_err(|error| error.to_string())?;
    let destination = match wanted.place {
        Place::Inline => CacheDestination::Inline,
        Place::Registry { reference } => CacheDestination::Place(registry(&reference)?),
        Place::Local { folder, tag } => {
            let name = LayoutName {
                folder: PathBuf::from(folder),
                tag,
                digest: None,
            };
            CacheDestination::Place(CachePlace::Layout(layout(name, project_dir)))
        }
    };
    let mode = if wanted.every_step {
        CacheMode::Max
    } else {
        CacheMode::Min
    };
    Ok(CacheTarget {
        destination,
        mode,
        ignore_error: wanted.ignore_error,
    })
}

fn registry(reference: &str) -> Result<CachePlace, String> {
    Reference::parse(reference)
        .map(CachePlace::Registry)
        .map_err(|error| error.to_string())
}

fn secrets(build: &Build, beside: Beside<'_>) -> Result<BTreeMap<String, SecretBytes>, StepError> {
    let mut secrets = BTreeMap::new();
    for secret in &build.secrets {
        let name = &secret.source;
        let object = beside.stack.secrets.get(name);
        let object =
            object.ok_or_else(|| StepError::new(format!("the stack has no secret {name:?}")))?;
        let bytes = match &object.source {
            FileSource::File(path) => read(name, path)?,
            FileSource::Content(text) => text.clone().into_bytes(),
            FileSource::Environment(variable) => {
                let unset = || {
                    StepError::new(format!(
                        "secret {name:?}: environment variable {variable} is not set"
                    ))
                };
                beside
                    .variables
                    .get(variable)
                    .ok_or_else(unset)?
                    .clone()
                    .into_bytes()
            }
            FileSource::External => {
                return Err(StepError::new(format!(
                    "secret {name:?} is external: give it a file or an environment"
                )));
            }
        };
        secrets.insert(
            secret.target.clone().unwrap_or_else(|| name.clone()),
            SecretBytes(bytes),
        );
    }
    Ok(secrets)
}

fn read(name: &str, path: &Path) -> Result<Vec<u8>, StepError> {
    let failed = |error: std::io::Error| {
        StepError::new(format!(
            "secret {name:?}: reading {}: {error}",
            path.display()
        ))
    };
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .map_err(failed)?
        .take(MAX_SECRET + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_SECRET {
        return Err(StepError::new(format!(
            "secret {name:?}: {} is larger than {MAX_SECRET} bytes",
            path.display()
        )));
    }
    Ok(bytes)
}

/// A path is an agent's socket, or a key, or several keys with commas between them, in the project's folder.
fn agents(build: &Build, beside: Beside<'_>) -> Result<BTreeMap<String, Agent>, StepError> {
    let mut agents = BTreeMap::new();
    for ssh in &build.ssh {
        let own = || {
            beside
                .variables
                .get("SSH_AUTH_SOCK")
                .filter(|socket| !socket.is_empty())
        };
        let Some(path) = ssh.path.as_ref().or_else(own) else {
            let message = format!(
                "ssh {}: no agent runs where the command was called (SSH_AUTH_SOCK is not set)",
                ssh.id
            );
            return Err(StepError::new(message));
        };
        let socket = beside.project_dir.join(path);
        let is_socket = std::fs::metadata(&socket)
            .is_ok_and(|kind| std::os::unix::fs::FileTypeExt::is_socket(&kind.file_type()));
        let agent = if is_socket {
            Agent::Socket(socket)
        } else {
            let files: Vec<PathBuf> = path
                .split(',')
                .map(|file| beside.project_dir.join(file))
                .collect();
            let keys = Keys::read(files.iter().map(PathBuf::as_path));
            let keys =
                keys.map_err(|error| StepError::new(format!("ssh {}: {}", ssh.id, chain(&error))))?;
            Agent::Keys(Arc::new(keys))
        };
        agents.insert(ssh.id.clone(), agent);
    }
    Ok(agents)
}

fn entitlements(build: &Build) -> Result<std::collections::BTreeSet<Entitlement>, StepError> {
    let unknown = |name: &String| {
        StepError::new(format!(
            "entitlement {name:?} is not known; there are network.host and security.insecure"
        ))
    };
    let mut found: std::collections::BTreeSet<Entitlement> = build
        .entitlements
        .iter()
        .map(|name| Entitlement::parse(name).ok_or_else(|| unknown(name)))
        .collect::<Result<_, _>>()?;
    if build.privileged {
        found.insert(Entitlement::SecurityInsecure);
    }
    Ok(found)
}
