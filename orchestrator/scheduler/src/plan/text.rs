//! Owns the text of a plan: what `hoist plan` prints and what snapshot tests compare. One line per step:
//! sign, verb, object, reason; with `{:#}` also the numbers of the step and of those it comes after.

use std::fmt;

use crate::action::{Action, ContainerSpec, ImageSource, Readiness};
use crate::plan::{Plan, Reason, Step};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "! {problem}")?;
        }
        for step in &self.steps {
            if f.alternate() {
                let after: Vec<String> = step.after.iter().map(|id| id.0.to_string()).collect();
                let after = if after.is_empty() {
                    String::new()
                } else {
                    format!("  after {}", after.join(" "))
                };
                writeln!(f, "{:<3} {step}{after}", step.id.0)?;
            } else {
                writeln!(f, "{step}")?;
            }
        }
        for note in &self.notes {
            writeln!(f, "# {note}")?;
        }
        if self.steps.is_empty() && self.problems.is_empty() {
            writeln!(f, "nothing to do")?;
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.action.sign(), self.action)?;
        write!(f, "  ({})", self.why)
    }
}

impl Action {
    /// `+` makes, `-` takes away, `~` changes a state, `?` waits.
    pub fn sign(&self) -> char {
        match self {
            Self::PullImage { .. }
            | Self::BuildImage { .. }
            | Self::CreateNetwork(_)
            | Self::CreateVolume(_)
            | Self::CreateContainer(_) => '+',
            Self::RemoveImage { .. }
            | Self::RemoveNetwork { .. }
            | Self::RemoveVolume { .. }
            | Self::RemoveContainer { .. } => '-',
            Self::StartContainer { .. }
            | Self::StopContainer { .. }
            | Self::KillContainer { .. }
            | Self::PauseContainer { .. }
            | Self::UnpauseContainer { .. } => '~',
            Self::Await { .. } => '?',
        }
    }

    /// In one or two words.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::PullImage { .. } => "pull image",
            Self::BuildImage { .. } => "build image",
            Self::RemoveImage { .. } => "remove image",
            Self::CreateNetwork(_) => "create network",
            Self::RemoveNetwork { .. } => "remove network",
            Self::CreateVolume(_) => "create volume",
            Self::RemoveVolume { .. } => "remove volume",
            Self::CreateContainer(_) => "create container",
            Self::StartContainer { .. } => "start container",
            Self::StopContainer { .. } => "stop container",
            Self::KillContainer { .. } => "kill container",
            Self::PauseContainer { .. } => "pause container",
            Self::UnpauseContainer { .. } => "unpause container",
            Self::RemoveContainer { .. } => "remove container",
            Self::Await { .. } => "wait for",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb(), self.object())?;
        match self {
            Self::CreateNetwork(spec) => {
                write!(
                    f,
                    " {}{}",
                    spec.subnet,
                    if spec.internal { " internal" } else { "" }
                )
            }
            Self::CreateContainer(spec) => write!(f, "{}", Details(spec)),
            Self::StopContainer { signal, grace, .. } => write!(f, " {signal} {grace:?}"),
            Self::KillContainer { signal, .. } => write!(f, " {signal}"),
            Self::RemoveContainer { volumes, .. } if !volumes.is_empty() => {
                write!(
                    f,
                    " with volumes {}",
                    volumes.iter().cloned().collect::<Vec<_>>().join(", ")
                )
            }
            Self::Await {
                until, required, ..
            } => {
                write!(f, " {until}{}", if *required { "" } else { " (optional)" })
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Started => "started",
            Self::Healthy => "healthy",
            Self::Completed => "completed",
            Self::Ready => "ready",
        })
    }
}

/// Image, addresses and ports of a new container.
struct Details<'a>(&'a ContainerSpec);

impl fmt::Display for Details<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(spec) = self;
        write!(f, " {}", spec.record.image)?;
        if let ImageSource::Stored { id } = &spec.image {
            let short: String = id.trim_start_matches("sha256:").chars().take(12).collect();
            write!(f, "@{short}")?;
        }
        for attachment in &spec.record.networks {
            write!(f, " {}={}", attachment.network, attachment.address)?;
        }
        for port in &spec.record.ports {
            write!(f, " {port}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("missing"),
            Self::NotRunning => f.write_str("not running"),
            Self::ConfigChanged { fields } if fields.is_empty() => f.write_str("changed"),
            Self::ConfigChanged { fields } => write!(f, "changed: {}", fields.join(", ")),
            Self::ImageChanged => f.write_str("image changed"),
            Self::Forced => f.write_str("forced"),
            Self::DependencyReplaced { service } => write!(f, "{service} is replaced"),
            Self::NetworkChanged { network } => write!(f, "network {network} changed"),
            Self::AddressNeeded { network } => write!(f, "its address in {network} is needed"),
            Self::Broken => f.write_str("broken"),
            Self::Orphan => f.write_str("orphan"),
            Self::ScaledDown => f.write_str("scaled down"),
            Self::Requested => f.write_str("requested"),
            Self::Condition { dependents } => write!(f, "needed by {}", dependents.join(", ")),
            Self::RestartPolicy { attempt } => write!(f, "restart policy, attempt {attempt}"),
        }
    }
}
