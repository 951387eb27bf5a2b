//! Values that a start would refuse: `up` and `plan` refuse them where they stand; `config` prints them and warns.

use expect_test::expect;
use hoist_spec::{LoadRequest, Severity, diagnostic};

use super::files::{files, run};

const BAD: &str = r#"
services:
  a:
    image: a
    cap_add: [NET_ADMN, SYS_TIME]
    cap_drop: [cap_fly]
    devices: ["/dev/null:/dev/x:rwx"]
    extra_hosts: ["db=somewhere"]
    logging: {driver: fluentd, options: {fluentd-address: "x:1"}}
    mac_address: "02:42"
    networks: {default: {mac_address: "zz:42:ac:11:00:02"}}
    oom_score_adj: 2000
    security_opt: [systempaths=unconfined, "seccomp:./p.json", apparmor=mine, "label=type:t", no-new-privileges=1, odd]
    stop_signal: SIGFOO
    sysctls: {vm.max_map_count: 262144, net.core.somaxconn: 1}
    ulimits: {nofil: 1, nproc: {soft: 2, hard: 1}, core: {soft: -1, hard: -1}}
    volumes: [{type: volume, source: v, target: /v, volume: {subpath: ../x}}]
  b:
    image: b
    ipc: host
    logging: {options: {max-size: 10x, max-file: "0"}}
    network_mode: host
    sysctls: {net.core.somaxconn: 1, kernel.shmmax: 1}
volumes: {v: }
"#;

const GOOD: &str = r#"
services:
  a:
    image: a
    cap_add: [all, cap_sys_nice, Audit_Control]
    extra_hosts: ["h=host-gateway", "i=::1", "j=1.2.3.4"]
    logging: {driver: none}
    oom_score_adj: -1000
    security_opt: ["no-new-privileges", "no-new-privileges:true", "seccomp:unconfined", "label:disable"]
    stop_signal: RTMIN+3
    sysctls: {net.ipv6.conf.all.disable_ipv6: 0, kernel.shmmax: 1, kernel.sem: 1 2 3 4, fs.mqueue.msg_max: 1}
    ulimits: {core: 0, memlock: -1, nofile: {soft: 1, hard: -1}, rtprio: 1}
  b:
    image: b
    logging: {driver: local, options: {max-size: "-1", max-file: "3"}}
"#;

