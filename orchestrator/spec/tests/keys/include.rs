//! include.

use expect_test::expect;
use hoist_spec::LoadRequest;

use super::files::check_files;

#[test]
fn an_included_file_has_its_own_folder_and_variables() {
    let texts = [
        (
            "compose.yaml",
            "include:\n  - db/compose.yaml\n  - path: [mq/mq.yaml]\n    project_directory: mq/root\n    env_file: mq/mq.env\nservices:\n  web: {image: a, depends_on: [db, mq]}\n",
        ),
        (
            "db/compose.yaml",
            "services:\n  db:\n    image: postgres:${VERSION}\n    volumes: ['./data:/data']\n",
        ),
        ("db/.env", "VERSION=17\n"),
        (
            "mq/mq.yaml",
            "services:\n  mq:\n    build: .\n    environment: [VERSION]\n",
        ),
        ("mq/mq.env", "VERSION=4\n"),
    ];
    check_files(
        &texts,
        &LoadRequest::default(),
        expect![[r#"
            name: demo
            services:
              db:
                image: postgres:17
                networks:
                  default: null
                volumes:
                  - type: bind
                    source: /demo/db/data
                    target: /data
                    bind: {}
              mq:
                build:
                  context: /demo/mq/root
                  dockerfile: Dockerfile
                environment:
                  VERSION: "4"
                networks:
                  default: null
              web:
                depends_on:
                  db:
                    condition: service_started
                    required: true
                  mq:
                    condition: service_started
                    required: true
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
fn files_cannot_include_each_other_in_a_circle() {
    let texts = [
        ("compose.yaml", "include: [b.yaml]\n"),
        (
            "b.yaml",
            "include: [compose.yaml]\nservices: {a: {image: a}}\n",
        ),
    ];
    check_files(
        &texts,
        &LoadRequest::default(),
        expect![[r#"
            error[E0015]: files include each other in a circle: /demo/compose.yaml -> /demo/b.yaml -> /demo/compose.yaml
             --> b.yaml:1:11
              |
            1 | include: [compose.yaml]
              |           ^^^^^^^^^^^^ included here
              |
             ::: compose.yaml:1:11
              |
            1 | include: [b.yaml]
              |           ------ included from here
        "#]],
    );
}

#[test]
fn a_missing_file_is_an_error_where_it_is_named() {
    check_files(
        &[(
            "compose.yaml",
            "include:\n  - gone.yaml\nservices: {a: {image: a}}\n",
        )],
        &LoadRequest::default(),
        expect![[r#"
        error[E0012]: cannot read the file to include /demo/gone.yaml: no such file
         --> compose.yaml:2:5
          |
        2 |   - gone.yaml
          |     ^^^^^^^^^ named here
    "#]],
    );
}

#[test]
fn files_that_multiply_are_stopped() {
    let mut texts: Vec<(String, String)> = (0..30)
        .map(|level| {
            (
                format!("{level}.yaml"),
                format!("include: [{0}.yaml, {0}.yaml]\n", level + 1),
            )
        })
        .collect();
    texts.push(("30.yaml".into(), "services: {a: {image: a}}\n".into()));
    let texts: Vec<(&str, &str)> = texts
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let request = LoadRequest {
        files: vec!["0.yaml".into()],
        ..LoadRequest::default()
    };
    assert!(
        super::files::run(&super::files::files(&texts), &request)
            .unwrap_err()
            .contains("E0025")
    );
}

#[test]
fn included_files_cannot_define_one_thing_differently() {
    let texts = [
        ("compose.yaml", "include: [a.yaml, b.yaml]\n"),
        (
            "a.yaml",
            "services:\n  db: {image: postgres}\n  same: {image: x, init: true}\n",
        ),
        (
            "b.yaml",
            "services:\n  db: {image: mysql}\n  same: {init: true, image: x}\n",
        ),
    ];
    check_files(
        &texts,
        &LoadRequest::default(),
        expect![[r#"
        error[E0027]: two included files define the service `db` differently
         --> b.yaml:2:3
          |
        2 |   db: {image: mysql}
          |   ^^ defined again
          |
         ::: a.yaml:2:3
          |
        2 |   db: {image: postgres}
          |   -- first defined here
          |
         ::: compose.yaml:1:19
          |
        1 | include: [a.yaml, b.yaml]
          |                   ------ the second one is included here
          |
          = help: give one of them another name, or include both with one `path: [FIRST, SECOND]`
    "#]],
    );
    // What the including file says about an included service is an override, not a conflict.
    let texts = [
        (
            "compose.yaml",
            "include: [a.yaml]\nservices:\n  db: {image: mysql}\n",
        ),
        ("a.yaml", "services:\n  db: {image: postgres, init: true}\n"),
    ];
    check_files(
        &texts,
        &LoadRequest::default(),
        expect![[r#"
        name: demo
        services:
          db:
            image: mysql
            init: true
            networks:
              default: null
        networks:
          default:
            name: demo_default
    "#]],
    );
}
