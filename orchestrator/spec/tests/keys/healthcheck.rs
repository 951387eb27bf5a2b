//! healthcheck.

use expect_test::expect;

use super::files::check;

#[test]
fn all_forms_of_a_test() {
    check(
        r#"
services:
  a: {image: a, healthcheck: {test: curl -f localhost, interval: 1m30s, timeout: 10s, retries: 3, start_period: 40s, start_interval: 5s}}
  b: {image: a, healthcheck: {test: [CMD, pg_isready]}}
  c: {image: a, healthcheck: {test: [CMD-SHELL, exit 0]}}
  d: {image: a, healthcheck: {test: [NONE]}}
  e: {image: a, healthcheck: {disable: true}}
  f: {image: a, healthcheck: {interval: 1s}}
"#,
        expect![[r#"
            name: demo
            services:
              a:
                healthcheck:
                  test:
                    - CMD-SHELL
                    - curl -f localhost
                  timeout: 10s
                  interval: 1m30s
                  retries: 3
                  start_period: 40s
                  start_interval: 5s
                image: a
                networks:
                  default: null
              b:
                healthcheck:
                  test:
                    - CMD
                    - pg_isready
                image: a
                networks:
                  default: null
              c:
                healthcheck:
                  test:
                    - CMD-SHELL
                    - exit 0
                image: a
                networks:
                  default: null
              d:
                healthcheck:
                  disable: true
                image: a
                networks:
                  default: null
              e:
                healthcheck:
                  disable: true
                image: a
                networks:
                  default: null
              f:
                healthcheck:
                  interval: 1s
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
fn a_list_must_say_how_it_is_run() {
    check(
        "services:\n  a: {image: a, healthcheck: {test: [curl, localhost]}}\n",
        expect![[r#"
        error[E0009]: `healthcheck.test`: it must begin with NONE, CMD or CMD-SHELL
         --> compose.yaml:2:37
          |
        2 |   a: {image: a, healthcheck: {test: [curl, localhost]}}
          |                                     ^^^^^^^^^^^^^^^^^ this list
          |
          = help: write a plain string for a command of the shell
    "#]],
    );
}

#[test]
fn a_bare_number_is_not_a_duration() {
    check(
        "services:\n  a:\n    image: a\n    healthcheck: {test: x, interval: '10', retries: many}\n",
        expect![[r#"
        error[E0009]: `services.a.healthcheck.interval`: `10` is not a duration like 1m30s
         --> compose.yaml:4:38
          |
        4 |     healthcheck: {test: x, interval: '10', retries: many}
          |                                      ^^^^ this value

        error[E0009]: `services.a.healthcheck.retries`: `many` is not a whole number
         --> compose.yaml:4:53
          |
        4 |     healthcheck: {test: x, interval: '10', retries: many}
          |                                                     ^^^^ this value
    "#]],
    );
}

#[test]
fn a_start_interval_needs_a_start_period() {
    check(
        "services:\n  a:\n    image: a\n    healthcheck:\n      test: x\n      start_interval: 1s\n",
        expect![[r#"
        error[E0008]: `services.a.healthcheck`: `start_interval` needs a `start_period`
         --> compose.yaml:6:7
          |
        6 |       start_interval: 1s
          |       ^^^^^^^^^^^^^^ how often to probe while the service starts
          |
          = help: say how long it may take to start, for example `start_period: 30s`
    "#]],
    );
}
