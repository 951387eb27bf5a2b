//! Owns the JSON of a plan: what `hoist plan --format json` prints. Values of secrets are never in a plan; environment
//! values are left out because people put secrets there all the same.

use serde_json::{Value, json};

use crate::action::{Action, ContainerSpec, ImageSource, NetworkSpec};
use crate::plan::{Plan, Reason, Step};

impl Plan {
    pub fn to_json(&self) -> Value {
        json!({
            "project": self.project,
            "steps": self.steps.iter().map(Step::to_json).collect::<Vec<_>>(),
            "problems": self.problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "notes": self.notes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    }
}

impl Step {
    pub fn to_json(&self) -> Value {
        json!({
            "id": self.id.0,
            "action": self.action.name(),
            "object": self.action.object(),
            "details": self.action.details(),
            "after": self.after.iter().map(|id| id.0).collect::<Vec<_>>(),
            "reason": self.why.name(),
            "why": self.why.to_string(),
            "fields": match &self.why {
                Reason::ConfigChanged { fields } => fields.clone(),
                _ => Vec::new(),
            },
        })
    }
}

impl Action {
    /// The verb as one word with underscores.
    pub fn name(&self) -> String {
        match self {
            Self::Await { .. } => "await".to_owned(),
            _ => self.verb().replace(' ', "_"),
        }
    }

    fn details(&self) -> Value {
        match self {
            Self::PullImage { platform, .. } => json!({ "platform": platform }),
            Self::BuildImage {
                service,
                build,
                platform,
                ..
            } => {
                let platform = if build.platforms.is_empty() {
                    platform
                } else {
                    &build.platforms.join(",")
                };
                json!({ "service": service, "context": build.context, "dockerfile": build.dockerfile, "platform": platform })
            }
            Self::CreateNetwork(spec) => network(spec),
            Self::CreateVolume(spec) => json!({ "key": spec.key }),
            Self::CreateContainer(spec) => container(spec),
            Self::StopContainer { signal, grace, .. } => {
                json!({ "signal": signal, "grace_seconds": grace.as_secs_f64() })
            }
            Self::KillContainer { signal, .. } => json!({ "signal": signal }),
            Self::RemoveContainer { volumes, .. } => json!({ "volumes": volumes }),
            Self::Await {
                containers,
                until,
                required,
            } => {
                json!({ "containers": containers, "until": until.to_string(), "required": required })
            }
            Self::RemoveImage { .. }
            | Self::RemoveNetwork { .. }
            | Self::RemoveVolume { .. }
            | Self::StartContainer { .. }
            | Self::PauseContainer { .. }
            | Self::UnpauseContainer { .. } => json!({}),
        }
    }
}

fn network(spec: &NetworkSpec) -> Value {
    json!({ "key": spec.key, "subnet": spec.subnet, "gateway": spec.gateway, "internal": spec.internal })
}

fn container(spec: &ContainerSpec) -> Value {
    let record = &spec.record;
    let image_id = match &spec.image {
        ImageSource::Stored { id } => Some(id),
        ImageSource::Fetched => None,
    };
    json!({
        "service": record.service,
        "number": record.number,
        "oneoff": record.oneoff,
        "image": record.image,
        "image_id": image_id,
        "config_hash": record.config_hash,
        "networks": record.networks.iter().map(|attachment| json!({
            "network": attachment.network,
            "address": attachment.address,
            "prefix": attachment.prefix,
            "interface": attachment.interface,
            "aliases": attachment.aliases,
        })).collect::<Vec<_>>(),
        "ports": record.ports.iter().map(|port| json!({
            "host_ip": port.host_ip,
            "host_port": port.host_port,
            "target": port.target,
            "protocol": port.transport.to_string(),
        })).collect::<Vec<_>>(),
        "volumes": record.volumes,
    })
}

impl Reason {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::NotRunning => "not_running",
            Self::ConfigChanged { .. } => "config_changed",
            Self::ImageChanged => "image_changed",
            Self::Forced => "forced",
            Self::DependencyReplaced { .. } => "dependency_replaced",
            Self::NetworkChanged { .. } => "network_changed",
            Self::AddressNeeded { .. } => "address_needed",
            Self::Broken => "broken",
            Self::Orphan => "orphan",
            Self::ScaledDown => "scaled_down",
            Self::Requested => "requested",
            Self::Condition { .. } => "condition",
            Self::RestartPolicy { .. } => "restart_policy",
        }
    }
}
