//! Owns the reading of a stack from the real file system, and finding a project's name without one.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use hoist_spec::model::FileSource;
use hoist_spec::{Kind, LoadRequest, Loaded, Source, SourceError};

use crate::error::{Failure, Result};
use crate::render::Ui;
use crate::settings::{Settings, flag};

/// The real file system and standard input.
#[derive(Debug)]
struct FileSystem {
    working_dir: PathBuf,
}

impl Source for FileSystem {
    fn read(&self, path: &Path) -> Result<String, SourceError> {
        let bytes = std::fs::read(path).map_err(source_error)?;
        String::from_utf8(bytes).map_err(|_| SourceError::NotText)
    }

    fn kind(&self, path: &Path) -> Kind {
        match std::fs::metadata(path) {
            Ok(meta) if meta.is_dir() => Kind::Directory,
            Ok(_) => Kind::File,
            Err(_) => Kind::Missing,
        }
    }

    fn working_dir(&self) -> PathBuf {
        self.working_dir.clone()
    }

    fn stdin(&self) -> Result<String, SourceError> {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).map_err(source_error)?;
        String::from_utf8(bytes).map_err(|_| SourceError::NotText)
    }
}

fn source_error(error: std::io::Error) -> SourceError {
    match error.kind() {
        std::io::ErrorKind::NotFound => SourceError::NotFound,
        std::io::ErrorKind::IsADirectory => SourceError::IsDirectory,
        std::io::ErrorKind::PermissionDenied => SourceError::PermissionDenied,
        _ => SourceError::Other(error.to_string()),
    }
}

/// What the caller wants of the files.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wish<'a> {
    /// Services named on the command line.
    pub(crate) services: &'a [String],
    /// For printing only: carry what cannot be acted on.
    pub(crate) only_print: bool,
    /// Take the services of every profile.
    pub(crate) all_profiles: bool,
}

/// Reads the stack; warnings go to standard error, errors come back all at once.
pub(crate) fn load(settings: &Settings, ui: Ui, wish: Wish<'_>) -> Result<Loaded> {
    let loaded = read(settings, wish)?;
    for warning in &loaded.warnings {
        ui.diagnostic(warning);
    }
    Ok(loaded)
}

fn read(settings: &Settings, wish: Wish<'_>) -> Result<Loaded> {
    hoist_spec::load(&request(settings, wish), &file_system(settings), &settings.env).map_err(Failure::spec)
}

pub(crate) fn file_system(settings: &Settings) -> impl Source {
    FileSystem { working_dir: settings.working_dir.clone() }
}

/// What the options say about the files.
pub(crate) fn request(settings: &Settings, wish: Wish<'_>) -> LoadRequest {
    LoadRequest {
        files: settings.files.clone(),
        project_dir: settings.project_directory.clone(),
        project_name: settings.project_name.clone(),
        env_files: settings.env_files.clone(),
        profiles: if wish.all_profiles { vec!["*".to_owned()] } else { settings.profiles.clone() },
        services: wish.services.to_vec(),
        allow_unsupported: wish.only_print,
        ..LoadRequest::default()
    }
}

/// A stack that may be known by its name alone: `down`, `ps`, `stop` and their kind work without the file when -p
/// (or COMPOSE_PROJECT_NAME) says which one is meant.
#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) name: String,
    /// `None`: there was no file to read.
    pub(crate) loaded: Option<Loaded>,
}

/// Services of all profiles count, so that `down` and `stop` also reach those that are not active now.
pub(crate) fn find(settings: &Settings, ui: Ui, services: &[String]) -> Result<Project> {
    if let Some(name) = &settings.project_name
        && settings.files.is_empty()
    {
        return Ok(Project { name: name.clone(), loaded: None });
    }
    match load(settings, ui, Wish { services, all_profiles: true, only_print: true }) {
        Ok(loaded) => Ok(Project { name: loaded.stack.name.clone(), loaded: Some(loaded) }),
        Err(failure) => match settings.env.get("COMPOSE_PROJECT_NAME") {
            Some(name) if !name.is_empty() && settings.files.is_empty() => {
                Ok(Project { name: name.to_owned(), loaded: None })
            }
            _ => Err(failure),
        },
    }
}

/// COMPOSE_REMOVE_ORPHANS, from the environment or the project's .env.
pub(crate) fn removes_orphans(settings: &Settings, loaded: Option<&Loaded>) -> Result<bool> {
    let name = "COMPOSE_REMOVE_ORPHANS";
    match loaded.and_then(|loaded| loaded.variables.get(name)) {
        Some(value) => flag(&[(name, value.as_str())].into_iter().collect(), name),
        None => flag(&settings.env, name),
    }
}

/// The values of `environment:` secrets and configs. They travel beside the stack, never in it.
pub(crate) fn environment_values(loaded: &Loaded) -> Result<BTreeMap<String, String>> {
    let stack = &loaded.stack;
    let objects = [("secret", &stack.secrets), ("config", &stack.configs)];
    let mut values = BTreeMap::new();
    for (what, (key, object)) in objects.iter().flat_map(|(what, map)| map.iter().map(move |entry| (what, entry))) {
        let FileSource::Environment(variable) = &object.source else { continue };
        let Some(value) = loaded.variables.get(variable) else {
            return Err(Failure::user(format!("{what} `{key}`: environment variable {variable} is not set")));
        };
        values.insert(variable.clone(), value.clone());
    }
    Ok(values)
}
