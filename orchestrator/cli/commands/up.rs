//! `hoist up`: the file becomes reality; what to change, and how to watch it.

use std::collections::BTreeSet;

use hoist_api::ApplyRequest;
use hoist_scheduler::{Up, Verb};
use hoist_spec::Loaded;

use crate::attached::{self, Attached, EndWhen};
use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};
use crate::options::PullWhen;
use crate::project::{self, LoadOptions};
use crate::render::logs::LogStyle;
use crate::{apply, bind_sources, lock, options};

/// Create and start the stack, or bring it to what the file says now
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) options: UpOptions,
    /// Leave when everything is started, in place of showing the logs
    #[arg(short, long)]
    detach: bool,
    /// Wait until everything is running or healthy; implies --detach
    #[arg(long)]
    wait: bool,
    /// Longest wait in seconds
    #[arg(long, value_name = "SECONDS")]
    wait_timeout: Option<u32>,
    /// Create containers without starting them
    #[arg(long, conflicts_with = "wait")]
    no_start: bool,
    /// Stop everything when one container exits
    #[arg(long, conflicts_with_all = ["detach", "wait"])]
    abort_on_container_exit: bool,
    /// Stop everything when one container fails
    #[arg(long, conflicts_with_all = ["detach", "wait"])]
    abort_on_container_failure: bool,
    /// Exit with the code of this service's container; implies --abort-on-container-exit
    #[arg(long, value_name = "SERVICE", conflicts_with_all = ["detach", "wait", "abort_on_container_failure"])]
    exit_code_from: Option<String>,
    /// Show the logs of this service only (can be repeated)
    #[arg(long = "attach", value_name = "SERVICE", conflicts_with_all = ["detach", "wait"])]
    attach: Vec<String>,
    /// Show the logs of services that these depend on too
    #[arg(long, conflicts_with_all = ["detach", "wait", "attach"])]
    attach_dependencies: bool,
    /// Do not show the logs of this service (can be repeated)
    #[arg(long = "no-attach", value_name = "SERVICE", conflicts_with_all = ["detach", "wait"])]
    no_attach: Vec<String>,
    /// Write logs without colour
    #[arg(long)]
    no_color: bool,
    /// Write logs without the container's name in front
    #[arg(long)]
    no_log_prefix: bool,
    /// Write logs with their time
    #[arg(long)]
    timestamps: bool,
    /// Do not show the progress of pulls
    #[arg(long)]
    quiet_pull: bool,
    /// Do not show the output of builds
    #[arg(long)]
    quiet_build: bool,
    /// Answer yes to every question
    #[arg(short, long)]
    yes: bool,
}

/// What `up` is to change and how; `plan` has the same options.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct UpOptions {
    /// Only these services and what they depend on
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Build images first, even when they exist
    #[arg(long, conflicts_with = "no_build")]
    build: bool,
    /// Do not build an image that is missing
    #[arg(long)]
    no_build: bool,
    /// When to pull images
    #[arg(long, value_enum, value_name = "WHEN")]
    pull: Option<PullWhen>,
    /// Use exactly the images that stack.lock names
    #[arg(long)]
    locked: bool,
    /// Replace containers even when nothing of them has changed
    #[arg(long, conflicts_with = "no_recreate")]
    force_recreate: bool,
    /// Keep containers that exist, whatever has changed
    #[arg(long, conflicts_with = "always_recreate_deps")]
    no_recreate: bool,
    /// Replace containers of services that these depend on too
    #[arg(long)]
    always_recreate_deps: bool,
    /// Leave services that these depend on alone
    #[arg(long)]
    no_deps: bool,
    /// Number of containers of a service (can be repeated)
    #[arg(long, value_name = "SERVICE=NUM", value_parser = options::scale)]
    scale: Vec<(String, u32)>,
    /// Remove containers of services that the file does not have (any more)
    #[arg(long)]
    remove_orphans: bool,
    /// Give replaced containers new anonymous volumes in place of the old ones
    #[arg(short = 'V', long)]
    renew_anon_volumes: bool,
    /// Seconds that containers have to stop by themselves
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<u32>,
}

