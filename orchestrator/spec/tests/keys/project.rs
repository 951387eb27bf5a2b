//! Which files, which variables, which name.

use expect_test::expect;
use hoist_spec::{Env, LoadRequest, load};

use super::files::{check, check_files, files, run};

const WEB: &str = "services:\n  web: {image: a}\n";

fn name(texts: &[(&str, &str)], request: &LoadRequest, env: &[(&str, &str)]) -> String {
    load(
        request,
        &files(texts),
        &env.iter().copied().collect::<Env>(),
    )
    .unwrap()
    .stack
    .name
}

#[test]
fn the_name_comes_from_flag_variable_file_or_folder() {
    let file = format!("name: from-file\n{WEB}");
    let texts = [("compose.yaml", file.as_str())];
    let flag = LoadRequest {
        project_name: Some("from-flag".into()),
        ..LoadRequest::default()
    };
    let variable = [("COMPOSE_PROJECT_NAME", "from-variable")];
    assert_eq!(name(&texts, &flag, &variable), "from-flag");
    assert_eq!(
        name(&texts, &LoadRequest::default(), &variable),
        "from-variable"
    );
    assert_eq!(name(&texts, &LoadRequest::default(), &[]), "from-file");
    assert_eq!(
        name(&[("compose.yaml", WEB)], &LoadRequest::default(), &[]),
        "demo"
    );
    let folder = LoadRequest {
        files: vec!["My.App_2/c.yaml".into()],
        ..LoadRequest::default()
    };
    assert_eq!(name(&[("My.App_2/c.yaml", WEB)], &folder, &[]), "myapp_2");
}

#[test]
fn a_bad_name_is_an_error_with_a_good_one() {
    check(
        "name: My App\nservices:\n  web: {image: a}\n",
        expect![[r#"
        error[E0021]: `My App` cannot be a project name: lower-case letters, digits, `-` and `_`, beginning with a letter or digit
         --> compose.yaml:1:7
          |
        1 | name: My App
          |       ^^^^^^ the project's name
          |
          = help: for example `myapp`
    "#]],
    );
}

#[test]
fn the_name_is_a_variable_for_the_file() {
    check(
        "name: shop\nservices:\n  web: {image: 'a:${COMPOSE_PROJECT_NAME}'}\n",
        expect![[r#"
        name: shop
        services:
          web:
            image: a:shop
            networks:
              default: null
        networks:
          default:
            name: shop_default
    "#]],
    );
}

#[test]
fn an_override_file_beside_the_stack_file_is_merged() {
    let texts = [
        ("compose.yaml", WEB),
        ("compose.override.yml", "services:\n  web: {command: x}\n"),
    ];
    let loaded = run(&files(&texts), &LoadRequest::default()).unwrap();
    assert_eq!(loaded.files.len(), 2);
    assert_eq!(
        loaded.stack.services["web"].command,
        Some(vec!["x".to_owned()])
    );
}

#[test]
fn a_stack_file_is_searched_for_upwards() {
    let source = files(&[("../compose.yml", WEB)]);
    assert!(
        run(&source, &LoadRequest::default()).is_err(),
        "paths of the test source are not cleaned"
    );
    let source = files(&[("/docker-compose.yml", WEB)]);
    let loaded = load(
        &LoadRequest {
            project_name: Some("x".into()),
            ..LoadRequest::default()
        },
        &source,
        &Env::default(),
    );
    assert_eq!(
        loaded.unwrap().files,
        [std::path::PathBuf::from("/docker-compose.yml")]
    );
}

#[test]
fn no_stack_file_says_where_it_was_searched() {
    check_files(
        &[("other.yaml", WEB)],
        &LoadRequest::default(),
        expect![[r#"
        error[E0022]: no stack file in /demo or a folder above it
         |
         = help: looked for compose.yaml, compose.yml, docker-compose.yml, docker-compose.yaml; name another one with -f
    "#]],
    );
}

#[test]
fn two_candidates_are_a_warning() {
    check_files(
        &[("compose.yaml", WEB), ("docker-compose.yml", WEB)],
        &LoadRequest::default(),
        expect![[r#"
        name: demo
        services:
          web:
            image: a
            networks:
              default: null
        networks:
          default:
            name: demo_default

        warning[W0004]: several stack files in /demo: compose.yaml, docker-compose.yml; compose.yaml is used
    "#]],
    );
}

#[test]
fn the_shell_wins_over_env_files() {
    let texts = [
        (
            "compose.yaml",
            "services:\n  web: {image: 'a:${TAG}-${X}-${Y:-}'}\n",
        ),
        (".env", "TAG=dotenv\nX=dotenv\n"),
        ("other.env", "X=other\nY=$X\n"),
    ];
    let image = |request: &LoadRequest| {
        run(&files(&texts), request).unwrap().stack.services["web"]
            .image
            .clone()
    };
    assert_eq!(
        image(&LoadRequest::default()).as_deref(),
        Some("a:1.2-dotenv-")
    );
    let request = LoadRequest {
        env_files: vec!["other.env".into()],
        ..LoadRequest::default()
    };
    assert_eq!(image(&request).as_deref(), Some("a:1.2-other-other"));
}

#[test]
fn standard_input_is_a_file_named_by_a_dash() {
    let request = LoadRequest {
        files: vec!["-".into()],
        ..LoadRequest::default()
    };
    check_files(
        &[("-", "services:\n  web: {imag: a}\n")],
        &request,
        expect![[r#"
        error[E0006]: unknown attribute `imag` in `services.web`
         --> <stdin>:2:9
          |
        2 |   web: {imag: a}
          |         ^^^^ not an attribute of Compose
          |
          = help: did you mean `image`?
    "#]],
    );
}

#[test]
fn compose_file_and_compose_profiles_are_heard() {
    let texts = [
        ("a.yaml", WEB),
        ("b.yaml", "services:\n  dev: {image: b, profiles: [dev]}\n"),
    ];
    let env: Env = [
        ("COMPOSE_FILE", "a.yaml:b.yaml"),
        ("COMPOSE_PROFILES", "dev,x"),
    ]
    .into_iter()
    .collect();
    let loaded = load(&LoadRequest::default(), &files(&texts), &env).unwrap();
    assert_eq!(
        loaded.stack.services.into_keys().collect::<Vec<_>>(),
        ["dev", "web"]
    );
}

/// Services of the system start programs without it.
#[test]
fn the_working_directory_stands_in_for_pwd() {
    let texts = [
        (
            "compose.yaml",
            "services:\n  a: {image: 'x:$PWD', volumes: ['${PWD}/data:/data']}\n",
        ),
        (".env", "PWD=/no\n"),
    ];
    let loaded = run(&files(&texts), &LoadRequest::default()).unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.stack.services["a"].image.as_deref(), Some("x:/demo"));
}
