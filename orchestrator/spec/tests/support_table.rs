//! docs/compose-support.md says for every attribute of Compose what hoist does about it, and which test shows it. The
//! table is made from the code's own list, and every test that it names must speak of the attribute.

#![expect(
    clippy::disallowed_methods,
    reason = "the table and the tests lie in files"
)]

use std::fmt::Write as _;
use std::path::Path;

use expect_test::expect_file;
use hoist_spec::schema::{Support, attributes};

/// Tests that show what an attribute does to a container, a network or a plan: file below the repository, then name.
/// The first whose attributes are the path or a part of it counts; `*` stands for whatever follows.
const SHOWN: &[(&str, &str, &[&str])] = &[
    (
        "tests/e2e/dependencies.rs",
        "services_wait_for_and_follow_what_they_depend_on",
        &[
            "services.*.depends_on*",
            "services.*.healthcheck.start_interval",
        ],
    ),
    (
        "tests/e2e/network.rs",
        "datagrams_are_published_too",
        &["services.*.ports[].protocol"],
    ),
    (
        "tests/e2e/network.rs",
        "ports_are_published_where_the_file_says",
        &["services.*.ports*"],
    ),
    (
        "tests/e2e/network.rs",
        "names_and_addresses_are_those_of_the_file",
        &[
            "services.*.networks.*.aliases",
            "services.*.networks.*.ipv4_address",
            "networks.*.internal",
        ],
    ),
    (
        "tests/e2e/platforms.rs",
        "an_image_for_several_platforms_is_pushed_whole_and_pulled_in_parts",
        &["services.*.build.platforms", "services.*.platform"],
    ),
    (
        "tests/e2e/caches.rs",
        "another_machine_builds_from_a_cache_in_a_registry",
        &["services.*.build.cache_from", "services.*.build.cache_to"],
    ),
    (
        "tests/e2e/build_attributes.rs",
        "an_image_is_built_as_the_file_says",
        &["services.*.build*"],
    ),
    (
        "tests/e2e/attributes.rs",
        "a_process_is_what_the_file_says",
        &[
            "services.*.annotations",
            "services.*.command",
            "services.*.container_name",
            "services.*.domainname",
            "services.*.entrypoint",
            "services.*.env_file*",
            "services.*.environment",
            "services.*.group_add",
            "services.*.hostname",
            "services.*.init",
            "services.*.label_file",
            "services.*.labels",
            "services.*.oom_score_adj",
            "services.*.stdin_open",
            "services.*.stop_grace_period",
            "services.*.stop_signal",
            "services.*.sysctls",
            "services.*.tty",
            "services.*.ulimits*",
            "services.*.user",
            "services.*.working_dir",
        ],
    ),
    (
        "tests/e2e/attributes.rs",
        "a_container_is_confined_as_the_file_says",
        &[
            "services.*.cap_add",
            "services.*.cap_drop",
            "services.*.devices*",
            "services.*.ipc",
            "services.*.pid",
            "services.*.privileged",
            "services.*.read_only",
            "services.*.security_opt",
            "services.*.uts",
        ],
    ),
    (
        "tests/e2e/attributes.rs",
        "limits_reach_the_cgroup",
        &[
            "services.*.cpu*",
            "services.*.mem*",
            "services.*.oom_kill_disable",
            "services.*.pids_limit",
            "services.*.shm_size",
            "services.*.deploy.resources*",
        ],
    ),
    (
        "tests/e2e/volumes.rs",
        "a_container_has_the_volumes_of_others",
        &["services.*.volumes_from"],
    ),
    (
        "tests/e2e/bad_input.rs",
        "a_missing_bind_source_is_refused",
        &["services.*.volumes[].bind.create_host_path"],
    ),
    (
        "tests/e2e/attributes.rs",
        "files_are_mounted_as_the_file_says",
        &[
            "services.*.configs*",
            "services.*.secrets*",
            "services.*.tmpfs",
            "services.*.volumes*",
            "volumes.*.labels",
            "secrets.*.environment",
            "secrets.*.file",
            "configs.*.content",
            "configs.*.environment",
            "configs.*.file",
        ],
    ),
    (
        "tests/e2e/volumes.rs",
        "options_of_the_local_driver_mount_for_the_containers_alone",
        &["volumes.*.driver_opts"],
    ),
    (
        "tests/e2e/attributes.rs",
        "a_network_is_joined_as_the_file_says",
        &[
            "services.*.dns*",
            "services.*.expose",
            "services.*.extra_hosts",
            "services.*.links",
            "services.*.mac_address",
            "services.*.network_mode",
            "services.*.networks*",
            "networks.*.driver_opts",
            "networks.*.ipam*",
            "networks.*.labels",
        ],
    ),
    (
        "tests/e2e/attributes.rs",
        "health_and_restarts_follow_the_file",
        &[
            "services.*.deploy",
            "services.*.deploy.mode",
            "services.*.deploy.replicas",
            "services.*.deploy.restart_policy*",
            "services.*.healthcheck*",
            "services.*.logging*",
            "services.*.restart",
            "services.*.scale",
        ],
    ),
    (
        "tests/e2e/attributes.rs",
        "services_may_keep_their_output_to_themselves",
        &["services.*.attach"],
    ),
    (
        "tests/e2e/registry.rs",
        "a_stack_is_pulled_from_a_plain_registry_by_its_pull_policy",
        &["services.*.image", "services.*.pull_policy"],
    ),
    (
        "tests/e2e/dependencies.rs",
        "networks_and_volumes_have_their_own_names_and_owners",
        &[
            "networks.*.external",
            "networks.*.name",
            "volumes.*.external",
            "volumes.*.name",
        ],
    ),
];

