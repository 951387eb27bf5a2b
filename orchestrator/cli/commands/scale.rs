//! `hoist scale`: numbers of containers.

use hoist_api::ApplyRequest;
use hoist_scheduler::{Scale, Verb};

use crate::ctx::Ctx;
use crate::error::{Exit, Result};
use crate::project::LoadOptions;
use crate::{apply, bind_sources, options, project};

/// Set the number of containers of services
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Services and their numbers of containers
    #[arg(value_name = "SERVICE=NUM", required = true, value_parser = options::scale)]
    scale: Vec<(String, u32)>,
    /// Leave services that these depend on alone
    #[arg(long)]
    no_deps: bool,
}

pub(crate) fn request(ctx: &Ctx, args: &Args) -> Result<ApplyRequest> {
    let services: Vec<String> = args
        .scale
        .iter()
        .map(|(service, _)| service.clone())
        .collect();
    let options = LoadOptions {
        services: &services,
        ..LoadOptions::default()
    };
    let loaded = project::load(&ctx.settings, ctx.ui, options)?;
    bind_sources::warn_of_folders(
        ctx.ui,
        &loaded,
        &project::with_dependencies(&loaded.stack, &services),
    );
    let scale = Scale {
        scale: args.scale.iter().cloned().collect(),
        no_deps: args.no_deps,
    };
    apply::request(&loaded, Verb::Scale(scale))
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    apply::apply(ctx, &request(ctx, args)?).await?;
    Ok(Exit::OK)
}
