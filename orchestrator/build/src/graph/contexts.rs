//! Contexts of their own names, and the names under which Dockerfiles ask for them.

use hoist_image::{LayoutName, Reference};

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
    let (own, context) = request
        .contexts
        .iter()
        .find(|(own, _)| canonical(own) == wanted)?;
    Some(match context {
        NamedContext::Image(image) => Named::Image(image.clone()),
        NamedContext::Layout(layout) => Named::Image(layout_image(layout)),
        NamedContext::Folder(_) | NamedContext::Remote(_) => Named::Files(own.clone()),
    })
}

/// What stands for an image of a layout where others have a reference. No reference looks like it, and only a context
/// of the request leads to it: a Dockerfile that writes it names nothing.
pub(crate) fn layout_image(layout: &LayoutName) -> String {
    format!("oci-layout://{layout}")
}

fn canonical(name: &str) -> String {
    let lower = name.to_lowercase();
    Reference::parse(&lower).map_or(lower, |reference| reference.to_string())
}
