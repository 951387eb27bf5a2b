//! Waiting for containers to be in some condition. Nothing is polled: every container has a watch.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hoist_object::{ExitDoc, Health, Wanted};
use hoist_scheduler::Readiness;
use tokio::sync::watch;

use super::StepError;
use crate::engine::Engine;
use crate::probe::HealthLog;
use crate::world::{Phase, Status};

/// Lines of a probe's output that are shown.
const OUTPUT_LINES: usize = 10;

struct Watched {
    name: String,
    has_healthcheck: bool,
    status: watch::Receiver<Status>,
}

pub(crate) async fn until_ready(
    engine: &Arc<Engine>,
    containers: &BTreeSet<String>,
    until: Readiness,
) -> Result<(), StepError> {
    let names = containers.clone();
    let watched: Vec<Result<Watched, String>> = engine
        .look(move |world| {
            let watch = |name: String| match world.by_name(&name) {
                Some(container) => Ok(Watched {
                    has_healthcheck: container.health_plan.is_some(),
                    status: container.status.subscribe(),
                    name,
                }),
                None => Err(name),
            };
            names.into_iter().map(watch).collect()
        })
        .await?;
    let mut waits = tokio::task::JoinSet::new();
    for watched in watched {
        let mut watched = watched.map_err(|name| StepError::new(format!("container {name} does not exist")))?;
        let engine = Arc::clone(engine);
        waits.spawn(async move {
            let outcome = one(&mut watched, until).await;
            match outcome {
                Ok(()) => Ok(()),
                Err(reason) => Err(StepError::new(explain(&engine, &watched.name, reason).await)),
            }
        });
    }
    while let Some(done) = waits.join_next().await {
        done.map_err(|error| StepError::engine(error.to_string()))??;
    }
    Ok(())
}

async fn one(watched: &mut Watched, until: Readiness) -> Result<(), String> {
    let has_healthcheck = watched.has_healthcheck;
    let mut verdict = None;
    let waited = watched.status.wait_for(|status| {
        verdict = judge(status, until, has_healthcheck);
        verdict.is_some()
    });
    if waited.await.is_err() {
        return Err("was removed".to_owned());
    }
    verdict.unwrap_or(Ok(()))
}

/// `None`: not decided yet.
fn judge(status: &Status, until: Readiness, has_healthcheck: bool) -> Option<Result<(), String>> {
    if until == Readiness::Healthy && !has_healthcheck {
        return Some(Err("has no healthcheck".to_owned()));
    }
    let wants_health = until == Readiness::Healthy || (until == Readiness::Ready && has_healthcheck);
    match &status.phase {
        Phase::Created | Phase::Starting | Phase::Restarting { .. } => None,
        Phase::Removed => Some(Err("was removed".to_owned())),
        Phase::Running | Phase::Paused => match (until, status.health) {
            (Readiness::Completed, _) => None,
            (_, Health::Unhealthy) if wants_health => Some(Err("is unhealthy".to_owned())),
            (_, Health::Healthy) => Some(Ok(())),
            _ if wants_health => None,
            _ => Some(Ok(())),
        },
        Phase::Exited(exit) => Some(judge_exit(exit, until, wants_health)),
    }
}

fn judge_exit(exit: &ExitDoc, until: Readiness, wants_health: bool) -> Result<(), String> {
    let how = || {
        if exit.error.is_empty() {
            format!("exited ({}){}", exit.code, if exit.oom { ", out of memory" } else { "" })
        } else {
            format!("could not be started: {}", exit.error)
        }
    };
    match until {
        // It was started, which is all that is asked.
        Readiness::Started if exit.error.is_empty() => Ok(()),
        Readiness::Completed if exit.code == 0 => Ok(()),
        Readiness::Ready if exit.code == 0 && !wants_health => Ok(()),
        _ => Err(how()),
    }
}

/// With the last output of its healthcheck, which is what the user looks for next.
async fn explain(engine: &Arc<Engine>, name: &str, reason: String) -> String {
    let wanted = name.to_owned();
    let about = engine.look(move |world| {
        let container = world.by_name(&wanted)?;
        let last = container.health.as_ref().and_then(|health| health.log.back().cloned());
        Some((container.doc.record.service.clone(), last))
    });
    match about.await {
        Ok(Some((_, Some(last)))) if reason == "is unhealthy" => {
            format!("container {name} {reason}: {}", probed(&last))
        }
        Ok(Some((service, _))) if reason.starts_with("exited") => {
            format!("container {name} {reason}\n  `hoist logs {service}` shows what it wrote")
        }
        _ => format!("container {name} {reason}"),
    }
}

