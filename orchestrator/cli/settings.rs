//! Owns the way from flags and environment to resolved options. Nothing behind it reads the environment for options.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use hoist_api::places::Places;
use hoist_spec::Env;

use crate::error::{Failure, Result};
use crate::options::{Ansi, Global, PlanForm, ProgressMode};
use crate::render::output::Output;

/// Options of one call, resolved. The variables that choose files, profiles and names (COMPOSE_FILE and its kin) are
/// looked at by hoist-spec, not this.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The caller's environment.
    pub(crate) env: Env,
    pub(crate) working_dir: PathBuf,
    pub(crate) files: Vec<String>,
    pub(crate) project_name: Option<String>,
    pub(crate) project_directory: Option<PathBuf>,
    pub(crate) env_files: Vec<String>,
    pub(crate) profiles: Vec<String>,
    /// Print the plan in this form, and do nothing.
    pub(crate) dry_run: Option<PlanForm>,
    /// Most steps to work on at a time.
    pub(crate) parallel: Option<NonZeroU32>,
    pub(crate) ignore_orphans: bool,
    pub(crate) remove_orphans: bool,
    /// COMPOSE_PROJECT_NAME: names a stack whose files are gone.
    pub(crate) remembered_name: Option<String>,
    /// Where the engine is and where it keeps things.
    pub(crate) places: Places,
}

impl Settings {
    /// `options`: the variables that set options, which may also stand in an env file.
    pub(crate) fn resolve(global: &Global, env: Env, options: &Env) -> Result<Self> {
        let working_dir = std::env::current_dir().map_err(|error| {
            Failure::from(anyhow::Error::new(error).context("cannot find the working directory"))
        })?;
        if flag(options, "COMPOSE_COMPATIBILITY")? {
            return Err(Failure::user(
                "COMPOSE_COMPATIBILITY: names in the style of Compose 1 (`app_web_1`) are not supported",
            )
            .hint("unset it; `container_name` and `image` give a service the name that it must have"));
        }
        Ok(Self {
            files: global.files.clone(),
            profiles: global.profiles.clone(),
            env_files: global.env_files.clone(),
            project_name: global.project_name.clone(),
            project_directory: global
                .project_directory
                .as_ref()
                .map(|dir| working_dir.join(dir)),
            dry_run: global.dry_run.then_some(global.plan_form),
            parallel: match global.parallel {
                Some(limit) => parallel("--parallel", limit.into())?,
                None => match set(options, "COMPOSE_PARALLEL_LIMIT") {
                    Some(text) => parallel(
                        "COMPOSE_PARALLEL_LIMIT",
                        number("COMPOSE_PARALLEL_LIMIT", text)?,
                    )?,
                    None => None,
                },
            },
            ignore_orphans: flag(options, "COMPOSE_IGNORE_ORPHANS")?,
            remove_orphans: flag(options, "COMPOSE_REMOVE_ORPHANS")?,
            remembered_name: set(options, "COMPOSE_PROJECT_NAME").map(str::to_owned),
            places: places(global.host.as_deref(), &working_dir)?,
            working_dir,
            env,
        })
    }
}

fn places(host: Option<&str>, working_dir: &Path) -> Result<Places> {
    let host = host.map(|host| {
        let path = host.strip_prefix("unix://").unwrap_or(host);
        if path.contains("://") {
            host.to_owned()
        } else {
            working_dir.join(path).display().to_string()
        }
    });
    Places::from_env(host.as_deref()).map_err(|error| Failure::from(anyhow::Error::new(error)))
}

/// How to write. `options` as for [`Settings::resolve`].
pub(crate) fn output(global: &Global, options: &Env) -> Result<Output> {
    let ansi = match global.ansi {
        None => variable(options, "COMPOSE_ANSI")?.unwrap_or(Ansi::Auto),
        Some(ansi) => ansi,
    };
    let progress = match global.progress {
        None => variable(options, "COMPOSE_PROGRESS")?.unwrap_or(ProgressMode::Auto),
        Some(progress) => progress,
    };
    let status_stdout = flag(options, "COMPOSE_STATUS_STDOUT")?;
    let no_color = set(options, "NO_COLOR").is_some();
    Ok(Output::on_terminals(
        ansi,
        progress,
        global.error_format,
        no_color,
        status_stdout,
    ))
}

/// An empty variable counts as unset, as in docker compose.
fn set<'a>(env: &'a Env, name: &str) -> Option<&'a str> {
    env.get(name).filter(|value| !value.is_empty())
}

/// A yes or no in the environment.
fn flag(env: &Env, name: &str) -> Result<bool> {
    match set(env, name).map(str::to_ascii_lowercase).as_deref() {
        None | Some("0" | "f" | "false" | "n" | "no") => Ok(false),
        Some("1" | "t" | "true" | "y" | "yes") => Ok(true),
        Some(other) => Err(Failure::user(format!(
            "{name} is `{other}`, expected true or false"
        ))),
    }
}

fn number(name: &str, text: &str) -> Result<i64> {
    text.parse()
        .map_err(|_| Failure::user(format!("{name} is `{text}`, expected a number")))
}

/// -1 is docker compose's way to say: no limit.
fn parallel(name: &str, limit: i64) -> Result<Option<NonZeroU32>> {
    if limit == -1 {
        return Ok(None);
    }
    let limit = u32::try_from(limit).ok().and_then(NonZeroU32::new);
    let refused = || Failure::user(format!("{name} must be at least 1, or -1 for no limit"));
    limit.map(Some).ok_or_else(refused)
}

fn variable<T: clap::ValueEnum>(env: &Env, name: &str) -> Result<Option<T>> {
    let Some(text) = set(env, name) else {
        return Ok(None);
    };
    T::from_str(text, true).map(Some).map_err(|_| {
        let names: Vec<_> = T::value_variants()
            .iter()
            .filter_map(|v| v.to_possible_value())
            .map(|v| v.get_name().to_owned())
            .collect();
        Failure::user(format!(
            "{name} is `{text}`, expected one of {}",
            names.join(", ")
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Env {
        pairs.iter().copied().collect()
    }

    #[test]
    fn socket_on_the_command_line_may_be_relative() {
        let here = Path::new("/here");
        assert_eq!(
            places(Some("x.sock"), here).unwrap().socket,
            Path::new("/here/x.sock")
        );
        assert_eq!(
            places(Some("unix:///x.sock"), here).unwrap().socket,
            Path::new("/x.sock")
        );
        assert!(places(Some("tcp://1.2.3.4:1"), here).is_err());
    }

    #[test]
    fn nonsense_in_a_variable_is_refused() {
        assert!(
            flag(
                &env(&[("COMPOSE_REMOVE_ORPHANS", "maybe")]),
                "COMPOSE_REMOVE_ORPHANS"
            )
            .is_err()
        );
        assert!(variable::<Ansi>(&env(&[("COMPOSE_ANSI", "often")]), "COMPOSE_ANSI").is_err());
        assert!(number("COMPOSE_PARALLEL_LIMIT", "many").is_err());
    }

    #[test]
    fn parallel_steps_are_limited_by_one_or_more() {
        assert_eq!(parallel("--parallel", -1).unwrap(), None);
        assert_eq!(parallel("--parallel", 3).unwrap(), NonZeroU32::new(3));
        assert!(parallel("--parallel", 0).is_err() && parallel("--parallel", -2).is_err());
    }
}
