//! depends_on, links and the dependencies that other attributes imply.

use expect_test::expect;

use super::files::check;

#[test]
fn short_and_long_forms_have_their_defaults() {
    check(
        r#"
services:
  db: {image: db}
  init: {image: init}
  a: {image: a, depends_on: [db]}
  b:
    image: b
    depends_on:
      db: {condition: service_healthy, restart: true}
      init: {condition: service_completed_successfully, required: false}
"#,
        expect![[r#"
            name: demo
            services:
              a:
                depends_on:
                  db:
                    condition: service_started
                    required: true
                image: a
                networks:
                  default: null
              b:
                depends_on:
                  db:
                    condition: service_healthy
                    restart: true
                    required: true
                  init:
                    condition: service_completed_successfully
                    required: false
                image: b
                networks:
                  default: null
              db:
                image: db
                networks:
                  default: null
              init:
                image: init
                networks:
                  default: null
            networks:
              default:
                name: demo_default
        "#]],
    );
}

#[test]
fn links_and_shared_namespaces_are_dependencies() {
    check(
        r#"
services:
  db: {image: db}
  a: {image: a, links: [db]}
  b: {image: a, network_mode: "service:db"}
  c: {image: a, ipc: "service:db", pid: "service:db"}
"#,
        expect![[r#"
            name: demo
            services:
              a:
                depends_on:
                  db:
                    condition: service_started
                    restart: true
                    required: true
                image: a
                links:
                  - db
                networks:
                  default: null
              b:
                depends_on:
                  db:
                    condition: service_started
                    restart: true
                    required: true
                image: a
                network_mode: service:db
              c:
                depends_on:
                  db:
                    condition: service_started
                    restart: true
                    required: true
                image: a
                ipc: service:db
                networks:
                  default: null
                pid: service:db
              db:
                image: db
                networks:
                  default: null
            networks:
              default:
                name: demo_default
        "#]],
    );
}

#[test]
fn a_cycle_is_reported_as_its_path() {
    check(
        "services:\n  a:\n    image: a\n    depends_on: [b]\n  b:\n    image: b\n    depends_on: [c]\n  c:\n    image: c\n    depends_on:\n      - a\n",
        expect![[r#"
            error[E0017]: services depend on each other in a circle: a -> b -> c -> a
              --> compose.yaml:4:18
               |
             4 |     depends_on: [b]
               |                  ^ `a` depends on `b`
            ...
             7 |     depends_on: [c]
               |                  - `b` depends on `c`
            ...
            11 |       - a
               |         - `c` depends on `a`
        "#]],
    );
}

#[test]
fn a_service_cannot_depend_on_itself() {
    check(
        "services:\n  a:\n    image: a\n    depends_on: [a]\n",
        expect![[r#"
        error[E0017]: services depend on each other in a circle: a -> a
         --> compose.yaml:4:18
          |
        4 |     depends_on: [a]
          |                  ^ `a` depends on `a`
    "#]],
    );
}

#[test]
fn an_undefined_dependency_gets_a_suggestion() {
    check(
        "services:\n  database: {image: a}\n  web:\n    image: a\n    depends_on: [databse]\n",
        expect![[r#"
        error[E0016]: service `web` depends on the undefined service `databse`
         --> compose.yaml:5:18
          |
        5 |     depends_on: [databse]
          |                  ^^^^^^^ no service of this name
          |
          = help: did you mean `database`?
    "#]],
    );
}

#[test]
fn an_unknown_condition_is_refused() {
    check(
        "services:\n  db: {image: a}\n  web:\n    image: a\n    depends_on: {db: {condition: service_helthy}}\n",
        expect![[r#"
        error[E0009]: `services.web.depends_on.db.condition`: `service_helthy` is not one of `service_started`, `service_healthy`, `service_completed_successfully`
         --> compose.yaml:5:34
          |
        5 |     depends_on: {db: {condition: service_helthy}}
          |                                  ^^^^^^^^^^^^^^ this value
          |
          = help: did you mean `service_healthy`?
    "#]],
    );
}

#[test]
fn a_condition_is_required_in_the_long_form() {
    check(
        "services:\n  db: {image: a}\n  web:\n    image: a\n    depends_on: {db: {restart: true}}\n",
        expect![[r#"
        error[E0008]: `services.web.depends_on.db` needs the attribute `condition`
         --> compose.yaml:5:22
          |
        5 |     depends_on: {db: {restart: true}}
          |                      ^^^^^^^^^^^^^^^ `condition` is missing here
    "#]],
    );
}

#[test]
fn an_absent_dependency_that_is_not_required_is_a_warning() {
    check(
        "services:\n  web:\n    image: a\n    depends_on: {db: {condition: service_started, required: false}}\n",
        expect![[r#"
            name: demo
            services:
              web:
                depends_on:
                  db:
                    condition: service_started
                    required: false
                image: a
                networks:
                  default: null
            networks:
              default:
                name: demo_default

            warning[W0006]: service `web` would wait for `db`, which does not exist
             --> compose.yaml:4:18
              |
            4 |     depends_on: {db: {condition: service_started, required: false}}
              |                  ^^ not required, so it starts without it
        "#]],
    );
}
