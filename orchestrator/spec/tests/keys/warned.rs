//! Attributes that nothing on one machine acts on: accepted with one warning each.

use expect_test::expect;

use super::files::check;

#[test]
fn each_is_a_warning() {
    check(
        r#"
services:
  a:
    image: a
    isolation: process
    credential_spec: {file: x}
    develop: {watch: [{path: ., action: rebuild}]}
    build: {context: ., isolation: process}
    deploy:
      endpoint_mode: dnsrr
      labels: {a: b}
      placement: {constraints: [node.role==manager]}
      update_config: {parallelism: 1, order: start-first}
      rollback_config: {parallelism: 1}
      resources: {reservations: {cpus: "0.5"}}
"#,
        expect![[r#"
            name: demo
            services:
              a:
                build:
                  context: /demo
                  dockerfile: Dockerfile
                  isolation: process
                develop:
                  watch:
                    - path: /demo
                      action: rebuild
                credential_spec:
                  file: x
                deploy:
                  labels:
                    a: b
                  update_config:
                    parallelism: 1
                    order: start-first
                  rollback_config:
                    parallelism: 1
                  resources:
                    reservations:
                      cpus: 0.5
                  placement:
                    constraints:
                      - node.role==manager
                  endpoint_mode: dnsrr
                image: a
                isolation: process
                networks:
                  default: null
            networks:
              default:
                name: demo_default

            warning[W0003]: `services.a.isolation` has no effect
             --> compose.yaml:5:5
              |
            5 |     isolation: process
              |     ^^^^^^^^^ nothing on one machine acts on this

            warning[W0003]: `services.a.credential_spec` has no effect
             --> compose.yaml:6:5
              |
            6 |     credential_spec: {file: x}
              |     ^^^^^^^^^^^^^^^ nothing on one machine acts on this

            warning[W0003]: `services.a.develop` has no effect
             --> compose.yaml:7:5
              |
            7 |     develop: {watch: [{path: ., action: rebuild}]}
              |     ^^^^^^^ only `watch` would act on this, and hoist has none yet

            warning[W0003]: `services.a.build.isolation` has no effect
             --> compose.yaml:8:25
              |
            8 |     build: {context: ., isolation: process}
              |                         ^^^^^^^^^ nothing on one machine acts on this

            warning[W0003]: `services.a.deploy.endpoint_mode` has no effect
              --> compose.yaml:10:7
               |
            10 |       endpoint_mode: dnsrr
               |       ^^^^^^^^^^^^^ nothing on one machine acts on this

            warning[W0003]: `services.a.deploy.labels` has no effect
              --> compose.yaml:11:7
               |
            11 |       labels: {a: b}
               |       ^^^^^^ nothing on one machine acts on this

            warning[W0003]: `services.a.deploy.placement` has no effect
              --> compose.yaml:12:7
               |
            12 |       placement: {constraints: [node.role==manager]}
               |       ^^^^^^^^^ nothing on one machine acts on this

            warning[W0003]: `services.a.deploy.update_config` has no effect
              --> compose.yaml:13:7
               |
            13 |       update_config: {parallelism: 1, order: start-first}
               |       ^^^^^^^^^^^^^ all containers that differ are replaced, at once

            warning[W0003]: `services.a.deploy.rollback_config` has no effect
              --> compose.yaml:14:7
               |
            14 |       rollback_config: {parallelism: 1}
               |       ^^^^^^^^^^^^^^^ all containers that differ are replaced, at once

            warning[W0003]: `services.a.deploy.resources.reservations.cpus` has no effect
              --> compose.yaml:15:34
               |
            15 |       resources: {reservations: {cpus: "0.5"}}
               |                                  ^^^^ nothing on one machine acts on this
        "#]],
    );
}
