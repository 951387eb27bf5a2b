//! `hoist`: reads the command line, resolves it, and hands it to the one verb that was asked for.
//!
//! Owns the dispatch and the process: runtime, exit code. Must not know what any verb does.
#![forbid(unsafe_code)]

mod alternatives;
mod apply;
mod archive;
mod args;
mod attached;
mod bind_sources;
mod commands;
mod config_hash;
mod containers;
mod credentials;
mod ctx;
mod dry_run;
mod error;
mod failed_step;
mod foreground;
mod lock;
mod oneoff;
mod options;
mod portable;
mod project;
mod render;
mod settings;
mod signals;
mod stack_hint;
mod streams;
mod target;
mod terminal;
mod time;

use std::future::Future;
use std::process::ExitCode;

use hoist_spec::Env;

use crate::args::{Cli, Command};
use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};
use crate::render::Ui;
use crate::render::output::Output;
use crate::settings::Settings;

fn main() -> ExitCode {
    let cli = match args::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    // A variable that is not text cannot be used for interpolation, so it does not exist for us.
    let env: Env = std::env::vars_os()
        .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
        .collect();
    let options = project::option_variables(&cli.global, &env);
    let output = settings::output(&cli.global, &options);
    let ui = Ui::new(
        *output
            .as_ref()
            .unwrap_or(&Output::fallback(Some(&cli.global))),
    );
    let result = output.and_then(|_| {
        let settings = Settings::resolve(&cli.global, env, &options)?;
        let ui = ui.hiding_orphans(settings.ignore_orphans);
        let ctx = Ctx { settings, ui };
        run(&ctx, &cli).or_else(|failure| {
            let words: Vec<String> = std::env::args().skip(1).collect();
            block_on(async { Err(stack_hint::hinted(&ctx, failure, &words).await) })
        })
    });
    let exit = match result {
        Ok(exit) => exit,
        Err(failure) => {
            failure.report(ui);
            failure.exit()
        }
    };
    ExitCode::from(exit.0)
}

/// Help and version are what was asked for; anything else is a mistake in the command line.
fn usage(error: &clap::Error) -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(text) = alternatives::alternative(error, &words) {
        Ui::new(Output::fallback(None)).error(&text);
        return ExitCode::FAILURE;
    }
    if error.use_stderr() {
        let ui = Ui::new(Output::fallback(None));
        let text = if ui.color() {
            error.render().ansi().to_string()
        } else {
            error.render().to_string()
        };
        ui.talk(
            text.trim_end()
                .replace("try '--help'", "try '-h', or '--help' for more")
                .as_str(),
        );
    } else {
        // A closed reader is not an error.
        let _ = error.print();
    }
    ExitCode::from(u8::from(error.use_stderr()))
}

fn run(ctx: &Ctx, cli: &Cli) -> Result<Exit> {
    match ctx.settings.dry_run {
        Some(form) => block_on(dry_run::run(ctx, cli, form)),
        None => act(ctx, &cli.command),
    }
}

fn act(ctx: &Ctx, command: &Command) -> Result<Exit> {
    match command {
        Command::Config(args) => block_on(commands::config::run(ctx, args)),
        Command::Version(args) => commands::version::run(ctx, args),
        Command::Completion(args) => commands::completion::run(ctx, args, args::command()),
        Command::Engine(args) => commands::engine::run(ctx, args),
        Command::Oci(args) => commands::oci::run(ctx, args),
        Command::Up(args) => block_on(commands::up::run(ctx, args)),
        Command::Down(args) => block_on(commands::down::run(ctx, args)),
        Command::Plan(args) => block_on(commands::plan::run(ctx, args)),
        Command::Inspect(args) => block_on(commands::inspect::run(ctx, args)),
        Command::Ps(args) => block_on(commands::ps::run(ctx, args)),
        Command::Logs(args) => block_on(commands::logs::run(ctx, args)),
        Command::Exec(args) => block_on(commands::exec::run(ctx, args)),
        Command::Run(args) => block_on(commands::run::run(ctx, args)),
        Command::Build(args) => block_on(commands::build::run(ctx, args)),
        Command::Pull(args) => block_on(commands::pull::run(ctx, args)),
        Command::Push(args) => block_on(commands::push::run(ctx, args)),
        Command::Login(args) => block_on(commands::login::run(ctx, args)),
        Command::Lock(args) => block_on(commands::lock::run(ctx, args)),
        Command::Logout(args) => commands::logout::run(ctx, args),
        Command::Tag(args) => block_on(commands::image::tag::run(ctx, args)),
        Command::Images(args) => block_on(commands::images::run(ctx, args)),
        Command::Create(args) => block_on(commands::create::run(ctx, args)),
        Command::Start(args) => block_on(commands::start::run(ctx, args)),
        Command::Stop(args) => block_on(commands::stop::run(ctx, args)),
        Command::Restart(args) => block_on(commands::restart::run(ctx, args)),
        Command::Kill(args) => block_on(commands::kill::run(ctx, args)),
        Command::Rm(args) => block_on(commands::rm::run(ctx, args)),
        Command::Scale(args) => block_on(commands::scale::run(ctx, args)),
        Command::Pause(args) => block_on(commands::pause::run(ctx, args)),
        Command::Unpause(args) => block_on(commands::unpause::run(ctx, args)),
        Command::Top(args) => block_on(commands::top::run(ctx, args)),
        Command::Port(args) => block_on(commands::port::run(ctx, args)),
        Command::Cp(args) => block_on(commands::cp::run(ctx, args)),
        Command::Events(args) => block_on(commands::events::run(ctx, args)),
        Command::Ls(args) => block_on(commands::ls::run(ctx, args)),
        Command::Wait(args) => block_on(commands::wait::run(ctx, args)),
        Command::Attach(args) => block_on(commands::attach::run(ctx, args)),
        Command::Stats(args) => block_on(commands::stats::run(ctx, args)),
        Command::Image(command) => block_on(commands::image::run(ctx, command)),
        Command::Rmi(args) => block_on(commands::image::rm::run(ctx, args)),
        Command::Network(command) => block_on(commands::network::run(ctx, command)),
        Command::Volume(command) => block_on(commands::volume::run(ctx, command)),
        Command::Builder(command) => block_on(commands::builder::run(ctx, command)),
        Command::System(command) => block_on(commands::system::run(ctx, command)),
        Command::Bundle(command) => block_on(commands::bundle::run(ctx, command)),
        Command::Save(args) => block_on(commands::image::save::run(ctx, args)),
        Command::Load(args) => block_on(commands::image::load::run(ctx, args)),
        Command::Import(args) => block_on(commands::image::import::run(ctx, args)),
        Command::Export(args) => block_on(commands::export::run(ctx, args)),
        Command::Commit(args) => block_on(commands::commit::run(ctx, args)),
        Command::History(args) => block_on(commands::image::history::run(ctx, args)),
        Command::Container(command) => block_on(commands::container::run(ctx, command)),
    }
}

/// Runs a verb that talks to the engine, on this thread.
fn block_on(work: impl Future<Output = Result<Exit>>) -> Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::from)?;
    let result = runtime.block_on(async {
        tokio::select! {
            result = work => result,
            () = signals::unheard() => Err(Failure::interrupted()),
        }
    });
    // Not by dropping it: that would wait for a read from standard input that may never end.
    runtime.shutdown_background();
    result
}
