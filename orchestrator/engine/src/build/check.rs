//! `build --check`: the builds that a plan would run, checked instead.

use std::path::Path;
use std::sync::Arc;

use hoist_api::{ApplyRequest, BuildCheck, Finding};
use hoist_build::{BuildError, Checked, Diagnostic};
use hoist_scheduler::Action;
use tokio_util::task::TaskTracker;

use super::{Beside, Wanted, host, platforms, request};
use crate::actions::StepError;
use crate::building::Building;
use crate::engine::Engine;
use crate::error::chain;
use crate::execute::{self, all_credentials};
use crate::outbox::outbox;

pub(crate) async fn check(
    engine: &Arc<Engine>,
    wire: &ApplyRequest,
) -> Result<Vec<BuildCheck>, StepError> {
    let (stack, plan) = execute::planned(engine, wire).await?;
    let project_dir = Path::new(&wire.project_dir);
    let beside = Beside {
        stack: &stack,
        variables: &wire.variables,
        project_dir,
    };
    let building = Arc::new(Building::default());
    let auth = Arc::new(all_credentials(wire.auth.clone()));
    // Nothing is run, so there is no output to read.
    let (out, _) = outbox();
    let mut checks = Vec::new();
    for step in &plan.steps {
        let Action::BuildImage {
            reference,
            service,
            build,
            platform: wanted,
        } = &step.action
        else {
            continue;
        };
        let wanted = Wanted {
            reference,
            build,
            platform: wanted,
            building: &building,
            shell: None,
            out: &out,
        };
        let request = request::request(&wanted, platforms(&wanted)?, beside)?;
        let host = host(engine, &wanted, &auth, |_| {}, &TaskTracker::new())?;
        let checked = hoist_build::check(&request, &host).await;
        checks.push(BuildCheck {
            service: service.clone(),
            ..result(checked)
        });
    }
    Ok(checks)
}

fn result(checked: Result<Checked, BuildError>) -> BuildCheck {
    match checked {
        Ok(checked) => BuildCheck {
            file: checked.file.name.clone(),
            findings: checked
                .findings
                .iter()
                .map(|finding| wire(&checked, finding))
                .collect(),
            ..BuildCheck::default()
        },
        Err(error) => BuildCheck {
            error: chain(&error),
            ..BuildCheck::default()
        },
    }
}

fn wire(checked: &Checked, finding: &Diagnostic) -> Finding {
    let (line, column) = checked.file.position(finding.span.start);
    Finding {
        rule: finding
            .rule
            .map(|rule| rule.name().to_owned())
            .unwrap_or_default(),
        message: finding.message.clone(),
        line,
        column,
        hints: finding.hints.clone(),
        text: finding.render(&checked.file, false),
    }
}
