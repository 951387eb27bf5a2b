//! Contexts of their own names, and the names under which Dockerfiles ask for them.

use hoist_image::Reference;

use crate::BuildRequest;
use crate::request::NamedContext;

/// What a name stands for when the request has a context of that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    /// Files, by the request's own name for them.
    Files(String),
    Image(String),
}

/// `alpine`, `alpine:latest` and `docker.io/library/alpine` are one name.
pub(super) fn named(request: &BuildRequest, name: &str) -> Option<Named> {
    if request.contexts.is_empty() {
        return None;
    }
    let wanted = canonical(name);
    let (own, context) = request.contexts.iter().find(|(own, _)| canonical(own) == wanted)?;
    Some(match context {
        NamedContext::Image(image) => Named::Image(image.clone()),
        NamedContext::Folder(_) | NamedContext::Remote(_) => Named::Files(own.clone()),
    })
}

fn canonical(name: &str) -> String {
    let lower = name.to_lowercase();
    Reference::parse(&lower).map_or(lower, |reference| reference.to_string())
}
