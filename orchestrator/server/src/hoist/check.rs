//! Whether what is stored is sound.

use axum::Json;
use axum::extract::State;
use hoist_api::{CheckReport, CheckRequest, Outcome, Problem};

use crate::answer::{ApiResult, App};

/// `POST /hoist/v1/system/check`
pub(crate) async fn check(
    State(engine): App,
    Json(request): Json<CheckRequest>,
) -> ApiResult<Json<CheckReport>> {
    Ok(Json(wire(
        engine.check_store(request.repair, request.quick).await?,
    )))
}

fn wire(report: hoist_image::CheckReport) -> CheckReport {
    let problem = |problem: hoist_image::Problem| Problem {
        object: problem.object,
        reason: problem.reason,
        outcome: match problem.outcome {
            hoist_image::Outcome::Found => Outcome::Found,
            hoist_image::Outcome::Restored => Outcome::Restored,
            hoist_image::Outcome::Dropped => Outcome::Dropped,
        },
    };
    CheckReport {
        images: report.images,
        layers: report.layers,
        blobs: report.blobs,
        bytes: report.bytes,
        problems: report.problems.into_iter().map(problem).collect(),
    }
}
