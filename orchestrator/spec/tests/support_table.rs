//! docs/compose-support.md says for every attribute of Compose what hoist does about it, and which test shows it. The
//! table is made from the code's own list, and every test that it names must speak of the attribute.

#![expect(clippy::disallowed_methods, reason = "the table and the tests lie in files")]

use std::fmt::Write as _;
use std::path::Path;

use expect_test::expect_file;
use hoist_spec::schema::{Support, attributes};

/// The file under tests/keys that shows an attribute at work.
fn shown_in(path: &str, support: Support) -> &'static str {
    match support {
        Support::NotYet | Support::Modelled => return "unsupported",
        Support::Warn if path == "version" => return "top_level",
        Support::Warn => return "warned",
        Support::Yes => {}
    }
    let parts: Vec<&str> = path.split('.').collect();
    let key = match parts.as_slice() {
        ["services", "*", key, ..] => key.trim_end_matches("[]"),
        [top, ..] => top.trim_end_matches("[]"),
        [] => "",
    };
    match key {
        "build" => "build",
        "secrets" | "configs" => "configs_and_secrets",
        "depends_on" | "links" => "depends_on",
        "deploy" | "scale" => "deploy",
        "extends" => "extends",
        "healthcheck" => "healthcheck",
        "include" => "include",
        "labels" | "label_file" | "annotations" => "labels",
        "logging" => "logging",
        "networks" | "mac_address" | "dns" | "dns_opt" | "dns_search" | "extra_hosts" | "network_mode" => "networks",
        "ports" | "expose" => "ports",
        "profiles" => "profiles",
        "restart" => "restart",
        "cap_add" | "cap_drop" | "security_opt" | "privileged" | "pid" | "ipc" | "uts" => "security",
        "volumes" if path.contains("image") => "unsupported",
        "volumes" | "tmpfs" | "devices" | "shm_size" | "read_only" => "volumes",
        "name" | "services" => "top_level",
        "cpus" | "cpu_shares" | "cpu_quota" | "cpu_period" | "cpuset" | "mem_limit" | "mem_reservation"
        | "memswap_limit" | "pids_limit" | "oom_kill_disable" | "oom_score_adj" | "ulimits" | "sysctls" => "limits",
        _ => "process",
    }
}

#[test]
fn the_table_is_the_code_and_every_row_has_its_test() {
    let mut table = String::from(
        "# Compose attributes\n\n\
         What hoist does about every attribute of the Compose specification. This table is made from the code's own\n\
         list by `orchestrator/spec/tests/support_table.rs`, which fails when the two differ (`UPDATE_EXPECT=1` writes it\n\
         again). `*` is a key of the user's own, `[]` an item of a list; `x-` keys are kept wherever they are allowed.\n\n\
         - **yes**: read, printed by `hoist config`, acted on.\n\
         - **refused**: read and printed by `hoist config`; `up` and the other verbs refuse it by name (E0020).\n\
         - **warning**: accepted with one warning (W0001, W0003), without effect.\n\n\
         Some values of attributes that are acted on are refused as well: links with an alias, `network_mode` other than\n\
         none, host, service: and container:, `deploy.mode` other than replicated, ports of SCTP, mounts of type image,\n\
         npipe and cluster, targets that are not absolute, external secrets and configs, `pull_policy: refresh`,\n\
         network drivers other than bridge, volume drivers other than local.\n\n\
         | attribute | support | shown by |\n|---|---|---|\n",
    );
    for (path, support) in attributes() {
        let file = shown_in(&path, support);
        let word = match support {
            Support::Yes => "yes",
            Support::NotYet | Support::Modelled => "refused",
            Support::Warn => "warning",
        };
        let _ = writeln!(table, "| `{path}` | {word} | `keys/{file}.rs` |");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/keys/{file}.rs"));
        let text = std::fs::read_to_string(&source).unwrap();
        let name = path.rsplit('.').next().unwrap_or(&path);
        assert!(text.contains(name), "{} says nothing of `{path}`", source.display());
    }
    expect_file!["../../../docs/compose-support.md"].assert_eq(&table);
}
