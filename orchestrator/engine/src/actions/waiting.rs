//! Waiting for containers to be in some condition. The supervisor sees every state; this is what is made of its answers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hoist_object::{ExitDoc, ProbeRecord};
use hoist_scheduler::Readiness;

use super::StepError;
use crate::engine::Engine;
use crate::world::{Condition, Outcome, Phase, Unready};

/// Lines of a probe's output that are shown.
const OUTPUT_LINES: usize = 10;

pub(crate) async fn until_ready(
    engine: &Arc<Engine>,
    containers: &BTreeSet<String>,
    until: Readiness,
) -> Result<(), StepError> {
    let names = containers.clone();
    let found = engine.look(move |world| {
        let id = |name: String| {
            (
                world
                    .by_name(&name)
                    .map(|container| container.doc.id.clone()),
                name,
            )
        };
        names.into_iter().map(id).collect::<Vec<_>>()
    });
    let mut waits = tokio::task::JoinSet::new();
    for (id, name) in found.await? {
        let id = id.ok_or_else(|| StepError::new(format!("container {name} does not exist")))?;
        let engine = Arc::clone(engine);
        waits.spawn(async move {
            match engine.wait(&id, Condition::Ready(until)).await? {
                Outcome::Unready(reason) => {
                    Err(StepError::new(explain(&engine, &name, reason).await))
                }
                Outcome::Gone => Err(StepError::new(
                    explain(&engine, &name, Unready::Removed).await,
                )),
                Outcome::Reached | Outcome::Exit(_) => Ok(()),
            }
        });
    }
    while let Some(done) = waits.join_next().await {
        done.map_err(|error| StepError::engine(error.to_string()))??;
    }
    Ok(())
}

fn how(exit: &ExitDoc) -> String {
    if exit.error.is_empty() {
        format!(
            "exited ({}){}",
            exit.code,
            if exit.oom { ", out of memory" } else { "" }
        )
    } else {
        format!("could not be started: {}", exit.error)
    }
}

/// With the last output of its healthcheck, which is what the user looks for next.
async fn explain(engine: &Arc<Engine>, name: &str, reason: Unready) -> String {
    let wanted = name.to_owned();
    let about = engine.look(move |world| {
        let container = world.by_name(&wanted)?;
        let last = container
            .health
            .as_ref()
            .and_then(|health| health.log.back().cloned());
        Some((container.doc.record.service.clone(), last))
    });
    let (service, last) = about.await.ok().flatten().unzip();
    match (reason, service, last.flatten()) {
        (Unready::NoHealthcheck, ..) => format!("container {name} has no healthcheck"),
        (Unready::Removed, ..) => format!("container {name} was removed"),
        (Unready::Unhealthy, _, Some(last)) => {
            format!("container {name} is unhealthy: {}", probed(&last))
        }
        (Unready::Unhealthy, _, None) => format!("container {name} is unhealthy"),
        (Unready::Exited(exit), Some(service), _) if exit.error.is_empty() => {
            format!(
                "container {name} {}\n  `hoist logs {service}` shows what it wrote",
                how(&exit)
            )
        }
        (Unready::Exited(exit), ..) => format!("container {name} {}", how(&exit)),
    }
}

fn probed(last: &ProbeRecord) -> String {
    let output = last.output.trim();
    let (said, lines) = match output.lines().count() {
        0 => (" and wrote nothing", String::new()),
        1 => ("", format!(": {output}")),
        // The reason is usually at the end.
        count => (
            " and wrote",
            output
                .lines()
                .skip(count.saturating_sub(OUTPUT_LINES))
                .map(|l| format!("\n  {l}"))
                .collect(),
        ),
    };
    match last.exit_code {
        // It was cut short, and the output says why.
        ..0 => format!(
            "its last healthcheck failed{}",
            if lines.is_empty() { said } else { &lines }
        ),
        code => format!("its last healthcheck exited with code {code}{said}{lines}"),
    }
}

/// What is being stopped or started (by a single request, its policy, or an engine that died meanwhile) is not in that
/// state for long: a plan must not take it for running.
pub(crate) async fn until_settled(engine: &Arc<Engine>, project: &str) -> Result<(), StepError> {
    let project = project.to_owned();
    let moving = engine.look(move |world| {
        let of_project = world
            .containers
            .values()
            .filter(|container| container.doc.record.project == project);
        let moving = of_project
            .filter(|container| container.phase == Phase::Starting || container.is_stopping());
        moving
            .map(|container| (container.doc.id.clone(), container.doc.record.stop_grace))
            .collect::<Vec<_>>()
    });
    for (id, grace) in moving.await? {
        // One that cannot be killed is what it is.
        let settled = engine.wait(&id, Condition::Settled);
        let _ = tokio::time::timeout(grace + Duration::from_secs(5), settled).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_probe_is_told_with_code_and_output() {
        let told = |exit_code: i32, output: &str| {
            probed(&ProbeRecord {
                exit_code,
                output: output.to_owned(),
                ..ProbeRecord::default()
            })
        };
        assert_eq!(
            told(7, "dry\n"),
            "its last healthcheck exited with code 7: dry"
        );
        assert_eq!(
            told(1, ""),
            "its last healthcheck exited with code 1 and wrote nothing"
        );
        assert_eq!(
            told(1, "a\nb"),
            "its last healthcheck exited with code 1 and wrote\n  a\n  b"
        );
        assert_eq!(
            told(-1, "Health check exceeded timeout (1s): "),
            "its last healthcheck failed: Health check exceeded timeout (1s):"
        );
    }
}
