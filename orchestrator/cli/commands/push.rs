//! `hoist push`: the images that the stack builds, to their registries.

use std::collections::BTreeSet;

use hoist_spec::model::Stack;

use crate::commands::image;
use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};
use crate::options::ProgressMode;
use crate::project::{self, LoadOptions};

/// Push the images of services that are built here
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Go on when an image cannot be pushed
    #[arg(long)]
    ignore_push_failures: bool,
    /// Push images of services that these depend on too
    #[arg(long)]
    include_deps: bool,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let options = LoadOptions {
        services: &args.services,
        ..LoadOptions::default()
    };
    let loaded = project::load(&ctx.settings, ctx.ui, options)?;
    let images = images(&loaded.stack, &args.services, args.include_deps);
    if ctx.settings.dry_run.is_some() {
        for image in &images {
            ctx.ui.line(format!("push {image}"))?;
        }
        return Ok(Exit::OK);
    }
    let quiet = ctx.with_ui(ctx.ui.with_progress(ProgressMode::Quiet));
    let ctx = if args.quiet { &quiet } else { ctx };
    let client = ctx.client().await?;
    let mut first = None;
    for name in &images {
        match image::push::one(ctx, &client, name).await {
            Ok(_) => {}
            Err(failure) if failure.is_interruption() => return Err(failure),
            Err(failure) if args.ignore_push_failures => failure.report_as_warning(ctx.ui),
            // The others are pushed all the same.
            Err(failure) if first.is_none() => first = Some(failure),
            Err(failure) => failure.report(ctx.ui),
        }
    }
    first.map_or(Ok(Exit::OK), Err::<Exit, Failure>)
}

/// As docker compose: what is only pulled is not ours to push, and what has no name has nowhere to go.
fn images(stack: &Stack, named: &[String], include_deps: bool) -> BTreeSet<String> {
    let chosen = match include_deps {
        false if !named.is_empty() => named.iter().cloned().collect(),
        _ => project::with_dependencies(stack, named),
    };
    let services = chosen.iter().filter_map(|name| stack.services.get(name));
    let built =
        services.filter_map(|service| Some((service.image.clone()?, service.build.as_ref()?)));
    built
        .flat_map(|(image, build)| std::iter::once(image).chain(build.tags.iter().cloned()))
        .collect()
}
