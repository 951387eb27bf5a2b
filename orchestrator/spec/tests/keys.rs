//! One module per kind of key or feature: the canonical YAML, or the whole diagnostics.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod keys {
    mod build;
    mod configs_and_secrets;
    mod confined;
    mod depends_on;
    mod deploy;
    mod example;
    mod existing;
    mod explain;
    mod extends;
    pub(crate) mod files;
    mod habits;
    mod healthcheck;
    mod include;
    mod labels;
    mod language;
    mod limits;
    mod logging;
    mod merge;
    mod networks;
    mod ports;
    mod process;
    mod profiles;
    mod project;
    mod restart;
    mod security;
    pub(crate) mod shown;
    mod top_level;
    mod unsupported;
    mod views;
    mod volumes;
    mod warned;
}
