//! Limits of memory, processors and processes.

use expect_test::expect;

use super::files::check;

#[test]
fn every_limit_is_in_the_model() {
    check(
        r#"
services:
  a:
    image: a
    cpus: 1.5
    cpu_shares: 512
    cpu_quota: 50000
    cpu_period: 100000
    cpuset: 0,1
    mem_limit: 1.5g
    mem_reservation: 256m
    memswap_limit: -1
    mem_swappiness: 60
    pids_limit: 100
    oom_kill_disable: true
    oom_score_adj: -500
    ulimits:
      nproc: 65535
      nofile: {soft: 20000, hard: 40000}
    sysctls: {net.core.somaxconn: 1024}
"#,
        expect![[r#"
            name: demo
            services:
              a:
                cpu_period: 100000
                cpu_quota: 50000
                cpus: 1.5
                cpuset: 0,1
                cpu_shares: 512
                image: a
                mem_limit: "1610612736"
                mem_reservation: "268435456"
                memswap_limit: "-1"
                mem_swappiness: "60"
                networks:
                  default: null
                oom_kill_disable: true
                oom_score_adj: -500
                pids_limit: 100
                sysctls:
                  net.core.somaxconn: "1024"
                ulimits:
                  nofile:
                    soft: 20000
                    hard: 40000
                  nproc: 65535
            networks:
              default:
                name: demo_default
        "#]],
    );
}

#[test]
fn sizes_and_numbers_are_checked() {
    check(
        "services:\n  a:\n    image: a\n    mem_limit: lots\n    cpus: many\n    ulimits: {nofile: {soft: 1}}\n    cpu_shares: -5\n",
        expect![[r#"
            error[E0009]: `services.a.mem_limit`: `lots` is not a size like 512m or 2gb
             --> compose.yaml:4:16
              |
            4 |     mem_limit: lots
              |                ^^^^ this value

            error[E0009]: `services.a.cpus`: `many` is not a number
             --> compose.yaml:5:11
              |
            5 |     cpus: many
              |           ^^^^ this value

            error[E0008]: `services.a.ulimits.nofile` needs the attribute `hard`
             --> compose.yaml:6:23
              |
            6 |     ulimits: {nofile: {soft: 1}}
              |                       ^^^^^^^^^ `hard` is missing here

            error[E0009]: `services.a.cpu_shares`: `-5` is out of range
             --> compose.yaml:7:17
              |
            7 |     cpu_shares: -5
              |                 ^^ this value
        "#]],
    );
}

#[test]
fn swappiness_is_a_percentage() {
    let of = |value: &str| format!("services:\n  a:\n    image: a\n    mem_swappiness: {value}\n");
    check(
        &of("101"),
        expect![[r#"
        error[E0009]: `services.a.mem_swappiness`: it goes from 0 to 100; -1 leaves it as it is on the host
         --> compose.yaml:4:21
          |
        4 |     mem_swappiness: 101
          |                     ^^^ this value
    "#]],
    );
    check(
        &of("-2"),
        expect![[r#"
        error[E0009]: `services.a.mem_swappiness`: it goes from 0 to 100; -1 leaves it as it is on the host
         --> compose.yaml:4:21
          |
        4 |     mem_swappiness: -2
          |                     ^^ this value
    "#]],
    );
    check(
        &of("some"),
        expect![[r#"
        error[E0009]: `services.a.mem_swappiness`: `some` is not a size like 512m or 2gb
         --> compose.yaml:4:21
          |
        4 |     mem_swappiness: some
          |                     ^^^^ this value
    "#]],
    );
    check(
        &of("0"),
        expect![[r#"
        name: demo
        services:
          a:
            image: a
            mem_swappiness: "0"
            networks:
              default: null
        networks:
          default:
            name: demo_default
    "#]],
    );
    check(
        &of("-1"),
        expect![[r#"
        name: demo
        services:
          a:
            image: a
            mem_swappiness: "-1"
            networks:
              default: null
        networks:
          default:
            name: demo_default
    "#]],
    );
}

#[test]
fn zero_is_no_limit_and_not_printed() {
    check(
        r#"
services:
  a:
    image: a
    cpus: 0
    cpu_shares: 0
    cpu_quota: 0
    cpu_period: 0
    mem_limit: 0
    mem_reservation: 0b
    memswap_limit: 0
    pids_limit: 0
    shm_size: 0
    ulimits: {core: 0}
  b:
    image: b
    deploy: {resources: {limits: {cpus: "0", memory: "0", pids: 0}, reservations: {memory: "0"}}}
"#,
        expect![[r#"
            name: demo
            services:
              a:
                image: a
                networks:
                  default: null
                ulimits:
                  core: 0
              b:
                deploy: {}
                image: b
                networks:
                  default: null
            networks:
              default:
                name: demo_default
        "#]],
    );
}
