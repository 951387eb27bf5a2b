//! Owns the global options, and the types of options that several verbs share.
//!
//! Must not know: verbs, what an option does.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use hoist_scheduler::PullPolicy;
use hoist_spec::size::REPLICAS;

/// Options in front of the verb; those without a short form may also follow it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Compose file (can be repeated; `-` is standard input; default: compose.yaml here or above)
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub(crate) files: Vec<String>,
    /// Name of the stack
    #[arg(short, long, value_name = "NAME")]
    pub(crate) project_name: Option<String>,
    /// Directory that relative paths start from (default: that of the first Compose file)
    #[arg(long, value_name = "DIR")]
    pub(crate) project_directory: Option<PathBuf>,
    /// File with variables, in place of .env (can be repeated)
    #[arg(long = "env-file", value_name = "FILE")]
    pub(crate) env_files: Vec<String>,
    /// Profile to activate (can be repeated; `*` is all of them)
    #[arg(long = "profile", value_name = "NAME")]
    pub(crate) profiles: Vec<String>,
    /// When to colour the output
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        global = true,
        hide_possible_values = false
    )]
    pub(crate) ansi: Option<Ansi>,
    /// How to show progress
    #[arg(long, value_enum, value_name = "HOW", global = true)]
    pub(crate) progress: Option<ProgressMode>,
    /// Print the plan of the verb and do nothing
    #[arg(long, global = true)]
    pub(crate) dry_run: bool,
    /// How to print it; an option of each verb that has a plan.
    #[arg(skip)]
    pub(crate) plan_form: PlanForm,
    /// Most steps (pulls, builds, starts, stops) to work on at the same time; -1 is no limit
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) parallel: Option<i32>,
    /// Socket of the engine, as a path or unix:// address
    #[arg(short = 'H', long, value_name = "SOCKET", global = true)]
    pub(crate) host: Option<String>,
    /// How to write errors
    #[arg(long, value_enum, value_name = "FORMAT", global = true)]
    pub(crate) error_format: Option<ErrorFormat>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Ansi {
    Auto,
    Never,
    Always,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressMode {
    /// `tty` on a terminal, `plain` elsewhere
    Auto,
    /// Lines that are redrawn
    Tty,
    /// One line for each event
    Plain,
    /// One JSON object for each event
    Json,
    /// As `json`, with what a build does as objects of its own (docs/progress.md)
    #[value(name = "rawjson")]
    RawJson,
    /// Nothing
    Quiet,
}

impl ProgressMode {
    pub(crate) fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::RawJson)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ErrorFormat {
    Text,
    Json,
}

/// Form of a printed plan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlanForm {
    #[default]
    Text,
    Json,
}

/// When to pull an image, in docker compose's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PullWhen {
    Always,
    Missing,
    Never,
}

impl PullWhen {
    pub(crate) fn policy(self) -> PullPolicy {
        match self {
            Self::Always => PullPolicy::Always,
            Self::Missing => PullPolicy::Missing,
            Self::Never => PullPolicy::Never,
        }
    }
}

/// Parses `SERVICE=NUM`.
pub(crate) fn scale(text: &str) -> Result<(String, u32), String> {
    let (service, count) = text.split_once('=').ok_or("expected SERVICE=NUM")?;
    if service.is_empty() {
        return Err("expected SERVICE=NUM".to_owned());
    }
    let count: u32 = count
        .parse()
        .map_err(|_| format!("`{count}` is not a number of containers"))?;
    if count > REPLICAS {
        return Err(format!(
            "{REPLICAS} containers are the most that a service has"
        ));
    }
    Ok((service.to_owned(), count))
}
