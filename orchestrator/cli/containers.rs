//! Owns the way from a project, a service and an index to the engine's containers.

use hoist_api::ContainerSummary;
use hoist_client::Client;

use crate::ctx::Ctx;
use crate::error::{Failure, Result};
use crate::project;

pub(crate) const PROJECT_LABEL: &str = "com.docker.compose.project";

/// Containers of a project, services' and one-off ones, in the order of their names.
pub(crate) async fn of_project(
    client: &Client,
    project: &str,
    all: bool,
) -> Result<Vec<ContainerSummary>> {
    let label = format!("{PROJECT_LABEL}={project}");
    Ok(sorted(
        client.containers(all, &[("label", label.as_str())]).await?,
    ))
}

/// Containers of all projects, and those of none.
pub(crate) async fn of_all(client: &Client, all: bool) -> Result<Vec<ContainerSummary>> {
    Ok(sorted(client.containers(all, &[]).await?))
}

fn sorted(mut containers: Vec<ContainerSummary>) -> Vec<ContainerSummary> {
    let place = |c: &ContainerSummary| {
        (
            c.project().to_owned(),
            c.service().to_owned(),
            c.number(),
            c.name().to_owned(),
        )
    };
    containers.sort_by_cached_key(place);
    containers
}

/// The services' containers, those of the named services when some are named.
pub(crate) async fn of_services(
    client: &Client,
    project: &str,
    services: &[String],
    all: bool,
) -> Result<Vec<ContainerSummary>> {
    let mut containers = of_project(client, project, all).await?;
    containers.retain(|c| {
        !c.one_off() && (services.is_empty() || services.iter().any(|name| name == c.service()))
    });
    Ok(containers)
}

/// The running container with that index, or the first one.
pub(crate) async fn running(
    client: &Client,
    project: &str,
    service: &str,
    index: Option<u32>,
) -> Result<ContainerSummary> {
    let mut candidates = of_services(client, project, &[service.to_owned()], false).await?;
    candidates.retain(|container| index.is_none_or(|index| container.number() == index));
    match (candidates.into_iter().next(), index) {
        (Some(container), _) => Ok(container),
        (None, Some(index)) => Err(Failure::user(format!(
            "service \"{service}\" has no running container #{index}"
        ))),
        (None, None) => Err(
            Failure::user(format!("service \"{service}\" is not running")).hint(format!(
                "`hoist up -d {service}` starts it; `hoist ps -a {service}` says how it ended"
            )),
        ),
    }
}

/// As [`running`], but a stopped one will do.
pub(crate) async fn any(
    client: &Client,
    project: &str,
    service: &str,
    index: Option<u32>,
) -> Result<ContainerSummary> {
    let mut candidates = of_services(client, project, &[service.to_owned()], true).await?;
    candidates.retain(|container| index.is_none_or(|index| container.number() == index));
    match (candidates.into_iter().next(), index) {
        (Some(container), _) => Ok(container),
        (None, Some(index)) => Err(Failure::user(format!(
            "service \"{service}\" has no container #{index}"
        ))),
        (None, None) => Err(
            Failure::user(format!("no container of service \"{service}\"")).hint(format!(
                "is the stack up? `hoist -p {project} ps -a` lists what there is"
            )),
        ),
    }
}

/// The name as it stands in front of log lines: without the project's.
pub(crate) fn short_name<'a>(project: &str, name: &'a str) -> &'a str {
    name.strip_prefix(project)
        .and_then(|rest| rest.strip_prefix('-'))
        .unwrap_or(name)
}

/// The id of the container that a user means: a service's of the stack here, else any by its name or id.
pub(crate) async fn find_id(
    ctx: &Ctx,
    client: &Client,
    name: &str,
    index: Option<u32>,
) -> Result<String> {
    if let Ok(project) = project::find(&ctx.settings, ctx.ui, &[])
        && let Ok(container) = any(client, &project.name, name, index).await
    {
        return Ok(container.id);
    }
    Ok(client.container(name).await?.id)
}
