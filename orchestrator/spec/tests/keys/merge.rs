//! Several files.

use expect_test::expect;
use hoist_spec::LoadRequest;

use super::files::check_files;

fn two() -> LoadRequest {
    LoadRequest {
        files: vec!["a.yaml".into(), "b.yaml".into()],
        ..LoadRequest::default()
    }
}

#[test]
fn maps_merge_lists_append_commands_replace_and_unique_items_are_replaced() {
    let texts = [
        (
            "a.yaml",
            "services:\n  web:\n    image: a\n    command: [one, two]\n    environment: {A: 1, B: 1}\n    ports: ['80:80', '81:81']\n    volumes: ['./a:/data', './b:/b']\n    dns: [1.1.1.1]\n    healthcheck: {test: one, retries: 3}\n    logging: {driver: local, options: {a: b}}\n",
        ),
        (
            "b.yaml",
            "services:\n  web:\n    image: b\n    command: three\n    environment: [B=2, C=2]\n    ports: ['80:80', '82:82']\n    volumes: ['./c:/data']\n    dns: [1.1.1.1, 2.2.2.2]\n    healthcheck: {test: [CMD, two]}\n    logging: {driver: json-file}\n",
        ),
    ];
    check_files(
        &texts,
        &two(),
        expect![[r#"
            name: demo
            services:
              web:
                command:
                  - three
                dns:
                  - 1.1.1.1
                  - 2.2.2.2
                environment:
                  A: "1"
                  B: "2"
                  C: "2"
                healthcheck:
                  test:
                    - CMD
                    - two
                  retries: 3
                image: b
                logging:
                  driver: json-file
                networks:
                  default: null
                ports:
                  - mode: ingress
                    target: 80
                    published: "80"
                    protocol: tcp
                  - mode: ingress
                    target: 81
                    published: "81"
                    protocol: tcp
                  - mode: ingress
                    target: 82
                    published: "82"
                    protocol: tcp
                volumes:
                  - type: bind
                    source: /demo/c
                    target: /data
                    bind: {}
                  - type: bind
                    source: /demo/b
                    target: /b
                    bind: {}
            networks:
              default:
                name: demo_default
        "#]],
    );
}

#[test]
fn reset_and_override_act_across_files() {
    let texts = [
        (
            "a.yaml",
            "services:\n  web:\n    image: a\n    ports: ['80:80']\n    environment: {A: 1, B: 1}\n    volumes: ['./a:/a']\n  gone: {image: a}\n",
        ),
        (
            "b.yaml",
            "services:\n  web:\n    ports: !override ['90:90']\n    environment: {A: !reset null}\n    volumes: !reset []\n  gone: !reset null\n",
        ),
    ];
    check_files(
        &texts,
        &two(),
        expect![[r#"
            name: demo
            services:
              web:
                environment:
                  B: "1"
                image: a
                networks:
                  default: null
                ports:
                  - mode: ingress
                    target: 90
                    published: "90"
                    protocol: tcp
            networks:
              default:
                name: demo_default
        "#]],
    );
}

#[test]
fn an_error_points_into_the_file_that_has_it() {
    let texts = [
        ("a.yaml", "services:\n  web: {image: a}\n"),
        (
            "b.yaml",
            "services:\n  web:\n    networks: [nowhere]\n    mem_limit: 1g\n    deploy: {resources: {limits: {memory: 2g}}}\n",
        ),
    ];
    check_files(
        &texts,
        &two(),
        expect![[r#"
        error[E0016]: service `web` uses the undefined network `nowhere`
         --> b.yaml:3:16
          |
        3 |     networks: [nowhere]
          |                ^^^^^^^ no network of this name
          |
          = help: declare it at the top level: `networks: {nowhere: }`

        error[E0018]: service `web`: `mem_limit` and `deploy.resources.limits.memory` say different things
         --> b.yaml:4:16
          |
        4 |     mem_limit: 1g
          |                ^^ one value
        5 |     deploy: {resources: {limits: {memory: 2g}}}
          |                                           -- another value
    "#]],
    );
}
