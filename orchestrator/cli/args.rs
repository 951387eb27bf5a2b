//! Owns the command line as a whole: the global options and the list of verbs. What a verb's own options are is in its
//! file.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands;
use crate::options::{Global, PlanForm};

/// Raise a stack of containers from a Compose file and keep it the way the file says.
#[derive(Debug, Parser)]
#[command(
    name = "hoist",
    version,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(infer_subcommands = false, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
    /// The verb as it was typed, with that of its group: `image ls`.
    #[arg(skip)]
    pub(crate) verb: String,
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

/// Verbs that change something by a plan, which `--dry-run` prints.
pub(crate) const PLANNED: [&str; 14] = [
    "up", "down", "create", "start", "stop", "restart", "kill", "rm", "scale", "pause", "unpause",
    "run", "pull", "build",
];

const PLAN_FORM: &str = "plan_form";

/// The whole command line. Each verb that has a plan gets the option for its form.
pub(crate) fn command() -> clap::Command {
    let form = || {
        clap::Arg::new(PLAN_FORM)
            .long("format")
            .value_name("FORMAT")
            .value_parser(clap::value_parser!(PlanForm))
            .help("Form of the plan that --dry-run prints")
    };
    PLANNED.iter().fold(Cli::command(), |whole, verb| {
        whole.mut_subcommand(verb, |verb| verb.arg(form()))
    })
}

fn verb(matches: &clap::ArgMatches) -> Vec<&str> {
    let below = |(name, below)| std::iter::once(name).chain(verb(below)).collect();
    matches.subcommand().map_or_else(Vec::new, below)
}

/// Reads a command line, the program's name included.
pub(crate) fn parse<T: Into<OsString> + Clone>(
    words: impl IntoIterator<Item = T>,
) -> Result<Cli, clap::Error> {
    let matches = command().try_get_matches_from(words)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    cli.verb = verb(&matches).join(" ");
    let form = matches
        .subcommand()
        .and_then(|(_, verb)| verb.try_get_one::<PlanForm>(PLAN_FORM).ok().flatten());
    match form {
        Some(_) if !cli.global.dry_run => {
            let text = "--format is the form of the plan that --dry-run prints: add --dry-run";
            return Err(Cli::command().error(ErrorKind::MissingRequiredArgument, text));
        }
        Some(&form) => cli.global.plan_form = form,
        None => {}
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_with_a_plan_takes_its_form_wherever_the_dry_run_is_asked_for() {
        for verb in PLANNED {
            let service = if verb == "scale" { "web=2" } else { "web" };
            for line in [
                ["--dry-run", verb, "--format=json", service],
                [verb, "--format=json", "--dry-run", service],
            ] {
                let cli = parse(["hoist"].into_iter().chain(line))
                    .unwrap_or_else(|error| panic!("{line:?}: {error}"));
                assert!(
                    cli.global.dry_run && cli.global.plan_form == PlanForm::Json,
                    "{line:?}"
                );
            }
        }
        let error =
            parse(["hoist", "down", "--format", "json"]).expect_err("there is no plan to print");
        assert!(error.to_string().contains("add --dry-run"), "{error}");
    }
}