impl UpOptions {
    pub(crate) fn load(&self, ctx: &Ctx) -> Result<Loaded> {
        let mut loaded = project::load(
            &ctx.settings,
            ctx.ui,
            LoadOptions {
                services: &self.services,
                ..LoadOptions::default()
            },
        )?;
        if self.locked {
            lock::pin(&mut loaded)?;
        }
        if let Some((service, _)) = self
            .scale
            .iter()
            .find(|(name, _)| !loaded.stack.services.contains_key(name))
        {
            return Err(Failure::user(format!("no such service: {service}")));
        }
        let named = self.services.iter().cloned().collect();
        let alone = self.no_deps && !self.services.is_empty();
        let services = if alone {
            named
        } else {
            project::with_dependencies(&loaded.stack, &self.services)
        };
        bind_sources::warn_of_folders(ctx.ui, &loaded, &services);
        Ok(loaded)
    }

    pub(crate) fn up(&self, ctx: &Ctx) -> Up {
        Up {
            services: apply::services(&self.services),
            build: self.build,
            no_build: self.no_build,
            pull: self.pull.map(PullWhen::policy),
            force_recreate: self.force_recreate,
            no_recreate: self.no_recreate,
            always_recreate_deps: self.always_recreate_deps,
            no_deps: self.no_deps,
            no_start: false,
            remove_orphans: self.remove_orphans || ctx.settings.remove_orphans,
            renew_anon_volumes: self.renew_anon_volumes,
            scale: self.scale.iter().cloned().collect(),
            timeout: apply::seconds(self.timeout),
            wait: false,
        }
    }
}

pub(crate) fn request(ctx: &Ctx, args: &Args) -> Result<ApplyRequest> {
    request_for(ctx, args, &args.options.load(ctx)?)
}

fn request_for(ctx: &Ctx, args: &Args, loaded: &Loaded) -> Result<ApplyRequest> {
    let up = Up {
        no_start: args.no_start,
        wait: args.wait,
        ..args.options.up(ctx)
    };
    let mut request = apply::request(loaded, Verb::Up(up))?;
    request.wait_timeout = apply::seconds(args.wait_timeout);
    Ok(request)
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let loaded = args.options.load(ctx)?;
    let request = request_for(ctx, args, &loaded)?;
    let ctx = &ctx.with_ui(ctx.ui.hiding(args.quiet_pull, args.quiet_build));
    if args.detach || args.wait || args.no_start {
        apply::apply(ctx, &request).await?;
        return Ok(Exit::OK);
    }
    let attached = Attached {
        shown: shown(args, &loaded)?,
        running: project::with_dependencies(&loaded.stack, &args.options.services),
        end: end_when(args),
        style: LogStyle {
            prefix: !args.no_log_prefix,
            timestamps: args.timestamps,
        },
        timeout: args.options.timeout,
    };
    let ctx = if args.no_color {
        &ctx.with_ui(ctx.ui.without_color())
    } else {
        ctx
    };
    attached::run(ctx, &request, &attached).await
}

fn end_when(args: &Args) -> EndWhen {
    if let Some(service) = &args.exit_code_from {
        EndWhen::AnyExits {
            code_of: Some(service.clone()),
        }
    } else if args.abort_on_container_exit {
        EndWhen::AnyExits { code_of: None }
    } else if args.abort_on_container_failure {
        EndWhen::AnyFails
    } else {
        EndWhen::AllExited
    }
}

/// Services whose logs are shown.
fn shown(args: &Args, loaded: &Loaded) -> Result<BTreeSet<String>> {
    let services = &loaded.stack.services;
    let named = args
        .attach
        .iter()
        .chain(&args.no_attach)
        .chain(&args.exit_code_from);
    if let Some(unknown) = named.into_iter().find(|name| !services.contains_key(*name)) {
        return Err(Failure::user(format!("no such service: {unknown}")));
    }
    let mut shown: BTreeSet<String> = if !args.attach.is_empty() {
        args.attach.iter().cloned().collect()
    } else if args.attach_dependencies || args.options.services.is_empty() {
        project::with_dependencies(&loaded.stack, &args.options.services)
    } else {
        args.options.services.iter().cloned().collect()
    };
    let kept_out = |name: &String| {
        args.no_attach.contains(name)
            || (args.attach.is_empty() && services.get(name).is_some_and(|s| !s.attach))
    };
    shown.retain(|name| !kept_out(name));
    Ok(shown)
}
