//! The environment variables of an engine.
//!
//! The first command's environment may hold secrets, and an engine runs for months with its environment readable in
//! /proc and stored for the shims that start the next engine. So only the variables it uses are passed, by name.
//! Variables named in a stack file (`environment: VAR` of a secret or config, build arguments) are sent only with the
//! request.

use std::ffi::OsString;

use crate::places::Places;

/// Tells an engine that it was started by a client or a shim: it reports on standard output once (`ready`, or why it
/// cannot serve), closes it, and leaves the session.
pub const DETACHED: &str = "HOIST_ENGINE_DETACHED";

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

/// The whole environment of an engine that this process starts in these places. Values that are not UTF-8 are skipped.
pub fn environment(places: &Places) -> Vec<(String, OsString)> {
    let kept = KEPT
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?.into())));
    let places = [
        ("HOIST_DATA_ROOT", &places.data_root),
        ("HOIST_RUN_DIR", &places.run_dir),
        ("HOIST_HOST", &places.socket),
    ];
    let places = places
        .into_iter()
        .map(|(name, path)| (name.to_owned(), path.clone().into_os_string()));
    kept.chain(places)
        .chain([(DETACHED.to_owned(), OsString::from("1"))])
        .collect()
}
