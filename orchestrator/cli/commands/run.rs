//! `hoist run`: a one-off container; how it is asked for, and being attached to it from its first byte on.

use std::collections::BTreeMap;
use std::time::Duration;

use hoist_api::{ApplyEvent, ApplyRequest, ApplyResult};
use hoist_client::{Client, JsonStream};
use hoist_scheduler::{Run, Verb};
use tokio::time::Instant;

use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};
use crate::oneoff::{self, RunMount, RunPorts};
use crate::options::PullWhen;
use crate::project::{self, LoadOptions};
use crate::render::progress::Progress;
use crate::signals::Forwarded;
use crate::streams::{DetachKeys, End, Pump, Target};
use crate::{apply, bind_sources, foreground, terminal};

/// Run a one-off command in a new container of a service
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Service, and the command with its own arguments in place of the service's
    #[arg(value_names = ["SERVICE", "COMMAND"], required = true, num_args = 1.., trailing_var_arg = true)]
    #[arg(allow_hyphen_values = true)]
    words: Vec<String>,
    /// Leave it running in the background and print its id
    #[arg(short, long)]
    detach: bool,
    /// Remove the container when it exits
    #[arg(long)]
    rm: bool,
    /// Set a variable (can be repeated; without a value: the caller's)
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Entrypoint in place of the service's
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,
    /// Name of the container
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Publish a port: [[IP:]HOST:]CONTAINER[/PROTOCOL] (can be repeated)
    #[arg(short, long, value_name = "PORT", value_parser = oneoff::ports)]
    publish: Vec<RunPorts>,
    /// Publish the service's ports
    #[arg(short = 'P', long)]
    service_ports: bool,
    /// Mount a folder or volume: SOURCE:TARGET[:ro] (can be repeated)
    #[arg(short, long, value_name = "MOUNT", value_parser = oneoff::mount)]
    volume: Vec<RunMount>,
    /// User to run as
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Directory to run in
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Set a label (can be repeated)
    #[arg(short, long, value_name = "NAME=VALUE")]
    label: Vec<String>,
    /// Do not start services that it depends on
    #[arg(long)]
    no_deps: bool,
    /// Build the image first, even when it exists
    #[arg(long)]
    build: bool,
    /// When to pull the image
    #[arg(long, value_enum, value_name = "WHEN")]
    pull: Option<PullWhen>,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
    /// Do not show the progress of pulls
    #[arg(long)]
    quiet_pull: bool,
    /// Do not show the output of builds
    #[arg(long)]
    quiet_build: bool,
    /// Do not give it a terminal
    #[arg(short = 'T', long = "no-tty", alias = "no-TTY")]
    no_tty: bool,
    /// Whether standard input is kept open
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true")]
    #[arg(default_missing_value = "true", action = clap::ArgAction::Set)]
    interactive: bool,
    /// Give it a terminal; it has one anyway when there is one here
    #[arg(short, long, hide = true)]
    tty: bool,
    /// Answer to the service's aliases on its networks
    #[arg(long)]
    use_aliases: bool,
    /// Add a capability (can be repeated)
    #[arg(long, value_name = "NAME")]
    cap_add: Vec<String>,
    /// Take a capability away (can be repeated)
    #[arg(long, value_name = "NAME")]
    cap_drop: Vec<String>,
    /// Remove containers of services that the file does not have (any more)
    #[arg(long)]
    remove_orphans: bool,
}

impl Args {
    fn wants_tty(&self) -> bool {
        !self.no_tty && !self.detach && self.interactive && terminal::is_interactive()
    }
}

impl Args {
    /// Service and command.
    pub(crate) fn words(&self) -> &[String] {
        &self.words
    }
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let request = request(ctx, args)?;
    let ctx = &ctx.with_ui(ctx.ui.hiding(args.quiet_pull, args.quiet_build));
    let ctx = if args.quiet {
        &ctx.with_ui(ctx.ui.with_progress(crate::options::ProgressMode::Quiet))
    } else {
        ctx
    };
    if args.detach {
        let result = apply::apply(ctx, &request).await?;
        ctx.ui.line(result.container.unwrap_or_default())?;
        return Ok(Exit::OK);
    }
    foreground(ctx, args, &request).await
}

