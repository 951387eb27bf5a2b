//! Owns the way of a stack-level verb through the engine: the request with everything that travels beside the stack,
//! its plan, and the pump from the engine's events to the progress display.

use std::collections::BTreeMap;
use std::time::Duration;

use hoist_api::{ApplyEvent, ApplyRequest, ApplyResult, PlanResponse, RegistryAuth};
use hoist_client::{Client, JsonStream};
use hoist_scheduler::{Services, Verb};
use hoist_spec::Loaded;

use crate::credentials;
use crate::ctx::Ctx;
use crate::error::{Failure, Result};
use crate::failed_step;
use crate::project::{self, Project};
use crate::render::progress::Progress;
use crate::signals::Interrupts;

/// A request that may create containers: with secrets' values, build arguments and credentials.
pub(crate) fn request(loaded: &Loaded, verb: Verb) -> Result<ApplyRequest> {
    let mut variables = project::environment_values(loaded)?;
    variables.extend(build_variables(loaded));
    let auth = credentials(loaded).map_err(anyhow::Error::new)?;
    Ok(ApplyRequest {
        variables,
        auth,
        ..bare(loaded, verb)
    })
}

/// A request about what exists; the stack may be known by its name alone.
pub(crate) fn request_on(project: &Project, verb: Verb) -> ApplyRequest {
    match &project.loaded {
        Some(loaded) => bare(loaded, verb),
        None => nothing_but(project.name.clone(), verb),
    }
}

/// A request about a stack that the engine knows.
pub(crate) fn on_name(project: &str, verb: Verb) -> ApplyRequest {
    nothing_but(project.to_owned(), verb)
}

fn nothing_but(project: String, verb: Verb) -> ApplyRequest {
    ApplyRequest {
        stack: serde_json::Value::Null,
        project,
        verb,
        wait_timeout: None,
        parallel: None,
        attach: false,
        debug: false,
        remove: false,
        project_dir: String::new(),
        files: Vec::new(),
        variables: BTreeMap::new(),
        auth: BTreeMap::new(),
    }
}

fn bare(loaded: &Loaded, verb: Verb) -> ApplyRequest {
    ApplyRequest {
        stack: hoist_spec::canonical::to_json(&loaded.stack),
        project_dir: loaded.project_dir.display().to_string(),
        files: loaded
            .files
            .iter()
            .map(|file| file.display().to_string())
            .collect(),
        ..nothing_but(loaded.stack.name.clone(), verb)
    }
}

pub(crate) fn services(names: &[String]) -> Services {
    names.iter().cloned().collect()
}

pub(crate) fn seconds(timeout: Option<u32>) -> Option<Duration> {
    timeout.map(|seconds| Duration::from_secs(seconds.into()))
}

/// Of the caller's environment, what builds may take: values for arguments that are named without one, and a few more.
fn build_variables(loaded: &Loaded) -> BTreeMap<String, String> {
    let builds = loaded
        .stack
        .services
        .values()
        .filter_map(|service| service.build.as_ref());
    let bare = builds
        .flat_map(|build| build.args.iter())
        .filter(|(_, value)| value.is_none());
    let mut variables: BTreeMap<String, String> = bare
        .filter_map(|(name, _)| Some((name.clone(), loaded.variables.get(name)?.clone())))
        .collect();
    if loaded
        .stack
        .services
        .values()
        .any(|service| service.build.is_some())
    {
        // The caller's own ssh agent, for builds that ask for one without naming it, and the time that they write down.
        let own = ["SSH_AUTH_SOCK", "SOURCE_DATE_EPOCH"].into_iter();
        variables.extend(
            own.filter_map(|name| Some((name.to_owned(), loaded.variables.get(name)?.clone()))),
        );
    }
    variables
}

/// For the registries that may be asked.
fn credentials(
    loaded: &Loaded,
) -> std::result::Result<BTreeMap<String, RegistryAuth>, hoist_image::CredentialsError> {
    let services = || loaded.stack.services.values();
    let mut auth =
        credentials::of_images(services().filter_map(|service| service.image.as_deref()))?;
    if services().any(|service| service.build.is_some()) {
        auth.extend(credentials::all()?);
    }
    Ok(auth)
}

/// What the request would do.
pub(crate) async fn plan(ctx: &Ctx, request: &ApplyRequest) -> Result<PlanResponse> {
    Ok(ctx.client().await?.plan(request).await?)
}

/// The plan says why it cannot be carried out.
pub(crate) fn has_problems(plan: &PlanResponse) -> bool {
    plan.plan
        .get("problems")
        .and_then(serde_json::Value::as_array)
        .is_some_and(|problems| !problems.is_empty())
}

/// Sends the request, with what the global options say of every request.
pub(crate) async fn begin(
    ctx: &Ctx,
    client: &Client,
    request: &ApplyRequest,
) -> Result<JsonStream<ApplyEvent>> {
    let request = ApplyRequest {
        parallel: ctx.settings.parallel,
        ..request.clone()
    };
    Ok(client.apply(&request).await?)
}

/// Does it, shows how it goes, and fails with what failed.
pub(crate) async fn apply(ctx: &Ctx, request: &ApplyRequest) -> Result<ApplyResult> {
    let client = ctx.client().await?;
    let mut interrupts = Interrupts::listen()?;
    let mut progress = Progress::new(ctx.ui);
    let work = async {
        let mut stream = begin(ctx, &client, request).await?;
        pump(ctx, &client, &mut stream, &mut progress).await
    };
    let result = tokio::select! {
        result = work => result?,
        () = interrupts.next() => {
            progress.finish();
            ctx.ui.note("Interrupted: builds are cancelled, and steps that have begun are finished by the engine");
            return Err(Failure::interrupted());
        }
    };
    progress.finish();
    check(result)
}

async fn pump(
    ctx: &Ctx,
    client: &Client,
    stream: &mut JsonStream<ApplyEvent>,
    progress: &mut Progress,
) -> Result<ApplyResult> {
    loop {
        match stream.next().await? {
            Some(ApplyEvent::Result(result)) => return Ok(result),
            Some(ApplyEvent::Shell {
                id,
                image,
                shell,
                exit_code,
            }) => {
                progress.leave();
                let words = format!(
                    "{image}: RUN failed with exit code {exit_code}; this is {shell} in the step as it failed, \
                     and leaving it ends the build"
                );
                failed_step::enter(ctx, client, &id, &words).await?;
            }
            Some(event) => progress.event(&event),
            None => return Err(lost()),
        }
    }
}

/// The engine went away in the middle.
pub(crate) fn lost() -> Failure {
    Failure::user("the engine closed the connection before the work was done")
        .hint("call the same command again: it goes on where the work stopped")
}

pub(crate) fn check(result: ApplyResult) -> Result<ApplyResult> {
    if result.code == 0 {
        Ok(result)
    } else {
        Err(Failure::apply(result))
    }
}
