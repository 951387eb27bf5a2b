//! A container as lists show it.

use std::time::Duration;

use hoist_api::{ContainerSummary, SummaryHostConfig, SummaryNetworks};
use hoist_engine::{ContainerView, Handle, Phase, now};
use hoist_object::{Health, Timestamp};

use super::attachments::{endpoints, mounts, network_mode, ports};

pub(crate) fn summary(engine: &Handle, container: &ContainerView) -> ContainerSummary {
    let doc = &container.doc;
    ContainerSummary {
        id: doc.id.clone(),
        names: vec![format!("/{}", doc.record.name)],
        image: doc.record.image.clone(),
        image_id: doc.image_id.clone(),
        command: command(&container.argv()),
        created: doc.created.0 / 1_000_000_000,
        ports: ports(container),
        labels: doc.labels.clone(),
        state: container.phase.word().to_owned(),
        status: status(container),
        host_config: SummaryHostConfig {
            network_mode: network_mode(container),
        },
        network_settings: SummaryNetworks {
            networks: endpoints(container),
        },
        mounts: mounts(engine, container),
        health: health_word(container.health).to_owned(),
        exit_code: container.phase.exit().map_or(0, |exit| exit.code),
        size_rw: None,
        size_root_fs: None,
    }
}

/// In docker's format: words with spaces are quoted.
fn command(argv: &[String]) -> String {
    let quoted = |(index, word): (usize, &String)| {
        if index > 0 && word.contains(' ') {
            format!("'{word}'")
        } else {
            word.clone()
        }
    };
    argv.iter()
        .enumerate()
        .map(quoted)
        .collect::<Vec<_>>()
        .join(" ")
}

pub(super) fn health_word(health: Health) -> &'static str {
    match health {
        Health::None => "",
        Health::Starting => "starting",
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
    }
}

/// Docker's words: `Up 2 minutes (healthy)`, `Exited (0) 5 seconds ago`.
fn status(container: &ContainerView) -> String {
    let since = |time: Timestamp| ago(now().since(time));
    let up = || container.state.started.map(since).unwrap_or_default();
    match &container.phase {
        Phase::Created | Phase::Starting => "Created".to_owned(),
        Phase::Removed => "Removal In Progress".to_owned(),
        _ if container.unreachable.is_some() => format!("Up {} (shim not answering)", up()),
        Phase::Running => match container.health {
            Health::None => format!("Up {}", up()),
            Health::Starting => format!("Up {} (health: starting)", up()),
            health => format!("Up {} ({})", up(), health_word(health)),
        },
        Phase::Paused => format!("Up {} (Paused)", up()),
        Phase::Restarting { exit } => format!("Restarting ({}) {} ago", exit.code, since(exit.at)),
        Phase::Exited(exit) if container.state.started.is_none() => {
            format!("Created ({})", exit.code)
        }
        Phase::Exited(exit) => format!("Exited ({}) {} ago", exit.code, since(exit.at)),
    }
}

fn ago(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        120..3600 => format!("{minutes} minutes"),
        3600..7200 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 14 => format!("{} days", hours / 24),
        _ if hours < 24 * 60 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 730 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_as_docker_tells_them() {
        let text = |seconds| ago(Duration::from_secs(seconds));
        assert_eq!(text(0), "Less than a second");
        assert_eq!(text(59), "59 seconds");
        assert_eq!(text(90), "About a minute");
        assert_eq!(text(3600 * 30), "30 hours");
        assert_eq!(text(3600 * 24 * 20), "2 weeks");
    }
}
