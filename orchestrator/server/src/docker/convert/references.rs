//! Names of images, and when they were made.

use hoist_image::Reference;

use crate::answer::{ApiError, ApiResult};

pub(crate) fn seconds(created: &str) -> i64 {
    created
        .parse::<jiff::Timestamp>()
        .map_or(0, jiff::Timestamp::as_second)
}

pub(crate) fn names(references: &[Reference]) -> Vec<String> {
    references.iter().map(Reference::short).collect()
}

pub(crate) fn parse(name: &str) -> ApiResult<Reference> {
    Reference::parse(name).map_err(|error| ApiError::invalid(&error))
}
