//! Which variables an engine lives with.
//!
//! The first command's environment may hold anything, secrets above all, and an engine lives for months: readable in
//! /proc, and written down for the shims that start the next one. So it gets the variables that it acts on, by name.
//! What a stack file names (`environment: VAR` of a secret or config, build arguments) travels in its request alone.

/// Documented in docs/security.md.
const KEPT: [&str; 23] = [
    "PATH",
    "HOME",
    "TMPDIR",
    "TZ",
    "LANG",
    "XDG_CONFIG_HOME",
    "CONTAINERS_REGISTRIES_CONF",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "SOURCE_DATE_EPOCH",
    "RUST_BACKTRACE",
    "HOIST_LOG",
    "HOIST_POLICY",
    "HOIST_SHIM",
    // A proxy's password may be part of its URL; without it no registry can be reached.
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
];

/// Those of this process, for an engine that it starts. A value that is not text is of no use to any reader.
pub(crate) fn kept() -> Vec<(String, String)> {
    KEPT.into_iter().filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?))).collect()
}
