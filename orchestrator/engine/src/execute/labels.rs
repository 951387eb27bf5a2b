//! Words for people: what a step is about, and how it goes.

use hoist_image::Phase;
use hoist_scheduler::{Action, Observed, Plan, Readiness};
use hoist_spec::model::Stack;

/// E.g. `Container shop-db-1`.
pub(super) fn label(action: &Action) -> String {
    match action {
        Action::PullImage { reference, .. }
        | Action::BuildImage { reference, .. }
        | Action::RemoveImage { reference } => format!("Image {reference}"),
        Action::CreateNetwork(spec) => format!("Network {}", spec.name),
        Action::RemoveNetwork { network } => format!("Network {network}"),
        Action::CreateVolume(spec) => format!("Volume {}", spec.name),
        Action::RemoveVolume { volume } => format!("Volume {volume}"),
        Action::CreateContainer(spec) => format!("Container {}", spec.record.name),
        Action::StartContainer { container }
        | Action::StopContainer { container, .. }
        | Action::KillContainer { container, .. }
        | Action::PauseContainer { container }
        | Action::UnpauseContainer { container }
        | Action::RemoveContainer { container, .. } => format!("Container {container}"),
        Action::Await { containers, .. } => {
            let names: Vec<&str> = containers.iter().map(String::as_str).collect();
            format!("Container {}", names.join(", "))
        }
    }
}

/// While it goes on, and when it is done.
pub(super) fn words(action: &Action) -> (&'static str, &'static str) {
    match action {
        Action::PullImage { .. } => ("Pulling", "Pulled"),
        Action::BuildImage { .. } => ("Building", "Built"),
        Action::CreateNetwork(_) | Action::CreateVolume(_) | Action::CreateContainer(_) => {
            ("Creating", "Created")
        }
        Action::RemoveImage { .. }
        | Action::RemoveNetwork { .. }
        | Action::RemoveVolume { .. }
        | Action::RemoveContainer { .. } => ("Removing", "Removed"),
        Action::StartContainer { .. } => ("Starting", "Started"),
        Action::StopContainer { .. } => ("Stopping", "Stopped"),
        Action::KillContainer { .. } => ("Killing", "Killed"),
        Action::PauseContainer { .. } => ("Pausing", "Paused"),
        Action::UnpauseContainer { .. } => ("Unpausing", "Unpaused"),
        Action::Await { until, .. } => match until {
            Readiness::Started => ("Waiting", "Running"),
            Readiness::Healthy => ("Waiting", "Healthy"),
            Readiness::Completed => ("Waiting", "Exited"),
            Readiness::Ready => ("Waiting", "Ready"),
        },
    }
}

/// `service "db"`, for the head of an error; empty where the action names itself.
pub(super) fn service(action: &Action, stack: &Stack, plan: &Plan, observed: &Observed) -> String {
    let created = |name: &String| {
        plan.steps.iter().find_map(|step| match &step.action {
            Action::CreateContainer(spec) if spec.record.name == *name => {
                Some(spec.record.service.clone())
            }
            _ => None,
        })
    };
    let of = |name: &String| {
        let known = observed
            .containers
            .get(name)
            .map(|found| found.record.service.clone());
        match created(name).or(known) {
            Some(service) => format!("service {service:?} (container {name})"),
            None => format!("container {name}"),
        }
    };
    match action {
        Action::CreateContainer(spec) => {
            format!(
                "service {:?} (container {})",
                spec.record.service, spec.record.name
            )
        }
        Action::BuildImage { service, .. } => format!("service {service:?}"),
        Action::StartContainer { container }
        | Action::StopContainer { container, .. }
        | Action::KillContainer { container, .. }
        | Action::PauseContainer { container }
        | Action::UnpauseContainer { container }
        | Action::RemoveContainer { container, .. } => of(container),
        Action::CreateNetwork(spec) => format!("network {}", spec.name),
        Action::CreateVolume(spec) => format!("volume {}", spec.name),
        Action::Await { .. } => "dependency failed".to_owned(),
        Action::PullImage { reference, .. } => users(stack, reference),
        Action::RemoveImage { .. } | Action::RemoveNetwork { .. } | Action::RemoveVolume { .. } => {
            String::new()
        }
    }
}

/// The services that need an image.
fn users(stack: &Stack, reference: &str) -> String {
    let used = stack
        .services
        .iter()
        .filter(|(_, service)| service.image.as_deref() == Some(reference));
    let names: Vec<String> = used.map(|(name, _)| format!("{name:?}")).collect();
    match names.as_slice() {
        [] => String::new(),
        [name] => format!("service {name}"),
        names => format!("services {}", names.join(", ")),
    }
}

/// How far an image is, in words.
pub fn phase(phase: Phase, text: &str) -> String {
    let word = match phase {
        Phase::Resolving => "Resolving",
        Phase::Waiting => "Waiting",
        Phase::Exists => "Already exists",
        Phase::Downloading => "Downloading",
        Phase::Uploading => "Pushing",
        Phase::Mounted => return format!("Mounted from {text}"),
        Phase::Unpacking => "Extracting",
        Phase::Retrying => "Retrying",
        Phase::Complete => "Pull complete",
        Phase::Output => return text.to_owned(),
    };
    if text.is_empty() {
        word.to_owned()
    } else {
        format!("{word}: {text}")
    }
}
