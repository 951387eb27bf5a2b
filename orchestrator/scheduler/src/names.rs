//! Owns how things of a stack are called. The names are docker compose's, so that people find what they expect.

use hoist_spec::model::Service;
use serde::{Deserialize, Serialize};

/// What a service asks the store for: one name may stand for an image of each platform.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ImageName {
    pub reference: String,
    /// Empty: the host's.
    pub platform: String,
}

impl ImageName {
    pub fn new(reference: impl Into<String>, platform: Option<&str>) -> Self {
        Self {
            reference: reference.into(),
            platform: platform.unwrap_or_default().to_owned(),
        }
    }

    /// What a service runs.
    pub fn of(project: &str, key: &str, service: &Service) -> Self {
        Self::new(
            image_reference(project, key, service),
            service.platform.as_deref(),
        )
    }
}

/// The host's.
impl From<&str> for ImageName {
    fn from(reference: &str) -> Self {
        Self::new(reference, None)
    }
}

/// `container_name`, or `<project>-<service>-<number>`.
pub fn container_name(project: &str, key: &str, service: &Service, number: u32) -> String {
    service
        .container_name
        .clone()
        .unwrap_or_else(|| format!("{project}-{key}-{number}"))
}

/// Name of a one-off container (`hoist run`); the suffix is the client's, since a plan may not draw lots.
pub fn oneoff_name(project: &str, key: &str, suffix: &str) -> String {
    format!("{project}-{key}-run-{suffix}")
}

/// The service's `image`, or `<project>-<service>` for what is only built.
pub fn image_reference(project: &str, key: &str, service: &Service) -> String {
    service
        .image
        .clone()
        .unwrap_or_else(|| format!("{project}-{key}"))
}
