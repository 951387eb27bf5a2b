//! image, platform, pull_policy and what describes the process: command to stop_grace_period.

use expect_test::expect;

use super::files::{check, check_files, files, run};

#[test]
fn every_attribute_of_the_process_is_in_the_model() {
    check(
        r#"
services:
  web:
    image: nginx
    pull_policy: always
    platform: linux/amd64
    command: nginx -g 'daemon off;'
    entrypoint: [/entry, --flag]
    working_dir: /srv
    user: "1000:1000"
    group_add: [mail, 44]
    hostname: web1
    domainname: example.com
    container_name: the-web
    init: true
    tty: true
    stdin_open: "yes"
    stop_signal: SIGQUIT
    stop_grace_period: 90s
    attach: false
"#,
        expect![[r#"
            name: demo
            services:
              web:
                attach: false
                command:
                  - nginx
                  - -g
                  - daemon off;
                container_name: the-web
                domainname: example.com
                entrypoint:
                  - /entry
                  - --flag
                group_add:
                  - mail
                  - "44"
                hostname: web1
                image: nginx
                init: true
                networks:
                  default: null
                platform: linux/amd64
                pull_policy: always
                stdin_open: true
                stop_grace_period: 1m30s
                stop_signal: SIGQUIT
                tty: true
                user: 1000:1000
                working_dir: /srv
            networks:
              default:
                name: demo_default
        "#]],
    );
}

#[test]
fn a_cleared_command_differs_from_an_absent_one() {
    check(
        "services:\n  a: {image: a, command: []}\n  b: {image: a, command: ''}\n  c: {image: a}\n",
        expect![[r#"
            name: demo
            services:
              a:
                command: []
                image: a
                networks:
                  default: null
              b:
                command: []
                image: a
                networks:
                  default: null
              c:
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
fn an_open_quote_in_a_command_is_an_error() {
    check(
        "services:\n  web:\n    image: a\n    command: echo 'oops\n",
        expect![[r#"
        error[E0009]: `command` cannot be split into words
         --> compose.yaml:4:14
          |
        4 |     command: echo 'oops
          |              ^^^^^^^^^^ a quote is not closed
    "#]],
    );
}

#[test]
fn environment_takes_maps_lists_and_the_callers_values() {
    check(
        "services:\n  a:\n    image: a\n    environment: {N: 1, B: true, F: 1.50, E: '', TAG: , NOPE: }\n  b:\n    image: a\n    environment: [N=1, E=, TAG, NOPE]\n",
        expect![[r#"
            name: demo
            services:
              a:
                environment:
                  B: "true"
                  E: ""
                  F: "1.5"
                  "N": "1"
                  NOPE: null
                  TAG: "1.2"
                image: a
                networks:
                  default: null
              b:
                environment:
                  E: ""
                  "N": "1"
                  NOPE: null
                  TAG: "1.2"
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
fn env_files_are_folded_in_below_environment() {
    let texts = [
        (
            "compose.yaml",
            "services:\n  web:\n    image: a\n    env_file: [a.env, {path: raw.env, format: raw}, {path: gone.env, required: false}]\n    environment: {B: environment}\n",
        ),
        (
            "a.env",
            "A='from $file' # comment\nB=file\nC=\"$TAG\\n${A}\"\nexport D=4\n",
        ),
        ("raw.env", "RAW='kept as it is' # too\n"),
    ];
    check_files(
        &texts,
        &hoist_spec::LoadRequest::default(),
        expect![[r#"
            name: demo
            services:
              web:
                environment:
                  A: from $$file
                  B: environment
                  C: |-
                    1.2
                    from $$file
                  D: "4"
                  RAW: '''kept as it is'' # too'
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
fn a_missing_env_file_is_an_error_where_it_is_named() {
    check(
        "services:\n  web:\n    image: a\n    env_file: gone.env\n",
        expect![[r#"
        error[E0012]: cannot read the env file /demo/gone.env: no such file
         --> compose.yaml:4:15
          |
        4 |     env_file: gone.env
          |               ^^^^^^^^ named here
    "#]],
    );
}

#[test]
fn a_broken_env_file_is_an_error_inside_it() {
    let texts = [
        (
            "compose.yaml",
            "services:\n  web: {image: a, env_file: a.env}\n",
        ),
        ("a.env", "OK=1\nBAD LINE=2\n"),
    ];
    check_files(
        &texts,
        &hoist_spec::LoadRequest::default(),
        expect![[r#"
            error[E0013]: a variable name cannot contain a space; the form is NAME=VALUE
             --> a.env:2:1
              |
            2 | BAD LINE=2
              | ^^^^^^^^ here
              |
             ::: compose.yaml:2:29
              |
            2 |   web: {image: a, env_file: a.env}
              |                             ----- named here
        "#]],
    );
}

#[test]
fn pull_policies_with_times_are_understood() {
    let text = "services:\n  a: {image: a, pull_policy: every_2d}\n  b: {image: a, pull_policy: daily}\n  c: {image: a, pull_policy: if_not_present}\n";
    let loaded = run(
        &files(&[("compose.yaml", text)]),
        &hoist_spec::LoadRequest::default(),
    )
    .unwrap();
    let policies: Vec<_> = loaded
        .stack
        .services
        .values()
        .map(|service| service.pull_policy)
        .collect();
    expect![[r#"
        [
            Some(
                Every(
                    172800s,
                ),
            ),
            Some(
                Every(
                    86400s,
                ),
            ),
            Some(
                Missing,
            ),
        ]
    "#]]
    .assert_debug_eq(&policies);
}

#[test]
fn unknown_words_are_refused() {
    check(
        "services:\n  a: {image: a, pull_policy: sometimes, stop_grace_period: soon, tty: perhaps}\n",
        expect![[r#"
            error[E0009]: `services.a.pull_policy`: `sometimes` is not always, never, missing, build, daily, weekly or every_<time>
             --> compose.yaml:2:30
              |
            2 |   a: {image: a, pull_policy: sometimes, stop_grace_period: soon, tty: perhaps}
              |                              ^^^^^^^^^ this value

            error[E0009]: `services.a.stop_grace_period`: `soon` is not a duration like 1m30s
             --> compose.yaml:2:60
              |
            2 |   a: {image: a, pull_policy: sometimes, stop_grace_period: soon, tty: perhaps}
              |                                                            ^^^^ this value

            error[E0009]: `services.a.tty`: `perhaps` is not a boolean
             --> compose.yaml:2:71
              |
            2 |   a: {image: a, pull_policy: sometimes, stop_grace_period: soon, tty: perhaps}
              |                                                                       ^^^^^^^ this value
        "#]],
    );
}

#[test]
fn two_services_cannot_share_a_container_name() {
    check(
        "services:\n  a: {image: a, container_name: one}\n  b: {image: a, container_name: one}\n",
        expect![[r#"
        error[E0024]: two services have the container name `one`
         --> compose.yaml:3:33
          |
        2 |   a: {image: a, container_name: one}
          |                                 --- first used here
        3 |   b: {image: a, container_name: one}
          |                                 ^^^ used again
    "#]],
    );
}

#[test]
fn operators_of_a_shell_are_plain_characters_and_that_is_said() {
    check(
        "services:\n  web:\n    image: a\n    command: echo a; echo b\n",
        expect![[r#"
            name: demo
            services:
              web:
                command:
                  - echo
                  - a;
                  - echo
                  - b
                image: a
                networks:
                  default: null
            networks:
              default:
                name: demo_default

            warning[W0005]: no shell reads `command`: `;` is passed on as a plain character
             --> compose.yaml:4:14
              |
            4 |     command: echo a; echo b
              |              ^^^^^^^^^^^^^^ this is split into words and run as it is
              |
              = help: for a shell's syntax, write `command: ["sh", "-c", "…"]`
        "#]],
    );
}

#[test]
fn a_raw_env_file_is_taken_as_it_is() {
    let texts = [
        (
            "compose.yaml",
            "services:\n  web:\n    image: a\n    env_file: [{path: raw.env, format: raw}]\n",
        ),
        ("raw.env", "A='$B' # no comment\n"),
    ];
    super::files::check_files(
        &texts,
        &hoist_spec::LoadRequest::default(),
        expect![[r#"
            name: demo
            services:
              web:
                environment:
                  A: '''$$B'' # no comment'
                image: a
                networks:
                  default: null
            networks:
              default:
                name: demo_default
        "#]],
    );
    let request = hoist_spec::LoadRequest {
        as_reference: true,
        ..hoist_spec::LoadRequest::default()
    };
    super::files::check_files(
        &texts,
        &request,
        expect![[r#"
        error[E0026]: the reference loader reads no raw env files
         --> compose.yaml:4:40
          |
        4 |     env_file: [{path: raw.env, format: raw}]
          |                                        ^^^ other tools may refuse this format
          |
          = help: `up` reads it; print it all the same with `config --no-consistency`
    "#]],
    );
}
