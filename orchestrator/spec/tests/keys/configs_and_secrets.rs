//! secrets and configs.

use expect_test::expect;

use super::files::{check, check_files};

#[test]
fn short_and_long_forms_and_every_source() {
    check(
        r#"
services:
  a:
    image: a
    secrets:
      - password
      - {source: token, target: api_token, uid: "103", gid: "103", mode: 0440}
    configs:
      - motd
      - {source: app, target: /etc/app.conf, mode: "0600"}
secrets:
  password: {file: ./password.txt, labels: {a: b}}
  token: {environment: TOKEN, name: the-token}
configs:
  motd: {content: "hello ${TAG}\n"}
  app: {file: app.conf}
"#,
        expect![[r#"
            name: demo
            services:
              a:
                configs:
                  - source: motd
                  - source: app
                    target: /etc/app.conf
                    mode: "0600"
                image: a
                networks:
                  default: null
                secrets:
                  - source: password
                    target: /run/secrets/password
                  - source: token
                    target: api_token
                    uid: "103"
                    gid: "103"
                    mode: "0440"
            networks:
              default:
                name: demo_default
            secrets:
              password:
                name: demo_password
                file: /demo/password.txt
                labels:
                  a: b
              token:
                name: the-token
                environment: TOKEN
            configs:
              app:
                name: demo_app
                file: /demo/app.conf
              motd:
                name: demo_motd
                content: |
                  hello 1.2
        "#]],
    );
}

#[test]
fn an_undefined_secret_is_an_error() {
    check(
        "services:\n  a:\n    image: a\n    secrets: [pasword]\nsecrets: {password: {file: a}}\n",
        expect![[r#"
        error[E0016]: service `a` uses the undefined secret `pasword`
         --> compose.yaml:4:15
          |
        4 |     secrets: [pasword]
          |               ^^^^^^^ no secret of this name
          |
          = help: did you mean `password`?
    "#]],
    );
}

#[test]
fn a_secret_has_one_source() {
    check(
        "services:\n  a: {image: a}\nsecrets:\n  none: {name: x}\n  two:\n    file: a\n    environment: A\n",
        expect![[r#"
        error[E0008]: secret `none` needs one of `file`, `environment`
         --> compose.yaml:4:3
          |
        4 |   none: {name: x}
          |   ^^^^ where does its content come from?

        error[E0018]: secret `two` can have only one of `file`, `environment`
         --> compose.yaml:7:5
          |
        6 |     file: a
          |     ---- the first one
        7 |     environment: A
          |     ^^^^^^^^^^^ a second source
    "#]],
    );
}

#[test]
fn ids_and_modes_are_numbers() {
    check(
        "services:\n  a:\n    image: a\n    secrets:\n      - {source: s, uid: root, mode: rwx}\nsecrets: {s: {file: a}}\n",
        expect![[r#"
            error[E0009]: `services.a.secrets.0.uid`: `root` is not a numeric id
             --> compose.yaml:5:26
              |
            5 |       - {source: s, uid: root, mode: rwx}
              |                          ^^^^ this value

            error[E0009]: `mode` must be permission bits
             --> compose.yaml:5:38
              |
            5 |       - {source: s, uid: root, mode: rwx}
              |                                      ^^^ not an octal number
              |
              = help: write it like "0440"
        "#]],
    );
}

#[test]
fn an_external_one_is_printed_but_not_acted_on() {
    let text = "services:\n  a: {image: a, secrets: [s], configs: [c]}\nsecrets: {s: {external: true}}\nconfigs: {c: {external: true, name: x}}\n";
    check(
        text,
        expect![[r#"
            error[E0020]: `secrets.s`: an external secret is not supported yet
             --> compose.yaml:3:25
              |
            3 | secrets: {s: {external: true}}
              |                         ^^^^ hoist cannot act on this, and does not ignore it
              |
              = help: take it from a file or a variable: `file: ./secret.txt` or `environment: NAME`

            error[E0020]: `configs.c`: an external config is not supported yet
             --> compose.yaml:4:25
              |
            4 | configs: {c: {external: true, name: x}}
              |                         ^^^^ hoist cannot act on this, and does not ignore it
              |
              = help: take it from a file or a variable: `file: ./x.conf`, `environment: NAME` or `content`
        "#]],
    );
    let request = hoist_spec::LoadRequest {
        allow_unsupported: true,
        ..hoist_spec::LoadRequest::default()
    };
    check_files(
        &[("compose.yaml", text)],
        &request,
        expect![[r#"
            name: demo
            services:
              a:
                configs:
                  - source: c
                image: a
                networks:
                  default: null
                secrets:
                  - source: s
                    target: /run/secrets/s
            networks:
              default:
                name: demo_default
            secrets:
              s:
                name: s
                external: true
            configs:
              c:
                name: x
                external: true
        "#]],
    );
}

#[test]
fn a_config_can_come_from_the_environment() {
    check(
        "services:\n  a: {image: a, configs: [c]}\nconfigs: {c: {environment: MOTD, labels: [a=b]}}\n",
        expect![[r#"
            name: demo
            services:
              a:
                configs:
                  - source: c
                image: a
                networks:
                  default: null
            networks:
              default:
                name: demo_default
            configs:
              c:
                name: demo_c
                environment: MOTD
                labels:
                  a: b
        "#]],
    );
}

#[test]
fn the_old_form_of_external_names_it() {
    let text = "services:\n  a: {image: a, secrets: [s], configs: [c]}\nsecrets:\n  s: {external: {name: outer-s}}\nconfigs:\n  c: {external: {name: outer-c}}\n";
    let request = hoist_spec::LoadRequest {
        allow_unsupported: true,
        ..hoist_spec::LoadRequest::default()
    };
    check_files(
        &[("compose.yaml", text)],
        &request,
        expect![[r#"
            name: demo
            services:
              a:
                configs:
                  - source: c
                image: a
                networks:
                  default: null
                secrets:
                  - source: s
                    target: /run/secrets/s
            networks:
              default:
                name: demo_default
            secrets:
              s:
                name: outer-s
                external: true
            configs:
              c:
                name: outer-c
                external: true

            warning[W0001]: `secrets`: `external.name` is obsolete
             --> compose.yaml:4:24
              |
            4 |   s: {external: {name: outer-s}}
              |                        ^^^^^^^ named here
              |
              = help: write `external: true` and `name` beside it

            warning[W0001]: `configs`: `external.name` is obsolete
             --> compose.yaml:6:24
              |
            6 |   c: {external: {name: outer-c}}
              |                        ^^^^^^^ named here
              |
              = help: write `external: true` and `name` beside it
        "#]],
    );
}
