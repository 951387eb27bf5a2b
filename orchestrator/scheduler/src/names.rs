//! Owns how things of a stack are called. The names are docker compose's, so that people find what they expect.

use hoist_spec::model::Service;

/// `container_name`, or `<project>-<service>-<number>`.
pub fn container_name(project: &str, key: &str, service: &Service, number: u32) -> String {
    service.container_name.clone().unwrap_or_else(|| format!("{project}-{key}-{number}"))
}

/// Name of a one-off container (`hoist run`); the suffix is the client's, since a plan may not draw lots.
pub fn oneoff_name(project: &str, key: &str, suffix: &str) -> String {
    format!("{project}-{key}-run-{suffix}")
}

/// The service's `image`, or `<project>-<service>` for what is only built.
pub fn image_reference(project: &str, key: &str, service: &Service) -> String {
    service.image.clone().unwrap_or_else(|| format!("{project}-{key}"))
}
