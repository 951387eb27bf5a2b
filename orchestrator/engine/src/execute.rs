//! Carries out requests on a stack: observe, plan, execute, and again until there is nothing left to do.
//!
//! Nothing is chosen here: the plan says what, [`Progress`] says when, `actions` says how.

mod doing;
mod labels;
mod request;
mod sent;
mod session;
mod slots;

use std::collections::BTreeMap;
use std::sync::Arc;

use hoist_api::{ApplyEvent, ApplyRequest, ApplyResult, PlanResponse};
use hoist_scheduler::{Request, Verb, plan};
use tokio::sync::broadcast::error::RecvError;

use crate::actions::StepError;
use crate::engine::{Engine, steady};
use crate::error::chain;
use crate::leftovers;
use crate::observe::{Claims, observe};
use crate::outbox::{Outbox, outbox};
use session::Session;

pub use labels::phase;
pub(crate) use request::prepare;
pub use sent::{all_credentials, credentials};
pub(crate) use slots::Slots;

pub(crate) type Output = Outbox<ApplyEvent>;

/// What would be done.
pub(crate) async fn preview(
    engine: &Arc<Engine>,
    request: &ApplyRequest,
) -> Result<PlanResponse, StepError> {
    let (_, plan) = planned(engine, request).await?;
    Ok(PlanResponse {
        text: plan.to_string(),
        plan: plan.to_json(),
        steps: plan.steps.len(),
    })
}

/// The plan of what would be done, and the stack that it is for.
pub(crate) async fn planned(
    engine: &Arc<Engine>,
    request: &ApplyRequest,
) -> Result<(hoist_spec::model::Stack, hoist_scheduler::Plan), StepError> {
    let prepared = prepare(engine, request)
        .await
        .map_err(|error| StepError::new(chain(&error)))?;
    let observed = observe(engine, &prepared.desired)
        .await
        .map_err(|error| StepError::engine(chain(&error)))?;
    let plan = plan(
        &prepared.desired,
        &observed,
        &Request::new(steady(), request.verb.clone()),
        steady(),
    );
    Ok((prepared.desired.stack, plan))
}

/// How a request went.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) result: ApplyResult,
    /// Something waits for a dependency that is not there yet, and should be planned again when it may be.
    held: bool,
}

/// Does it. The result is also the last line of `out`.
pub(crate) async fn apply(engine: &Arc<Engine>, request: ApplyRequest, out: Output) -> Outcome {
    let _busy = engine.activity.begin();
    let outcome = match prepare(engine, &request).await {
        Ok(prepared) => {
            let project = prepared.desired.stack.name.clone();
            let (ends, overtakes) = (ends(&request.verb), overtakes(&request.verb));
            let outcome = Session::begin(engine, request, prepared, out.clone())
                .await
                .run()
                .await;
            if ends {
                leftovers::tidy(engine).await;
            }
            if !overtakes {
                engine.claim(project, Claims::default());
            }
            outcome
        }
        Err(error) => {
            let result = ApplyResult {
                code: 1,
                errors: vec![chain(&error)],
                ..ApplyResult::default()
            };
            Outcome {
                result,
                held: false,
            }
        }
    };
    out.send(ApplyEvent::Result(outcome.result.clone()));
    outcome
}

/// Takes something down: whoever works on the project gives way to it, and nothing that cannot be set up is in its way.
fn ends(verb: &Verb) -> bool {
    matches!(
        verb,
        Verb::Down(_) | Verb::Stop(_) | Verb::Kill(_) | Verb::Remove(_)
    )
}

/// Waits for nobody: `kill` is for what another request, say a `stop`, waits for. It takes nothing that others want.
fn overtakes(verb: &Verb) -> bool {
    matches!(verb, Verb::Kill(_))
}

/// After a boot: whatever the restart policies of a project want, in dependency order. What waits for a dependency is
/// planned again whenever something has happened.
pub(crate) async fn supervise(engine: &Arc<Engine>, project: &str) {
    let mut happened = engine.feed.subscribe();
    loop {
        let (out, _) = outbox();
        let outcome = apply(engine, supervision(project), out).await;
        for error in outcome.result.errors {
            tracing::warn!(project, error, "cannot bring up what ran before");
        }
        let missed = |error: &RecvError| matches!(error, RecvError::Lagged(_));
        if !outcome.held || happened.recv().await.is_err_and(|error| !missed(&error)) {
            return;
        }
    }
}

fn supervision(project: &str) -> ApplyRequest {
    ApplyRequest {
        stack: serde_json::Value::Null,
        project: project.to_owned(),
        verb: Verb::Supervise,
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
