//! Extended attributes (xattr(7)) by what they belong to: a file, the host's security policy, or overlayfs.

/// Whether the host's security policy owns it: it is not taken from archives, and not put into them.
pub fn is_attribute_of_host(name: &[u8]) -> bool {
    matches!(
        name,
        b"security.selinux" | b"security.ima" | b"security.evm"
    )
}

/// Whether it is a mark of overlayfs, which an archive must not set: it speaks of the layers below.
pub fn is_attribute_of_overlay(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}