fn probed(last: &HealthLog) -> String {
    let output = last.output.trim();
    let (said, lines) = match output.lines().count() {
        0 => (" and wrote nothing", String::new()),
        1 => ("", format!(": {output}")),
        // The reason is usually at the end.
        count => (
            " and wrote",
            output.lines().skip(count.saturating_sub(OUTPUT_LINES)).map(|l| format!("\n  {l}")).collect(),
        ),
    };
    match last.exit_code {
        // It was cut short, and the output says why.
        ..0 => format!("its last healthcheck failed{}", if lines.is_empty() { said } else { &lines }),
        code => format!("its last healthcheck exited with code {code}{said}{lines}"),
    }
}

/// What is being stopped or started (by a single request, its policy, or an engine that died meanwhile) is not in that
/// state for long: a plan must not take it for running.
pub(crate) async fn until_settled(engine: &Arc<Engine>, project: &str) -> Result<(), StepError> {
    let project = project.to_owned();
    let moving = engine.look(move |world| {
        let of_project = world.containers.values().filter(|container| container.doc.record.project == project);
        let moving = of_project.filter(|container| {
            let stopping = container.phase.has_processes() && container.state.wanted == Wanted::Stopped;
            stopping || container.phase == Phase::Starting
        });
        moving.map(|container| (container.status.subscribe(), container.doc.record.stop_grace)).collect::<Vec<_>>()
    });
    for (mut status, grace) in moving.await? {
        let starting = status.borrow().phase == Phase::Starting;
        let settled =
            status.wait_for(|status| if starting { status.phase != Phase::Starting } else { !status.phase.is_up() });
        // One that cannot be killed is what it is.
        let _ = tokio::time::timeout(grace + Duration::from_secs(5), settled).await;
    }
    Ok(())
}

/// The exit of a container that is down, as soon as it is. `fresh`: only an exit that happens from now on.
pub(crate) async fn wait_until_down(status: &mut watch::Receiver<Status>, fresh: bool) -> Option<ExitDoc> {
    let (run, was_up) = {
        let now = status.borrow_and_update();
        (now.run, now.phase.is_up())
    };
    let down = status.wait_for(|status| {
        let counts = !fresh || was_up || status.run > run;
        status.phase == Phase::Removed
            || (counts && status.phase.exit().is_some())
            || (!fresh && status.phase == Phase::Created)
    });
    down.await.ok().and_then(|status| status.phase.exit().cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(phase: Phase, health: Health) -> Status {
        Status { phase, health, run: 1 }
    }

    fn exited(code: i32) -> Phase {
        Phase::Exited(ExitDoc { code, ..ExitDoc::default() })
    }

    #[test]
    fn last_probe_is_told_with_code_and_output() {
        let told = |exit_code: i32, output: &str| {
            probed(&HealthLog { exit_code, output: output.to_owned(), ..HealthLog::default() })
        };
        assert_eq!(told(7, "dry\n"), "its last healthcheck exited with code 7: dry");
        assert_eq!(told(1, ""), "its last healthcheck exited with code 1 and wrote nothing");
        assert_eq!(told(1, "a\nb"), "its last healthcheck exited with code 1 and wrote\n  a\n  b");
        assert_eq!(
            told(-1, "Health check exceeded timeout (1s): "),
            "its last healthcheck failed: Health check exceeded timeout (1s):"
        );
    }

    #[test]
    fn completion_needs_exit_zero() {
        assert_eq!(judge(&status(Phase::Running, Health::None), Readiness::Completed, false), None);
        assert_eq!(judge(&status(exited(0), Health::None), Readiness::Completed, false), Some(Ok(())));
        assert!(judge(&status(exited(3), Health::None), Readiness::Completed, false).unwrap().is_err());
    }

    #[test]
    fn ready_means_healthy_where_there_is_a_healthcheck() {
        assert_eq!(judge(&status(Phase::Running, Health::Starting), Readiness::Ready, true), None);
        assert_eq!(judge(&status(Phase::Running, Health::Healthy), Readiness::Ready, true), Some(Ok(())));
        assert_eq!(judge(&status(Phase::Running, Health::None), Readiness::Ready, false), Some(Ok(())));
        assert!(judge(&status(exited(0), Health::None), Readiness::Ready, true).unwrap().is_err());
    }

    #[test]
    fn restarting_container_is_still_waited_for() {
        let phase = Phase::Restarting { exit: ExitDoc { code: 1, ..ExitDoc::default() } };
        assert_eq!(judge(&status(phase, Health::None), Readiness::Healthy, true), None);
    }
}
