//! The environment variables of an engine.
//!
//! The first command's environment may hold secrets, and an engine runs for months with its environment readable in
//! /proc and stored for the shims that start the next engine. So only the variables it uses are passed, by name.
//! Variables named in a stack file (`environment: VAR` of a secret or config, build arguments) are sent only with the
//! request.

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

/// The variables of this process to pass to an engine it starts. Values that are not UTF-8 are skipped.
pub(crate) fn kept() -> Vec<(String, String)> {
    KEPT.into_iter().filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?))).collect()
}
