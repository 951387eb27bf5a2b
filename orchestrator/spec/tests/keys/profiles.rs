//! profiles.

use expect_test::expect;
use hoist_spec::LoadRequest;

use super::files::{check, files, run};

const TEXT: &str = "services:\n  web: {image: a}\n  debug: {image: a, profiles: [dev]}\n  seed: {image: a, profiles: [dev, data]}\n  load: {image: a, profiles: [perf]}\n";

fn active(request: &LoadRequest) -> (Vec<String>, Vec<String>) {
    let stack = run(&files(&[("compose.yaml", TEXT)]), request)
        .unwrap()
        .stack;
    (stack.services.into_keys().collect(), stack.inactive)
}

#[test]
fn services_with_profiles_are_inactive_until_one_is_active() {
    let names = |names: &[&str]| {
        names
            .iter()
            .map(|&name| name.to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        active(&LoadRequest::default()),
        (names(&["web"]), names(&["debug", "load", "seed"]))
    );
    let profiled = LoadRequest {
        profiles: vec!["data".into()],
        ..LoadRequest::default()
    };
    assert_eq!(
        active(&profiled),
        (names(&["seed", "web"]), names(&["debug", "load"]))
    );
    let all = LoadRequest {
        profiles: vec!["*".into()],
        ..LoadRequest::default()
    };
    assert_eq!(active(&all).1, names(&[]));
}

#[test]
fn naming_a_service_activates_its_profiles() {
    let named = LoadRequest {
        services: vec!["debug".into()],
        ..LoadRequest::default()
    };
    assert_eq!(active(&named).0, ["debug", "seed", "web"]);
}

#[test]
fn needing_an_inactive_service_names_its_profile() {
    check(
        "services:\n  db:\n    image: a\n    profiles: [dev]\n  web:\n    image: a\n    depends_on: [db]\n",
        expect![[r#"
        error[E0016]: service `web` depends on `db`, which no active profile includes
         --> compose.yaml:7:18
          |
        2 |   db:
          |   -- inactive
        ...
        7 |     depends_on: [db]
          |                  ^^ needed here
          |
          = help: activate it with `--profile dev`, or set `required: false`
    "#]],
    );
}

#[test]
fn naming_an_unknown_service_is_an_error() {
    let named = LoadRequest {
        services: vec!["debg".into()],
        ..LoadRequest::default()
    };
    super::files::check_files(
        &[("compose.yaml", TEXT)],
        &named,
        expect![[r#"
        error[E0023]: no such service: debg
         |
         = help: did you mean `debug`?
    "#]],
    );
}
