//! Images: what is attached to them in a registry, and images that hoist makes itself.

use serde::{Deserialize, Serialize};

/// `GET /hoist/v1/artifacts/{name}`: one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Artifact {
    pub digest: String,
    /// What it says it is; empty when it does not.
    pub artifact_type: String,
    pub size: u64,
    /// `referrer`, `index`, or the tag that it is under.
    pub attached: String,
}

/// `POST /hoist/v1/images/bootstrap`; answers NDJSON of [`PullLine`](crate::PullLine).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct BootstrapRequest {
    pub reference: String,
}
