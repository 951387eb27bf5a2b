//! deploy and scale.

use expect_test::expect;

use super::files::{check, files, run};

#[test]
fn the_section_is_read_and_printed_in_its_place() {
    check(
        r#"
services:
  web:
    image: a
    deploy:
      mode: replicated
      replicas: 3
      resources:
        limits: {cpus: "0.5", memory: 50M, pids: 100}
        reservations: {memory: 20M}
      restart_policy: {condition: on-failure, delay: 5s, max_attempts: 3, window: 120s}
"#,
        expect![[r#"
            name: demo
            services:
              web:
                deploy:
                  mode: replicated
                  replicas: 3
                  resources:
                    limits:
                      cpus: 0.5
                      memory: "52428800"
                      pids: 100
                    reservations:
                      memory: "20971520"
                  restart_policy:
                    condition: on-failure
                    delay: 5s
                    max_attempts: 3
                    window: 2m0s
                image: a
                networks:
                  default: null
            networks:
              default:
                name: demo_default
        "#]],
    );
}

#[test]
fn its_values_are_what_is_to_be_done() {
    let text = "services:\n  web:\n    image: a\n    deploy: {replicas: 3, resources: {limits: {memory: 1k, cpus: 1.5}}}\n";
    let loaded = run(
        &files(&[("compose.yaml", text)]),
        &hoist_spec::LoadRequest::default(),
    )
    .unwrap();
    let web = &loaded.stack.services["web"];
    assert_eq!(
        (web.replicas, web.resources.memory, web.resources.cpus),
        (3, Some(1024), Some(1.5))
    );
}

#[test]
fn scale_is_the_number_of_containers() {
    check(
        "services:\n  web:\n    image: a\n    scale: 2\n",
        expect![[r#"
        name: demo
        services:
          web:
            image: a
            networks:
              default: null
            scale: 2
        networks:
          default:
            name: demo_default
    "#]],
    );
}

#[test]
fn contradictions_are_shown_with_both_places() {
    check(
        "services:\n  web:\n    image: a\n    scale: 2\n    mem_limit: 1g\n    container_name: web1\n    deploy:\n      replicas: 3\n      resources: {limits: {memory: 2g}}\n",
        expect![[r#"
            error[E0018]: service `web`: `scale` and `deploy.replicas` say different things
             --> compose.yaml:4:12
              |
            4 |     scale: 2
              |            ^ one value
            ...
            8 |       replicas: 3
              |                 - another value

            error[E0018]: service `web`: `mem_limit` and `deploy.resources.limits.memory` say different things
             --> compose.yaml:5:16
              |
            5 |     mem_limit: 1g
              |                ^^ one value
            ...
            9 |       resources: {limits: {memory: 2g}}
              |                                    -- another value

            error[E0018]: service `web` has a container name and 2 replicas
             --> compose.yaml:6:5
              |
            4 |     scale: 2
              |            - but more are wanted
            5 |     mem_limit: 1g
            6 |     container_name: web1
              |     ^^^^^^^^^^^^^^ only one container can have this name
        "#]],
    );
}

#[test]
fn an_unknown_restart_condition_is_refused() {
    check(
        "services:\n  web: {image: a, deploy: {restart_policy: {condition: perhaps}}}\n",
        expect![[r#"
            error[E0009]: `services.web.deploy.restart_policy`: `perhaps` is not none, on-failure, unless-stopped or any
             --> compose.yaml:2:44
              |
            2 |   web: {image: a, deploy: {restart_policy: {condition: perhaps}}}
              |                                            ^^^^^^^^^^^^^^^^^^^^ this value
        "#]],
    );
}

#[test]
fn a_global_service_is_one_container_and_printed_as_written() {
    let text = "services:\n  web: {image: a, deploy: {mode: global, replicas: 3}}\n";
    let loaded = super::files::run(
        &super::files::files(&[("compose.yaml", text)]),
        &hoist_spec::LoadRequest::default(),
    );
    let stack = loaded.unwrap().stack;
    assert_eq!(stack.services["web"].replicas, 1);
    let printed = hoist_spec::canonical::to_json(&stack);
    assert_eq!(printed["services"]["web"]["deploy"]["replicas"], 3);
    assert_eq!(hoist_spec::canonical::from_json(&printed).unwrap(), stack);
}
