//! extends.

use expect_test::expect;
use hoist_spec::LoadRequest;

use super::files::{check, check_files};

#[test]
fn a_service_of_another_file_brings_its_own_folder() {
    let texts = [
        (
            "compose.yaml",
            "services:\n  web:\n    extends: {file: lib/base.yaml, service: base}\n    environment: {B: own}\n    ports: ['80:80']\n",
        ),
        (
            "lib/base.yaml",
            "services:\n  base:\n    extends: common\n    build: .\n    volumes: ['./src:/src']\n    environment: {A: base, B: base}\n  common:\n    command: run\n    ports: ['443:443']\n",
        ),
    ];
    check_files(
        &texts,
        &LoadRequest::default(),
        expect![[r#"
            name: demo
            services:
              web:
                build:
                  context: /demo/lib
                  dockerfile: Dockerfile
                command:
                  - run
                environment:
                  A: base
                  B: own
                networks:
                  default: null
                ports:
                  - mode: ingress
                    target: 443
                    published: "443"
                    protocol: tcp
                  - mode: ingress
                    target: 80
                    published: "80"
                    protocol: tcp
                volumes:
                  - type: bind
                    source: /demo/lib/src
                    target: /src
                    bind: {}
            networks:
              default:
                name: demo_default
        "#]],
    );
}

#[test]
fn reset_drops_what_the_base_had() {
    check(
        "services:\n  web:\n    extends: {service: base}\n    ports: !reset []\n    command: !override [two]\n  base: {image: a, ports: ['80:80'], command: one}\n",
        expect![[r#"
            name: demo
            services:
              base:
                command:
                  - one
                image: a
                networks:
                  default: null
                ports:
                  - mode: ingress
                    target: 80
                    published: "80"
                    protocol: tcp
              web:
                command:
                  - two
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
fn a_circle_is_an_error() {
    check(
        "services:\n  a:\n    extends: b\n  b:\n    extends: a\n",
        expect![[r#"
        error[E0014]: services extend each other in a circle: a -> b -> a
         --> compose.yaml:3:14
          |
        3 |     extends: b
          |              ^ extends
        4 |   b:
        5 |     extends: a
          |              - and this one
    "#]],
    );
}

#[test]
fn a_missing_base_is_an_error() {
    check(
        "services:\n  web:\n    extends: {service: bse}\n  base: {image: a}\n",
        expect![[r#"
        error[E0014]: there is no service `bse` in this file to extend
         --> compose.yaml:3:14
          |
        3 |     extends: {service: bse}
          |              ^^^^^^^^^^^^^^ extended here
          |
          = help: did you mean `base`?
    "#]],
    );
    check(
        "services:\n  web:\n    extends: {file: gone.yaml, service: base}\n",
        expect![[r#"
        error[E0012]: cannot read the file to extend /demo/gone.yaml: no such file
         --> compose.yaml:3:14
          |
        3 |     extends: {file: gone.yaml, service: base}
          |              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ named here
    "#]],
    );
    check(
        "services:\n  web:\n    image: a\n    extends: {file: gone.yaml}\n",
        expect![[r#"
        error[E0008]: `services.web.extends` needs the attribute `service`
         --> compose.yaml:4:14
          |
        4 |     extends: {file: gone.yaml}
          |              ^^^^^^^^^^^^^^^^^ which service is to be extended?
    "#]],
    );
}

#[test]
fn an_empty_base_has_no_effect() {
    let texts = [
        (
            "compose.yaml",
            "services:\n  web:\n    image: a\n    extends: {file: base.yaml, service: nil}\n",
        ),
        ("base.yaml", "services:\n  nil:\n"),
    ];
    super::files::check_files(
        &texts,
        &hoist_spec::LoadRequest::default(),
        expect![[r#"
            name: demo
            services:
              web:
                extends:
                  file: /demo/base.yaml
                  service: nil
                image: a
                networks:
                  default: null
            networks:
              default:
                name: demo_default

            warning[W0003]: `services.web.extends` has no effect: the service `nil` is empty
             --> compose.yaml:4:14
              |
            4 |     extends: {file: base.yaml, service: nil}
              |              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ extended here
              |
             ::: base.yaml:2:6
              |
            2 |   nil:
              |      - nothing here
        "#]],
    );
}
