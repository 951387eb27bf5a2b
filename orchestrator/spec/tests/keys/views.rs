//! What `config` prints when steps are left out.

use expect_test::{Expect, expect};
use hoist_spec::{LoadRequest, Skip, canonical, uninterpolated};

use super::files::{check_files, files, run};

const TEXTS: &[(&str, &str)] = &[
    (
        "compose.yaml",
        "services:\n  web:\n    image: app:${TAG}\n    build: ./src\n    env_file: one.env\n    environment: [TAG]\n    volumes: ['./data:/data', 'v:/v']\n    links: [db]\n  db: {image: postgres}\nvolumes: {v: }\n",
    ),
    ("one.env", "LEVEL=1\n"),
];

fn skipping(skip: Skip) -> LoadRequest {
    LoadRequest {
        skip,
        allow_unsupported: true,
        ..LoadRequest::default()
    }
}

#[test]
fn without_normalization_nothing_is_made_up() {
    check_files(
        TEXTS,
        &skipping(Skip {
            normalization: true,
            ..Skip::default()
        }),
        expect![[r#"
            name: demo
            services:
              db:
                image: postgres
              web:
                build:
                  context: /demo/src
                  dockerfile: Dockerfile
                environment:
                  LEVEL: "1"
                  TAG: "1.2"
                image: app:1.2
                links:
                  - db
                volumes:
                  - type: bind
                    source: /demo/data
                    target: /data
                    bind: {}
                  - type: volume
                    source: v
                    target: /v
                    volume: {}
            volumes:
              v: {}
        "#]],
    );
}

#[test]
fn without_path_resolution_paths_of_other_folders_start_from_the_projects() {
    check_files(
        &[
            (
                "compose.yaml",
                "services:\n  web:\n    extends: { file: sub/base.yaml, service: base }\n    volumes: [./own:/o]\n",
            ),
            (
                "sub/base.yaml",
                "services:\n  base:\n    build: ./ctx\n    volumes: [\"../data:/d\"]\n",
            ),
        ],
        &skipping(Skip {
            path_resolution: true,
            ..Skip::default()
        }),
        expect![[r#"
            name: demo
            services:
              web:
                build:
                  context: ./sub/ctx
                  dockerfile: Dockerfile
                networks:
                  default: null
                volumes:
                  - type: bind
                    source: ./data
                    target: /d
                    bind: {}
                  - type: bind
                    source: ./own
                    target: /o
                    bind: {}
            networks:
              default:
                name: demo_default
        "#]],
    );
}

#[test]
fn without_path_resolution_paths_stay() {
    check_files(
        TEXTS,
        &skipping(Skip {
            path_resolution: true,
            ..Skip::default()
        }),
        expect![[r#"
            name: demo
            services:
              db:
                image: postgres
                networks:
                  default: null
              web:
                build:
                  context: ./src
                  dockerfile: Dockerfile
                depends_on:
                  db:
                    condition: service_started
                    restart: true
                    required: true
                environment:
                  LEVEL: "1"
                  TAG: "1.2"
                image: app:1.2
                links:
                  - db
                networks:
                  default: null
                volumes:
                  - type: bind
                    source: ./data
                    target: /data
                    bind: {}
                  - type: volume
                    source: v
                    target: /v
                    volume: {}
            networks:
              default:
                name: demo_default
            volumes:
              v:
                name: demo_v
        "#]],
    );
}

#[test]
fn without_env_resolution_files_and_open_variables_stay() {
    check_files(
        TEXTS,
        &skipping(Skip {
            env_resolution: true,
            ..Skip::default()
        }),
        expect![[r#"
            name: demo
            services:
              db:
                image: postgres
                networks:
                  default: null
              web:
                build:
                  context: /demo/src
                  dockerfile: Dockerfile
                depends_on:
                  db:
                    condition: service_started
                    restart: true
                    required: true
                environment:
                  TAG: null
                env_file:
                  - path: /demo/one.env
                    required: true
                image: app:1.2
                links:
                  - db
                networks:
                  default: null
                volumes:
                  - type: bind
                    source: /demo/data
                    target: /data
                    bind: {}
                  - type: volume
                    source: v
                    target: /v
                    volume: {}
            networks:
              default:
                name: demo_default
            volumes:
              v:
                name: demo_v
        "#]],
    );
}

#[test]
fn without_consistency_references_may_lead_nowhere() {
    let texts = [(
        "compose.yaml",
        "services:\n  web: {networks: [gone], depends_on: [nobody]}\n",
    )];
    check_files(
        &texts,
        &skipping(Skip {
            consistency: true,
            ..Skip::default()
        }),
        expect![[r#"
        name: demo
        services:
          web:
            depends_on:
              nobody:
                condition: service_started
                required: true
            networks:
              gone: null
    "#]],
    );
    assert!(run(&files(&texts), &LoadRequest::default()).is_err());
}

fn check_open(yaml: &str, expected: &Expect) {
    let texts = [("compose.yaml", yaml)];
    let open = uninterpolated(
        &LoadRequest::default(),
        &files(&texts),
        &hoist_spec::Env::default(),
    )
    .unwrap();
    let mut text = canonical::value_to_yaml(&open.value);
    for reference in open.references {
        text.push_str(&format!("{reference:?}\n"));
    }
    expected.assert_eq(&text);
}

#[test]
fn without_interpolation_variables_stay_as_they_are_written() {
    check_open(
        "name: demo\nservices:\n  web:\n    image: app:${TAG:?no tag}\n    ports: ['${PORT:-80}:80', '443:443']\n    scale: ${COUNT}\n    command: echo $$HOME $WORD\n    environment: {A: '${B:+${C-d}}'}\n    volumes: ['${DATA}:/data']\n    extra_hosts: [$HOSTS]\n    healthcheck: {test: 'curl $URL', interval: '${EVERY}'}\n",
        &expect![[r#"
            name: demo
            services:
              web:
                command:
                  - echo
                  - $$HOME
                  - $WORD
                environment:
                  A: ${B:+${C-d}}
                extra_hosts:
                  - $HOSTS
                healthcheck:
                  interval: ${EVERY}
                  test: curl $URL
                image: app:${TAG:?no tag}
                networks:
                  default: null
                ports:
                  - ${PORT:-80}:80
                  - mode: ingress
                    protocol: tcp
                    published: "443"
                    target: 443
                scale: ${COUNT}
                volumes:
                  - source: ${DATA}
                    target: /data
                    type: volume
                    volume: {}
            networks:
              default:
                name: demo_default
            VariableReference { name: "B", required: false, default: "", alternate: "${C-d}" }
            VariableReference { name: "C", required: false, default: "d", alternate: "" }
            VariableReference { name: "COUNT", required: false, default: "", alternate: "" }
            VariableReference { name: "DATA", required: false, default: "", alternate: "" }
            VariableReference { name: "EVERY", required: false, default: "", alternate: "" }
            VariableReference { name: "HOSTS", required: false, default: "", alternate: "" }
            VariableReference { name: "PORT", required: false, default: "80", alternate: "" }
            VariableReference { name: "TAG", required: true, default: "", alternate: "" }
            VariableReference { name: "URL", required: false, default: "", alternate: "" }
            VariableReference { name: "WORD", required: false, default: "", alternate: "" }
        "#]],
    );
}

#[test]
fn without_interpolation_services_of_every_profile_are_there() {
    check_open(
        "name: demo\nservices:\n  web:\n    image: app\n  debug:\n    image: tool\n    profiles: ['${WHO}']\n",
        &expect![[r#"
            name: demo
            services:
              debug:
                image: tool
                networks:
                  default: null
                profiles:
                  - ${WHO}
              web:
                image: app
                networks:
                  default: null
            networks:
              default:
                name: demo_default
            VariableReference { name: "WHO", required: false, default: "", alternate: "" }
        "#]],
    );
}
