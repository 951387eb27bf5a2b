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
      additional_contexts: {files: ./more, base: service:web, image: docker-image://alpine, layout: "oci-layout://./layout:1", repo: https://x.test/a.git}
      entitlements: [network.host]
      no_cache_filter: [deps]
      cache_from: [team/app, "type=registry,ref=team/app:cache", "type=local,src=./cache,tag=x", "${NOTHING:-}"]
      cache_to: [type=inline, "type=local,mode=max,dest=../cache", "type=registry,ref=team/app:cache,mode=max"]
      privileged: true
      secrets: [key, {source: key, target: other, uid: "1", gid: "2", mode: 0400}]
      ssh: [default]
      ulimits: {nofile: {soft: 1, hard: 2}}
secrets:
  key: {environment: KEY}
"#,
        expect![[r#"
            name: demo
            services:
              web:
                build:
                  context: /demo
                  dockerfile: docker/Dockerfile
                  entitlements:
                    - network.host
                  args:
                    A: "1"
                    TAG: "1.2"
                  ssh:
                    - default
                  labels:
                    a: b
                  cache_from:
                    - team/app
                    - type=registry,ref=team/app:cache
                    - type=local,src=./cache,tag=x
                  cache_to:
                    - type=inline
                    - type=local,mode=max,dest=../cache
                    - type=registry,ref=team/app:cache,mode=max
                  no_cache: true
                  no_cache_filter:
                    - deps
                  additional_contexts:
                    base: service:web
                    files: /demo/more
                    image: docker-image://alpine
                    layout: oci-layout://./layout:1
                    repo: https://x.test/a.git
                  pull: true
                  extra_hosts:
                    - a=1.2.3.4
                  network: host
                  target: final
                  secrets:
                    - source: key
                    - source: key
                      target: other
                      uid: "1"
                      gid: "2"
                      mode: "0400"
                  shm_size: "67108864"
                  tags:
                    - mine:1
                  ulimits:
                    nofile:
                      soft: 1
                      hard: 2
                  platforms:
                    - linux/amd64
                  privileged: true
                image: mine
                networks:
                  default: null
                platform: linux/amd64
            networks:
              default:
                name: demo_default
            secrets:
              key:
                name: demo_key
                environment: KEY

            warning[W0003]: `services.web.build.secrets.1.uid` has no effect
              --> compose.yaml:25:51
               |
            25 |       secrets: [key, {source: key, target: other, uid: "1", gid: "2", mode: 0400}]
               |                                                   ^^^ the mount of a step decides: `RUN --mount=type=secret,id=…,uid=…,gid=…,mode=…`

            warning[W0003]: `services.web.build.secrets.1.gid` has no effect
              --> compose.yaml:25:61
               |
            25 |       secrets: [key, {source: key, target: other, uid: "1", gid: "2", mode: 0400}]
               |                                                             ^^^ the mount of a step decides: `RUN --mount=type=secret,id=…,uid=…,gid=…,mode=…`

            warning[W0003]: `services.web.build.secrets.1.mode` has no effect
              --> compose.yaml:25:71
               |
            25 |       secrets: [key, {source: key, target: other, uid: "1", gid: "2", mode: 0400}]
               |                                                                       ^^^^ the mount of a step decides: `RUN --mount=type=secret,id=…,uid=…,gid=…,mode=…`
        "#]],
    );
}

#[test]
fn a_cache_that_nobody_understands_is_refused_where_it_stands() {
    check(
        "services:\n  web:\n    build:\n      context: .\n      cache_from: [\"type=local\"]\n      cache_to: [\"type=registry,ref=x,mode=all\", type=gha]\n",
        expect![[r#"
            error[E0009]: `services.web.build.cache_from.0`: a cache of type `local` needs `src=`
             --> compose.yaml:5:20
              |
            5 |       cache_from: ["type=local"]
              |                    ^^^^^^^^^^^^ this cache

            error[E0009]: `services.web.build.cache_to.0`: `mode=all`: there are `min` and `max`
             --> compose.yaml:6:18
              |
            6 |       cache_to: ["type=registry,ref=x,mode=all", type=gha]
              |                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ this cache

            error[E0020]: `services.web.build.cache_to.1`: a cache of type `gha` (there are `registry`, `inline` and `local`) is not supported yet
             --> compose.yaml:6:50
              |
            6 |       cache_to: ["type=registry,ref=x,mode=all", type=gha]
              |                                                  ^^^^^^^^ hoist cannot act on this, and does not ignore it
              |
              = help: use a cache of type registry, local or inline
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
              |
              = help: add `image: NAME`, or `build: .` for the folder's Dockerfile

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