#[test]
fn each_is_refused_before_anything_is_made() {
    let refused = run(&files(&[("compose.yaml", BAD)]), &LoadRequest::default()).unwrap_err();
    let lines = refused
        .lines()
        .filter(|line| line.starts_with("error") || line.contains("= help"));
    let lines: Vec<&str> = lines.map(|line| line.trim_start_matches(' ')).collect();
    expect![[r#"
        error[E0009]: `services.a.cap_add`: `NET_ADMN` is not a capability
        = help: did you mean `NET_ADMIN`?
        error[E0009]: `services.a.cap_drop`: `cap_fly` is not a capability
        error[E0009]: `services.a.devices.0`: `rwx` has other letters than r, w and m
        error[E0009]: `services.a.extra_hosts`: `somewhere` is not an address
        = help: write an address, or `host-gateway` for the host's
        error[E0020]: `services.a.logging.driver`: the logging driver `fluentd` is not supported yet
        = help: write `driver: json-file`, or leave `logging` out, and let a collector read `hoist logs -f` or the engine's API
        error[E0009]: `services.a.mac_address`: `02:42` is not an address like 02:42:ac:11:00:02
        error[E0009]: `services.a.networks.default.mac_address`: `zz:42:ac:11:00:02` is not an address like 02:42:ac:11:00:02
        error[E0009]: `services.a.oom_score_adj`: it goes from -1000 to 1000
        error[E0020]: `services.a.security_opt`: the security option `systempaths=unconfined` is not supported yet
        = help: leave it out; `privileged: true` shows all of /proc and /sys
        error[E0020]: `services.a.security_opt`: the security option `seccomp:./p.json` is not supported yet
        = help: leave it out for the built-in profile, or write `seccomp=unconfined` for none
        error[E0020]: `services.a.security_opt`: the security option `apparmor=mine` is not supported yet
        = help: leave it out, or write `apparmor=unconfined`: no profile is loaded
        error[E0020]: `services.a.security_opt`: the security option `label=type:t` is not supported yet
        = help: leave it out, or write `label=disable`: there are no SELinux labels
        error[E0020]: `services.a.security_opt`: the security option `no-new-privileges=1` is not supported yet
        = help: write `no-new-privileges=true`
        error[E0020]: `services.a.security_opt`: the security option `odd` is not supported yet
        = help: leave it out; there are no-new-privileges, seccomp=unconfined, apparmor=unconfined and label=disable
        error[E0009]: `services.a.stop_signal`: `SIGFOO` is not a signal, like SIGTERM or 15
        error[E0020]: `services.a.sysctls`: the kernel setting `vm.max_map_count`, which is not the container's own, is not supported yet
        = help: set it on the host: `sysctl -w vm.max_map_count=VALUE`; a container has net.*, kernel.msg*, kernel.shm*, kernel.sem and fs.mqueue.* of its own
        error[E0009]: `services.a.ulimits.nofil`: `nofil` is not a limit of the kernel
        = help: did you mean `nofile`?
        error[E0009]: `services.a.ulimits.nproc`: the soft limit is above the hard one
        error[E0009]: `services.a.volumes.0.volume.subpath`: `../x` is not a path inside of the volume
        error[E0009]: `services.b.logging.options.max-size`: `10x` is not a size
        = help: write for example `10m`, or `-1` for no limit
        error[E0009]: `services.b.logging.options.max-file`: `0` is not a number of files
        = help: write for example `"3"`
        error[E0020]: `services.b.sysctls`: the kernel setting `net.core.somaxconn`, which is not the container's own, is not supported yet
        = help: set it on the host: `sysctl -w net.core.somaxconn=VALUE`; a container has net.*, kernel.msg*, kernel.shm*, kernel.sem and fs.mqueue.* of its own
        error[E0020]: `services.b.sysctls`: the kernel setting `kernel.shmmax`, which is not the container's own, is not supported yet
        = help: set it on the host: `sysctl -w kernel.shmmax=VALUE`; a container has net.*, kernel.msg*, kernel.shm*, kernel.sem and fs.mqueue.* of its own
    "#]].assert_eq(&(lines.join("\n") + "\n"));
    assert_eq!(
        refused.matches("error[").count(),
        refused.matches("--> compose.yaml:").count()
    );
}

#[test]
fn config_prints_and_warns_of_them() {
    let request = LoadRequest {
        allow_unsupported: true,
        as_reference: true,
        ..LoadRequest::default()
    };
    let loaded = run(&files(&[("compose.yaml", BAD)]), &request).unwrap();
    assert_eq!(
        loaded.stack.services["a"]
            .logging
            .as_ref()
            .unwrap()
            .driver
            .as_deref(),
        Some("fluentd")
    );
    assert!(
        loaded
            .warnings
            .iter()
            .all(|warning| warning.severity == Severity::Warning)
    );
    let refused = run(&files(&[("compose.yaml", BAD)]), &LoadRequest::default()).unwrap_err();
    let codes = |code: &str| {
        loaded
            .warnings
            .iter()
            .filter(|warning| warning.code == code)
            .count()
    };
    assert_eq!(codes("E0020"), refused.matches("error[E0020]").count());
    assert_eq!(codes("E0009"), refused.matches("error[E0009]").count());
    // Verbs that make nothing say nothing.
    let quiet = LoadRequest {
        allow_unsupported: true,
        ..LoadRequest::default()
    };
    assert_eq!(
        run(&files(&[("compose.yaml", BAD)]), &quiet)
            .unwrap()
            .warnings,
        []
    );
}

#[test]
fn what_can_be_had_is_taken() {
    let loaded = run(&files(&[("compose.yaml", GOOD)]), &LoadRequest::default());
    let loaded = loaded.unwrap_or_else(|errors| panic!("{errors}"));
    let warnings: Vec<String> = loaded
        .warnings
        .iter()
        .map(|warning| diagnostic::render(warning, false))
        .collect();
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn options_of_a_log_that_nothing_acts_on_are_warned_of() {
    let text = "services:\n  a: {image: a, logging: {options: {max-size: 1m, tag: x, compress: 'true'}}}\n";
    let loaded = run(&files(&[("compose.yaml", text)]), &LoadRequest::default()).unwrap();
    let warnings: Vec<&str> = loaded
        .warnings
        .iter()
        .map(|warning| warning.message.as_str())
        .collect();
    assert_eq!(
        warnings,
        [
            "`services.a.logging.options.tag` has no effect",
            "`services.a.logging.options.compress` has no effect"
        ]
    );
}

/// Every refusal suggests an alternative.
#[test]
fn every_refusal_names_the_way_out() {
    for text in [super::unsupported::ALL, BAD] {
        let refused = run(&files(&[("compose.yaml", text)]), &LoadRequest::default()).unwrap_err();
        for part in refused
            .split("error[")
            .filter(|part| part.starts_with("E0020"))
        {
            assert!(part.contains("= help: "), "{part}");
            assert!(
                !part.contains("docs/compose-support.md"),
                "only the last resort: {part}"
            );
        }
    }
}
