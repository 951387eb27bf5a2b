//! Owns what can be typed: the global options and the list of verbs. What a verb's own options are is in its file.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use hoist_scheduler::PullPolicy;
use hoist_spec::size::REPLICAS;

use crate::commands;

/// Raise a stack of containers from a Compose file and keep it the way the file says.
#[derive(Debug, Parser)]
#[command(name = "hoist", version, subcommand_required = true, arg_required_else_help = true)]
#[command(infer_subcommands = false, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

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
    #[arg(long, value_enum, value_name = "WHEN", global = true, hide_possible_values = false)]
    pub(crate) ansi: Option<Ansi>,
    /// How to show progress
    #[arg(long, value_enum, value_name = "HOW", global = true)]
    pub(crate) progress: Option<ProgressMode>,
    /// Print the plan and do nothing
    #[arg(long, global = true)]
    pub(crate) dry_run: bool,
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

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Up(Box<commands::up::Args>),
    Down(commands::down::Args),
    Plan(Box<commands::plan::Args>),
    Config(commands::config::Args),
    Ps(commands::ps::Args),
    Inspect(commands::inspect::Args),
    Logs(commands::logs::Args),
    Exec(commands::exec::Args),
    Run(Box<commands::run::Args>),
    Build(commands::build::Args),
    Pull(commands::pull::Args),
    Push(commands::push::Args),
    Tag(commands::image::tag::Args),
    Lock(commands::lock::Args),
    Login(commands::login::Args),
    Logout(commands::logout::Args),
    Images(commands::images::Args),
    Create(Box<commands::create::Args>),
    Start(commands::start::Args),
    Stop(commands::stop::Args),
    Restart(commands::restart::Args),
    Kill(commands::kill::Args),
    Rm(commands::rm::Args),
    Scale(commands::scale::Args),
    Pause(commands::pause::Args),
    Unpause(commands::unpause::Args),
    Top(commands::top::Args),
    Port(commands::port::Args),
    Cp(commands::cp::Args),
    Events(commands::events::Args),
    Ls(commands::ls::Args),
    Wait(commands::wait::Args),
    Attach(commands::attach::Args),
    Stats(commands::stats::Args),
    Version(commands::version::Args),
    Completion(commands::completion::Args),
    #[command(subcommand)]
    Image(commands::image::Command),
    Rmi(commands::image::rm::Args),
    #[command(subcommand)]
    Network(commands::network::Command),
    #[command(subcommand)]
    Volume(commands::volume::Command),
    #[command(subcommand)]
    Builder(commands::builder::Command),
    #[command(subcommand)]
    System(commands::system::Command),
    #[command(subcommand)]
    Bundle(commands::bundle::Command),
    Save(commands::image::save::Args),
    Load(commands::image::load::Args),
    Import(commands::image::import::Args),
    Export(commands::export::Args),
    Commit(Box<commands::commit::Args>),
    History(commands::image::history::Args),
    #[command(subcommand)]
    Container(commands::container::Command),
    Engine(commands::engine::Args),
    Oci(commands::oci::Args),
}

/// Reads a command line, the program's name included.
pub(crate) fn parse<T: Into<OsString> + Clone>(words: impl IntoIterator<Item = T>) -> Result<Cli, clap::Error> {
    let cli = Cli::try_parse_from(words)?;
    let words = match &cli.command {
        Command::Exec(args) => args.words(),
        Command::Run(args) => args.words(),
        _ => &[],
    };
    // Clap takes an option that it does not know for the first of the words, which may have hyphens for the command's sake.
    match words.first().filter(|word| word.starts_with('-')) {
        None => Ok(cli),
        Some(word) => {
            let mut error = clap::Error::new(ErrorKind::UnknownArgument).with_cmd(&Cli::command());
            error.insert(ContextKind::InvalidArg, ContextValue::String(word.clone()));
            Err(error)
        }
    }
}

/// Parses `SERVICE=NUM`.
pub(crate) fn scale(text: &str) -> Result<(String, u32), String> {
    let (service, count) = text.split_once('=').ok_or("expected SERVICE=NUM")?;
    if service.is_empty() {
        return Err("expected SERVICE=NUM".to_owned());
    }
    let count: u32 = count.parse().map_err(|_| format!("`{count}` is not a number of containers"))?;
    if count > REPLICAS {
        return Err(format!("{REPLICAS} containers are the most that a service has"));
    }
    Ok((service.to_owned(), count))
}