pub(crate) fn request(ctx: &Ctx, args: &Args) -> Result<ApplyRequest> {
    let Some((service, command)) = args.words.split_first() else {
        return Err(Failure::user("a service is needed"));
    };
    let options = LoadOptions {
        services: std::slice::from_ref(service),
        ..LoadOptions::default()
    };
    let loaded = project::load(&ctx.settings, ctx.ui, options)?;
    bind_sources::warn_of_folders(
        ctx.ui,
        &loaded,
        &project::with_dependencies(&loaded.stack, options.services),
    );
    let entrypoint = match &args.entrypoint {
        None => None,
        Some(text) => {
            let words = shlex::split(text)
                .ok_or_else(|| Failure::user(format!("quotes do not match in `{text}`")))?;
            Some(words)
        }
    };
    let volumes = args
        .volume
        .iter()
        .map(|mount| mount.resolve(&ctx.settings.working_dir, &ctx.settings.env));
    let run = Run {
        service: service.clone(),
        suffix: oneoff::suffix()?,
        name: args.name.clone(),
        command: (!command.is_empty()).then(|| command.to_vec()),
        entrypoint,
        environment: environment(ctx, &args.env),
        labels: args.label.iter().map(|text| oneoff::pair(text)).collect(),
        user: args.user.clone(),
        working_dir: args.workdir.clone(),
        tty: args.wants_tty(),
        stdin_open: args.interactive && !args.detach,
        cap_add: args.cap_add.clone(),
        cap_drop: args.cap_drop.clone(),
        publish: args
            .publish
            .iter()
            .flat_map(|ports| ports.0.clone())
            .collect(),
        volumes: volumes.collect(),
        service_ports: args.service_ports,
        use_aliases: args.use_aliases,
        no_deps: args.no_deps,
        build: args.build,
        pull: args.pull.map(PullWhen::policy),
        remove_orphans: args.remove_orphans,
    };
    let mut request = apply::request(&loaded, Verb::Run(Box::new(run)))?;
    request.attach = !args.detach;
    request.remove = args.rm;
    Ok(request)
}

/// A bare name takes the caller's value; without one the variable is taken out.
fn environment(ctx: &Ctx, texts: &[String]) -> BTreeMap<String, Option<String>> {
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (text.clone(), ctx.settings.env.get(text).map(str::to_owned)),
    };
    texts.iter().map(pair).collect()
}

async fn foreground(ctx: &Ctx, args: &Args, request: &ApplyRequest) -> Result<Exit> {
    let mut signals = Forwarded::listen()?;
    let client = ctx.client().await?;
    let mut work = apply::begin(ctx, &client, request).await?;
    let mut progress = Progress::new(ctx.ui);
    let container = tokio::select! {
        container = until_attach(&mut work, &mut progress) => container?,
        _ = signals.next() => return Err(Failure::interrupted()),
    };
    progress.finish();
    let mut ends = foreground::ends(&client, None).await?;
    let stdin = args.interactive;
    let tty = args.wants_tty();
    let size = if tty { terminal::size() } else { None };
    let io = client.attach_container(&container, stdin, size).await?;
    let target = Target::Container(container.clone());
    let detach = tty.then(DetachKeys::default);
    let pump = Pump {
        client: &client,
        ui: ctx.ui,
        target: target.clone(),
        tty,
        stdin,
        keys: None,
        detach,
    };
    let mut pump = std::pin::pin!(pump.run(io));
    let mut started = std::pin::pin!(until_result(work));
    let mut is_started = false;
    // Once the client that started it is gone, a program that ignores SIGHUP has its grace period.
    let mut patience: Option<Instant> = None;
    let mut hung_up = false;
    loop {
        tokio::select! {
            result = &mut started, if !is_started => {
                check(&client, &container, args.rm, result?).await?;
                is_started = true;
                if tty {
                    // It may have changed since.
                    target.resize(&client).await;
                }
            }
            end = &mut pump => match end? {
                End::Detached => return Ok(Exit::OK),
                End::Closed => break,
            },
            () = until(patience), if !hung_up => {
                hung_up = true;
                foreground::signal(&client, &container, "SIGKILL").await?;
            }
            name = signals.next() => {
                if name == "SIGHUP" && patience.is_none() {
                    patience = Some(Instant::now() + grace(&client, &container).await?);
                }
                foreground::signal(&client, &container, name).await?;
            }
        }
    }
    if !is_started {
        check(&client, &container, args.rm, started.await?).await?;
    }
    let code = foreground::exit_code(&client, &mut ends, &container).await?;
    Ok(if hung_up {
        Exit::HUNG_UP
    } else {
        Exit::of_container(code)
    })
}

/// Never without a time.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

async fn grace(client: &Client, container: &str) -> Result<Duration> {
    match client.container(container).await {
        Ok(found) => Ok(Duration::from_secs(found.config.stop_timeout.unwrap_or(10))),
        Err(error) if error.not_found() => Ok(Duration::ZERO),
        Err(error) => Err(error.into()),
    }
}

/// A container that could not be started never exits, so nobody would remove it.
async fn check(client: &Client, container: &str, remove: bool, result: ApplyResult) -> Result<()> {
    if result.code != 0 && remove {
        // What failed before is what the user has to hear of.
        let _ = client.remove_container(container, true, true).await;
    }
    apply::check(result).map(drop)
}

/// Shows the progress up to the point where the container is made and waits for us.
async fn until_attach(
    work: &mut JsonStream<ApplyEvent>,
    progress: &mut Progress,
) -> Result<String> {
    loop {
        match work.next().await? {
            Some(ApplyEvent::Attach { container }) => return Ok(container),
            Some(ApplyEvent::Result(result)) => {
                apply::check(result)?;
                return Err(Failure::user("the engine made no container to attach to"));
            }
            Some(event) => progress.event(&event),
            None => return Err(apply::lost()),
        }
    }
}

/// From here on the streams belong to the container, so progress is not shown any more.
async fn until_result(mut work: JsonStream<ApplyEvent>) -> Result<ApplyResult> {
    loop {
        match work.next().await? {
            Some(ApplyEvent::Result(result)) => return Ok(result),
            Some(_) => {}
            None => return Err(apply::lost()),
        }
    }
}
