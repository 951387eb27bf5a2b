//! build.

use expect_test::expect;

use super::files::check;

#[test]
fn a_string_is_the_context() {
    check(
        "services:\n  web:\n    build: ./app\n",
        expect![[r#"
        name: demo
        services:
          web:
            build:
              context: /demo/app
              dockerfile: Dockerfile
            networks:
              default: null
        networks:
          default:
            name: demo_default
    "#]],
    );
}

#[test]
fn every_attribute_of_build_is_in_the_model() {
    check(
        r#"
services:
  web:
    image: mine
    platform: linux/amd64
    build:
      context: .
      dockerfile: docker/Dockerfile
      args: {A: 1, TAG: , NOPE: }
      target: final
      labels: [a=b]
      tags: [mine:1]
      network: host
      no_cache: true
      pull: true
      shm_size: 64m
      extra_hosts: [a=1.2.3.4]
      platforms: [linux/amd64]
"#,
        expect![[r#"
            name: demo
            services:
              web:
                build:
                  context: /demo
                  dockerfile: docker/Dockerfile
                  args:
                    A: "1"
                    TAG: "1.2"
                  labels:
                    a: b
                  no_cache: true
                  pull: true
                  extra_hosts:
                    - a=1.2.3.4
                  network: host
                  target: final
                  shm_size: "67108864"
                  tags:
                    - mine:1
                  platforms:
                    - linux/amd64
                image: mine
                networks:
                  default: null
                platform: linux/amd64
            networks:
              default:
                name: demo_default
        "#]],
    );
}

#[test]
fn an_inline_dockerfile_excludes_a_file() {
    check(
        "services:\n  web:\n    build:\n      dockerfile: a\n      dockerfile_inline: FROM scratch\n",
        expect![[r#"
        error[E0018]: `dockerfile` and `dockerfile_inline` exclude each other
         --> compose.yaml:5:7
          |
        4 |       dockerfile: a
          |       ---------- and a file is named here
        5 |       dockerfile_inline: FROM scratch
          |       ^^^^^^^^^^^^^^^^^ the instructions are here
    "#]],
    );
}

#[test]
fn the_platform_must_be_built() {
    check(
        "services:\n  web:\n    platform: linux/arm64\n    build: {context: ., platforms: [linux/amd64]}\n",
        expect![[r#"
        error[E0018]: service `web` is built for other platforms than the one it runs on
         --> compose.yaml:3:15
          |
        3 |     platform: linux/arm64
          |               ^^^^^^^^^^^ runs on this one
        4 |     build: {context: ., platforms: [linux/amd64]}
          |                                    ------------- which is not among these
    "#]],
    );
}

#[test]
fn neither_image_nor_build_is_an_error() {
    check(
        "services:\n  web:\n    command: true\n",
        expect![[r#"
            error[E0019]: service `web` has neither `image` nor `build`
             --> compose.yaml:2:3
              |
            2 |   web:
              |   ^^^ what should run?

            error[E0007]: `services.web.command` must be a string or a list of strings
             --> compose.yaml:3:14
              |
            3 |     command: true
              |              ^^^^ this is a boolean
              |
              = help: quote it: "true"; without quotes, YAML reads a boolean
        "#]],
    );
}
