//! Owns the reading of a stack from the real file system, and finding a project's name without one.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use hoist_spec::model::{FileSource, Stack};
use hoist_spec::{Env, Kind, LoadRequest, Loaded, MAX_FILE, Source, SourceError};

use crate::error::{Failure, Result};
use crate::options::Global;
use crate::render::Ui;
use crate::settings::Settings;

/// The real file system and standard input.
#[derive(Debug)]
struct FileSystem {
    working_dir: PathBuf,
}

impl Source for FileSystem {
    fn read(&self, path: &Path) -> Result<String, SourceError> {
        text(std::fs::File::open(path).map_err(source_error)?)
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
        text(std::io::stdin().lock())
    }
}

/// A device or a pipe may be endless.
fn text(from: impl Read) -> Result<String, SourceError> {
    let mut bytes = Vec::new();
    from.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(source_error)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(SourceError::TooLarge);
    }
    hoist_spec::decode(bytes)
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
pub(crate) struct LoadOptions<'a> {
    /// Services named on the command line.
    pub(crate) services: &'a [String],
    /// For printing only: carry what cannot be acted on.
    pub(crate) only_print: bool,
    /// Take the services of every profile.
    pub(crate) all_profiles: bool,
    /// The request is about existing objects: inputs needed only to create containers may be missing.
    pub(crate) nothing_is_made: bool,
}

/// The variables that set options of this program, from the environment and the project's env files.
pub(crate) fn option_variables(global: &Global, env: &Env) -> Env {
    // Without a working directory there are no files, which is said where they are needed.
    let source = FileSystem {
        working_dir: std::env::current_dir().unwrap_or_default(),
    };
    let request = LoadRequest {
        files: global.files.clone(),
        project_dir: global.project_directory.clone(),
        env_files: global.env_files.clone(),
        ..LoadRequest::default()
    };
    hoist_spec::option_variables(&request, &source, env)
}

/// Reads the stack; warnings go to standard error, errors come back all at once.
pub(crate) fn load(settings: &Settings, ui: Ui, options: LoadOptions<'_>) -> Result<Loaded> {
    let mut loaded = read(settings, options)?;
    if !options.only_print {
        default_platform(&mut loaded)?;
    }
    for warning in &loaded.warnings {
        ui.diagnostic(warning);
    }
    Ok(loaded)
}

/// DOCKER_DEFAULT_PLATFORM is the platform of services that name none. `config` does not print it, as in docker compose.
pub(crate) fn default_platform(loaded: &mut Loaded) -> Result<()> {
    let name = "DOCKER_DEFAULT_PLATFORM";
    let Some(platform) = loaded
        .variables
        .get(name)
        .filter(|platform| !platform.is_empty())
    else {
        return Ok(());
    };
    for (key, service) in &mut loaded.stack.services {
        let built = service
            .build
            .as_ref()
            .map(|build| &build.platforms)
            .filter(|platforms| !platforms.is_empty());
        if service.platform.is_none()
            && built.is_some_and(|platforms| !platforms.contains(platform))
        {
            return Err(Failure::user(format!(
                "service `{key}`: build.platforms lacks {platform}, which {name} asks for"
            ))
            .hint(format!(
                "add it to build.platforms, set `platform` at the service, or unset {name}"
            )));
        }
        service.platform.get_or_insert_with(|| platform.clone());
    }
    Ok(())
}

fn read(settings: &Settings, options: LoadOptions<'_>) -> Result<Loaded> {
    hoist_spec::load(
        &request(settings, options),
        &file_system(settings),
        &settings.env,
    )
    .map_err(Failure::spec)
}

pub(crate) fn file_system(settings: &Settings) -> impl Source {
    FileSystem {
        working_dir: settings.working_dir.clone(),
    }
}

/// What the options say about the files.
pub(crate) fn request(settings: &Settings, options: LoadOptions<'_>) -> LoadRequest {
    LoadRequest {
        files: settings.files.clone(),
        project_dir: settings.project_directory.clone(),
        project_name: settings.project_name.clone(),
        env_files: settings.env_files.clone(),
        profiles: if options.all_profiles {
            vec!["*".to_owned()]
        } else {
            settings.profiles.clone()
        },
        services: options.services.to_vec(),
        allow_unsupported: options.only_print,
        nothing_is_made: options.nothing_is_made,
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
        return Ok(Project {
            name: name.clone(),
            loaded: None,
        });
    }
    match load(
        settings,
        ui,
        LoadOptions {
            services,
            all_profiles: true,
            only_print: true,
            nothing_is_made: true,
        },
    ) {
        Ok(loaded) => Ok(Project {
            name: loaded.stack.name.clone(),
            loaded: Some(loaded),
        }),
        // A misspelt name is an error, not a reason to continue without the file.
        Err(failure) if failure.has_code("E0023") => Err(failure),
        Err(failure) => match &settings.remembered_name {
            Some(name) if settings.files.is_empty() => Ok(Project {
                name: name.clone(),
                loaded: None,
            }),
            _ if failure.lacks_stack() => Err(failure),
            _ => Err(failure.hint(
                "the name of the stack is enough for what exists: -p NAME, which `hoist ls` lists",
            )),
        },
    }
}

/// The named services (all when none is named) and everything that they need.
pub(crate) fn with_dependencies(stack: &Stack, named: &[String]) -> BTreeSet<String> {
    if named.is_empty() {
        return stack.services.keys().cloned().collect();
    }
    hoist_scheduler::with_dependencies(stack, &named.iter().cloned().collect())
}

/// The values of `environment:` secrets and configs. They travel beside the stack, never in it.
pub(crate) fn environment_values(loaded: &Loaded) -> Result<BTreeMap<String, String>> {
    let stack = &loaded.stack;
    let objects = [("secret", &stack.secrets), ("config", &stack.configs)];
    let mut values = BTreeMap::new();
    for (what, (key, object)) in objects
        .iter()
        .flat_map(|(what, map)| map.iter().map(move |entry| (what, entry)))
    {
        let FileSource::Environment(variable) = &object.source else {
            continue;
        };
        let Some(value) = loaded.variables.get(variable) else {
            return Err(Failure::user(format!(
                "{what} `{key}`: environment variable {variable} is not set"
            )));
        };
        values.insert(variable.clone(), value.clone());
    }
    Ok(values)
}
