//! restart.

use expect_test::expect;

use super::files::{check, files, run};

#[test]
fn every_policy_is_read() {
    let text = "services:\n  a: {image: a, restart: 'no'}\n  b: {image: a, restart: always}\n  c: {image: a, restart: unless-stopped}\n  d: {image: a, restart: on-failure}\n  e: {image: a, restart: 'on-failure:3'}\n";
    let loaded = run(
        &files(&[("compose.yaml", text)]),
        &hoist_spec::LoadRequest::default(),
    )
    .unwrap();
    let policies: Vec<_> = loaded
        .stack
        .services
        .values()
        .map(|service| service.restart)
        .collect();
    expect![[r#"
        [
            Some(
                No,
            ),
            Some(
                Always,
            ),
            Some(
                UnlessStopped,
            ),
            Some(
                OnFailure {
                    max_retries: None,
                },
            ),
            Some(
                OnFailure {
                    max_retries: Some(
                        3,
                    ),
                },
            ),
        ]
    "#]]
    .assert_debug_eq(&policies);
}

#[test]
fn an_unquoted_no_gets_a_hint() {
    check(
        "services:\n  a:\n    image: a\n    restart: false\n",
        expect![[r#"
            error[E0007]: `services.a.restart` must be a string
             --> compose.yaml:4:14
              |
            4 |     restart: false
              |              ^^^^^ this is a boolean
              |
              = help: quote it: "false"; without quotes, YAML reads a boolean
        "#]],
    );
}

#[test]
fn an_unknown_policy_is_refused() {
    check(
        "services:\n  a:\n    image: a\n    restart: unless-stoped\n",
        expect![[r#"
            error[E0009]: `services.a.restart`: `unless-stoped` is not no, always, unless-stopped or on-failure[:count]
             --> compose.yaml:4:14
              |
            4 |     restart: unless-stoped
              |              ^^^^^^^^^^^^^ this value
              |
              = help: did you mean `unless-stopped`?
        "#]],
    );
}
