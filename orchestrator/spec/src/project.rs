//! From the command line's words to one tree: which files, which variables, which name, which profiles.
//!
//! Must not know: what attributes mean.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::files::{FileScope, Loader, Variables};
use crate::node::{Data, Node, ValueOrigin};
use crate::normalize::Selection;
use crate::report::Span;
use crate::source::{Env, Kind, Source};
use crate::{LoadRequest, interpolate, paths, yaml};

const DEFAULT_FILES: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
];
const OVERRIDES: [&str; 4] = [
    "compose.override.yaml",
    "compose.override.yml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// What the command line and the environment come to.
pub(crate) struct Project {
    pub(crate) name: String,
    pub(crate) dir: String,
    pub(crate) files: Vec<PathBuf>,
    pub(crate) variables: Variables,
    pub(crate) selection: Selection,
    /// Canonical and merged, tags settled, names not yet made.
    pub(crate) tree: Node,
}

/// Which files, and the folder that their relative paths start from.
struct Found {
    files: Vec<String>,
    dir: String,
    cwd: String,
}

/// `None`: reported.
fn find(request: &LoadRequest, loader: &mut Loader<'_>, env: &Env) -> Option<Found> {
    let cwd = loader.source.working_dir().to_string_lossy().into_owned();
    let given_dir = request
        .project_dir
        .as_ref()
        .map(|dir| paths::absolute(&dir.to_string_lossy(), &cwd, None));
    let early = early_variables(
        request,
        given_dir.as_deref().unwrap_or(&cwd),
        &cwd,
        loader,
        env,
    );
    let files = stack_files(request, &early, given_dir.as_deref(), &cwd, loader)?;
    let dir = given_dir.unwrap_or_else(|| match files.first() {
        Some(first) if first != "-" => paths::parent(first),
        _ => cwd.clone(),
    });
    Some(Found { files, dir, cwd })
}

/// The variables that set options of the program (`COMPOSE_ANSI`): the caller's, and those of the env files that begin
/// with `COMPOSE_`. What is wrong with the files is for [`gather`] to say.
pub(crate) fn options(request: &LoadRequest, source: &dyn Source, env: &Env) -> Env {
    let mut quiet = Loader::new(source, env.get("HOME").map(str::to_owned));
    let (dir, cwd) = match find(request, &mut quiet, env) {
        Some(found) => (found.dir, found.cwd),
        None => {
            let cwd = source.working_dir().to_string_lossy().into_owned();
            (cwd.clone(), cwd)
        }
    };
    let all = variables(request, &dir, &cwd, &mut quiet, env);
    all.into_iter()
        .filter(|(name, _)| name.starts_with("COMPOSE_") || env.get(name).is_some())
        .collect()
}

/// `None`: reported.
pub(crate) fn gather(request: &LoadRequest, loader: &mut Loader<'_>, env: &Env) -> Option<Project> {
    let Found { files, dir, cwd } = find(request, loader, env)?;
    loader.relative_to = request.skip.path_resolution.then(|| dir.clone());
    let mut variables = variables(request, &dir, &cwd, loader, env);

    let mut parsed = Vec::new();
    for path in &files {
        let file = if path == "-" {
            match loader.source.stdin() {
                Ok(text) => Some(loader.report.add_file("<stdin>".to_owned(), text)),
                Err(error) => {
                    let _ = loader.report.error(
                        "E0012",
                        format!("cannot read the stack file from standard input: {error}"),
                    );
                    None
                }
            }
        } else {
            loader.text(path, None, "the stack file")
        };
        let documents = file.and_then(|file| Some((file, yaml::parse(&mut loader.report, file)?)));
        if let Some((file, documents)) = documents {
            parsed.push((path.clone(), file, documents));
        }
    }
    if parsed.is_empty() {
        return None;
    }
    let name = project_name(request, &parsed, &dir, &variables, loader)?;
    variables.insert("COMPOSE_PROJECT_NAME".to_owned(), name.clone());
    let tree = merged(parsed, &dir, &variables, loader)?;
    Some(Project {
        selection: selection(request, &variables),
        name,
        dir,
        files: files.into_iter().map(PathBuf::from).collect(),
        variables,
        tree,
    })
}

fn merged(
    parsed: Vec<(String, u32, Vec<Node>)>,
    dir: &str,
    variables: &Variables,
    loader: &mut Loader<'_>,
) -> Option<Node> {
    let mut tree: Option<Node> = None;
    let first = parsed.first().map(|(_, file, _)| *file);
    for (path, _, documents) in parsed {
        let scope = FileScope {
            dir: dir.to_owned(),
            variables: variables.clone(),
            chain: vec![path],
        };
        let Some(mut next) = loader.documents(documents, &scope) else {
            continue;
        };
        tree = Some(match tree {
            Some(base) => {
                next.mark(ValueOrigin::Override);
                crate::merge::documents(base, next)
            }
            None => next,
        });
    }
    if tree.is_none()
        && !loader.report.failed()
        && let Some(file) = first
    {
        let _ = loader
            .report
            .error("E0005", "the stack file is empty")
            .at(Span::new(file, 0, 0), "nothing here")
            .hint("a stack file has at least `services:`");
    }
    tree.map(crate::merge::settle)
}

fn early_variables(
    request: &LoadRequest,
    dir: &str,
    cwd: &str,
    loader: &Loader<'_>,
    env: &Env,
) -> Variables {
    let needed = request.files.is_empty() && env.get("COMPOSE_FILE").is_none();
    if !needed {
        return env.0.clone();
    }
    // Looked at twice; a fault in it is reported by the second look.
    let mut quiet = Loader::new(loader.source, loader.home.clone());
    variables(request, dir, cwd, &mut quiet, env)
}

fn variables(
    request: &LoadRequest,
    dir: &str,
    cwd: &str,
    loader: &mut Loader<'_>,
    env: &Env,
) -> Variables {
    // Services of the system and their kind start programs without it.
    let mut outside = env.0.clone();
    outside
        .entry("PWD".to_owned())
        .or_insert_with(|| cwd.to_owned());
    let disabled = env
        .get("COMPOSE_DISABLE_ENV_FILE")
        .and_then(crate::units::boolean)
        == Some(true);
    let listed = match request.env_files.as_slice() {
        [] => env
            .get("COMPOSE_ENV_FILES")
            .map(|files| files.split(',').map(str::to_owned).collect())
            .unwrap_or_default(),
        files => files.to_vec(),
    };
    if listed.is_empty() && disabled {
        return outside;
    }
    let files: Vec<_> = listed
        .iter()
        .map(|path| (paths::absolute(path, cwd, loader.home.as_deref()), None))
        .collect();
    loader.layered_variables(&files, dir, &outside)
}

fn stack_files(
    request: &LoadRequest,
    variables: &Variables,
    dir: Option<&str>,
    cwd: &str,
    loader: &mut Loader<'_>,
) -> Option<Vec<String>> {
    let absolute = |path: &str| {
        if path == "-" {
            path.to_owned()
        } else {
            paths::absolute(path, cwd, None)
        }
    };
    if !request.files.is_empty() {
        return Some(request.files.iter().map(|path| absolute(path)).collect());
    }
    if let Some(listed) = variables
        .get("COMPOSE_FILE")
        .filter(|listed| !listed.is_empty())
    {
        let separator = variables
            .get("COMPOSE_PATH_SEPARATOR")
            .map_or(":", String::as_str);
        let base = dir.unwrap_or(cwd);
        let resolve = |path: &str| {
            if path == "-" {
                path.to_owned()
            } else {
                paths::absolute(path, base, None)
            }
        };
        return Some(
            listed
                .split(separator)
                .filter(|path| !path.is_empty())
                .map(resolve)
                .collect(),
        );
    }
    let start = dir.unwrap_or(cwd);
    let mut folder = start.to_owned();
    loop {
        if let Some(files) = default_files(&folder, loader) {
            return Some(files);
        }
        if folder == "/" {
            break;
        }
        folder = paths::parent(&folder);
    }
    let _ = loader
        .report
        .error(
            "E0022",
            format!("no stack file in {start} or a folder above it"),
        )
        .hint(format!(
            "looked for {}; name another one with -f",
            DEFAULT_FILES.join(", ")
        ));
    None
}

/// The stack file of a folder under one of the default names, and its override.
fn default_files(folder: &str, loader: &mut Loader<'_>) -> Option<Vec<String>> {
    let found = present(folder, &DEFAULT_FILES, loader.source);
    let first = found.first()?;
    if found.len() > 1 {
        let message = format!(
            "several stack files in {folder}: {}; {first} is used",
            found.join(", ")
        );
        let _ = loader.report.warning("W0004", message);
    }
    let mut files = vec![format!("{}/{first}", folder.trim_end_matches('/'))];
    if let Some(over) = present(folder, &OVERRIDES, loader.source).first() {
        files.push(format!("{}/{over}", folder.trim_end_matches('/')));
    }
    Some(files)
}

fn present(folder: &str, names: &[&'static str], source: &dyn Source) -> Vec<&'static str> {
    let exists = |name: &str| source.kind(&Path::new(folder).join(name)) == Kind::File;
    names.iter().copied().filter(|name| exists(name)).collect()
}

/// `name:` with its variables replaced: a valid name, or an empty one. `None`: it was reported.
fn written_name(
    node: &Node,
    text: &str,
    variables: &Variables,
    loader: &mut Loader<'_>,
) -> Option<String> {
    let lookup = |name: &str| variables.get(name).cloned();
    let name = match interpolate::expand(text, &lookup, &mut |_| {}, &loader.report.budget) {
        Ok(name) => name,
        Err(error) => {
            let _ = loader
                .report
                .error("E0010", error.to_string())
                .at(node.span, "the project's name");
            return None;
        }
    };
    if !name.is_empty() && !valid(&name) {
        let _ = loader
            .report
            .error("E0021", invalid_name(&name))
            .at(node.span, "the project's name")
            .hint(format!("for example `{}`", normal(&name)));
        return None;
    }
    Some(name)
}

/// -p, COMPOSE_PROJECT_NAME, the last `name:`, the folder.
fn project_name(
    request: &LoadRequest,
    parsed: &[(String, u32, Vec<Node>)],
    dir: &str,
    variables: &Variables,
    loader: &mut Loader<'_>,
) -> Option<String> {
    let forced = request
        .project_name
        .clone()
        .or_else(|| variables.get("COMPOSE_PROJECT_NAME").cloned());
    if let Some(name) = forced.filter(|name| !name.is_empty()) {
        if !valid(&name) {
            let _ = loader
                .report
                .error("E0021", invalid_name(&name))
                .hint(format!("for example `{}`", normal(&name)));
            return None;
        }
        return Some(name);
    }
    let mut written = parsed
        .iter()
        .flat_map(|(_, _, documents)| documents)
        .filter_map(|document| document.at(&["name"]));
    if let Some(node) = written.next_back()
        && let Data::Str(text) = &node.data
    {
        let name = written_name(node, text, variables, loader)?;
        if !name.is_empty() {
            return Some(name);
        }
    }
    let name = normal(dir.rsplit('/').next().unwrap_or_default());
    if name.is_empty() {
        let _ = loader
            .report
            .error("E0021", format!("the folder {dir} gives no project name"))
            .hint("set one with `name:` in the stack file or with -p");
        return None;
    }
    Some(name)
}

fn valid(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'))
}

fn invalid_name(name: &str) -> String {
    format!(
        "`{name}` cannot be a project name: lower-case letters, digits, `-` and `_`, beginning with a letter or digit"
    )
}

/// A name from a folder's name.
fn normal(name: &str) -> String {
    let kept: String = name
        .to_lowercase()
        .chars()
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'))
        .collect();
    kept.trim_start_matches(['-', '_']).to_owned()
}

fn selection(request: &LoadRequest, variables: &Variables) -> Selection {
    let mut profiles: BTreeSet<String> = request.profiles.iter().cloned().collect();
    if request.profiles.is_empty()
        && let Some(listed) = variables.get("COMPOSE_PROFILES")
    {
        profiles.extend(
            listed
                .split(',')
                .map(|name| name.trim().to_owned())
                .filter(|name| !name.is_empty()),
        );
    }
    Selection {
        profiles,
        named: request.services.clone(),
    }
}
