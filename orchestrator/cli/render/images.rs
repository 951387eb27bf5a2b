//! Names and ids of images as docker lists them.

/// `sha256:0123…` without its algorithm.
pub(crate) fn bare(id: &str) -> &str {
    id.split_once(':').map_or(id, |(_, digest)| digest)
}

pub(crate) fn short(id: &str) -> &str {
    hoist_object::short(bare(id))
}

/// Repository and tag of a reference, `latest` when it has neither tag nor digest. The colon of a registry's port is
/// not a tag's.
pub(crate) fn split(reference: &str) -> (&str, &str) {
    let name = reference
        .split_once('@')
        .map_or(reference, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ if name.is_empty() => ("<none>", "<none>"),
        _ if name.len() == reference.len() => (name, "latest"),
        _ => (name, "<none>"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_is_told_from_a_port() {
        assert_eq!(split("debian:trixie"), ("debian", "trixie"));
        assert_eq!(
            split("localhost:5000/a/b"),
            ("localhost:5000/a/b", "latest")
        );
        assert_eq!(split("localhost:5000/a/b:1"), ("localhost:5000/a/b", "1"));
        assert_eq!(split("a@sha256:00"), ("a", "<none>"));
    }
}