/// Where an attribute is shown at work: a test that sees its effect, or the file of the language's own tests.
fn shown_in(path: &str, support: Support) -> (String, String) {
    // The only value that is taken is what holds without it.
    let is_default = path == "networks.*.ipam.driver";
    let keys = |name: &str| {
        (
            format!("orchestrator/spec/tests/keys/{name}.rs"),
            String::new(),
        )
    };
    match support {
        Support::NotYet | Support::Modelled => return keys("unsupported"),
        Support::Warn if path == "version" => return keys("top_level"),
        Support::Warn if path.starts_with("services.*.build.secrets") => return keys("build"),
        Support::Warn => return keys("warned"),
        Support::Yes | Support::Part => {
            let covers = |known: &str| {
                known
                    .strip_suffix('*')
                    .map_or(path == known, |start| path.starts_with(start))
            };
            let found = SHOWN
                .iter()
                .find(|(_, _, paths)| !is_default && paths.iter().any(|known| covers(known)));
            if let Some((file, test, _)) = found {
                return ((*file).to_owned(), (*test).to_owned());
            }
        }
        Support::Printed => {}
    }
    let parts: Vec<&str> = path.split('.').collect();
    let key = match parts.as_slice() {
        ["services", "*", key, ..] => key.trim_end_matches("[]"),
        [top, ..] => top.trim_end_matches("[]"),
        [] => "",
    };
    keys(match key {
        "build" => "build",
        "secrets" | "configs" => "configs_and_secrets",
        "deploy" => "deploy",
        "extends" => "extends",
        "include" => "include",
        "networks" => "networks",
        "ports" => "ports",
        "profiles" => "profiles",
        "volumes" if path.contains("image") => "unsupported",
        "volumes" => "volumes",
        "name" | "services" => "top_level",
        _ => "process",
    })
}

#[test]
fn the_table_is_the_code_and_every_row_has_its_test() {
    let mut table = String::from(
        "# Compose attributes\n\n\
         What hoist does about every attribute of the Compose specification. This table is made from the code's own\n\
         list by `orchestrator/spec/tests/support_table.rs`, which fails when the two differ (`UPDATE_EXPECT=1` writes it\n\
         again). `*` is a key of the user's own, `[]` an item of a list; `x-` keys are kept wherever they are allowed.\n\n\
         - **yes**: read, printed by `hoist config`, acted on. The named test fails without the attribute, which\n\
         \x20 `tests/e2e/effects.rs` checks for each; where only a file of `keys/` is named, the attribute belongs to the language\n\
         \x20 itself, or to values without effect on a single machine, and `keys/shown.rs` checks that file in the same way.\n\
         - **in part**: as yes; some values are refused by name.\n\
         - **printed**: read and printed by `hoist config`; has no effect on an engine on a single Linux machine.\n\
         - **refused**: by name (E0020) by `config`, `plan`, `up` and all verbs that make something; verbs about what exists, such\n\
         \x20 as `down`, and `hoist config --no-consistency` read it.\n\
         - **warning**: accepted with one warning (W0001, W0003), without effect.\n\n\
         Refused values: `deploy.mode` other than replicated and global,\n\
         SCTP ports, mounts of type image, npipe and cluster, relative targets, external secrets and configs,\n\
         `pull_policy: refresh`, network drivers other than bridge, driver options other than the MTU and the bridge's\n\
         name, IPv6 (also of ports), volume drivers other than local,\n\
         logging drivers other than json-file, local and none, security options other than no-new-privileges,\n\
         seccomp=unconfined, apparmor=unconfined and label=disable, sysctls that are not namespaced.\n\
         `hoist config` refuses them as `up` does; `--no-consistency` prints them, and listings such as `--services` warn of\n\
         them. Each refusal suggests an alternative.\n\n\
         `hoist config` prints the same as docker compose, including values without effect (`scale: 1`, `z` of a volume). Two\n\
         things differ on purpose. A `command` string keeps shell operators (`a && b`), with a warning;\n\
         docker compose drops everything after the first one. A probe with several words after `CMD-SHELL` is run as one line,\n\
         with a warning; docker passes the words after the first as arguments of the shell.\n\n\
         `logging`: output is kept in rotated files with any driver (`json-file`, `local`), 5 files of 50 MB\n\
         per container unless `options` say otherwise (`max-size: 10m`, `max-file: \"3\"`); `none` keeps nothing. `hoist logs`\n\
         says when older lines were rotated away.\n\n\
         | attribute | support | shown by |\n|---|---|---|\n",
    );
    for (path, support) in attributes() {
        let (file, test) = shown_in(&path, support);
        let word = match support {
            Support::Yes => "yes",
            Support::Part => "in part",
            Support::Printed => "printed",
            Support::NotYet | Support::Modelled => "refused",
            Support::Warn => "warning",
        };
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../..")
            .join(&file);
        let text = std::fs::read_to_string(&source).unwrap();
        if test.is_empty() {
            let name = path.rsplit('.').next().unwrap_or(&path);
            assert!(text.contains(name), "{file} says nothing of `{path}`");
        } else {
            assert!(
                text.contains(&format!("fn {test}()")),
                "{file} has no test {test}"
            );
        }
        let short = file
            .trim_start_matches("tests/")
            .replace("orchestrator/", "")
            .replace("/tests/", "/");
        let shown = if test.is_empty() {
            format!("`{short}`")
        } else {
            format!("`{short}`: `{test}`")
        };
        let _ = writeln!(table, "| `{path}` | {word} | {shown} |");
    }
    expect_file!["../../../docs/compose-support.md"].assert_eq(&table);
}
