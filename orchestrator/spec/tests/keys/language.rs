//! What holds for every key: places, suggestions, YAML's own rules, interpolation.

use expect_test::expect;

use super::files::check;

#[test]
fn every_error_is_reported_at_once_with_its_place() {
    check(
        "services:\n  web:\n    imgae: nginx:${TAG}\n    ports: [80:80, 70000]\n    depends_on: [db]\n    privileged: maybe\n",
        expect![[r#"
            error[E0006]: unknown attribute `imgae` in `services.web`
             --> compose.yaml:3:5
              |
            3 |     imgae: nginx:${TAG}
              |     ^^^^^ not an attribute of Compose
              |
              = help: did you mean `image`?

            error[E0009]: `70000` is not a port: `70000` is not a port of the container
             --> compose.yaml:4:20
              |
            4 |     ports: [80:80, 70000]
              |                    ^^^^^ [ADDRESS:][HOST:]CONTAINER[/PROTOCOL]

            error[E0016]: service `web` depends on the undefined service `db`
             --> compose.yaml:5:18
              |
            5 |     depends_on: [db]
              |                  ^^ no service of this name

            error[E0009]: `services.web.privileged`: `maybe` is not a boolean
             --> compose.yaml:6:17
              |
            6 |     privileged: maybe
              |                 ^^^^^ this value
        "#]],
    );
}

#[test]
fn variables_are_replaced_in_values_in_all_forms() {
    check(
        r#"
services:
  web:
    image: nginx:${TAG}
    environment:
      DEFAULT: ${NOPE:-fallback}
      NESTED: ${NOPE:-${ALSO_NOPE-inner}}
      LAZY: ${TAG:-${NEVER:?evaluated}}
      INSTEAD: ${TAG:+there}
      DOLLAR: $$HOME
      UNSET: "[$NOPE]"
      $TAG: keys stay
"#,
        expect![[r#"
            name: demo
            services:
              web:
                environment:
                  $$TAG: keys stay
                  DEFAULT: fallback
                  DOLLAR: $$HOME
                  INSTEAD: there
                  LAZY: "1.2"
                  NESTED: inner
                  UNSET: '[]'
                image: nginx:1.2
                networks:
                  default: null
            networks:
              default:
                name: demo_default

            warning[W0002]: the variable `NOPE` is not set; it becomes an empty string
              --> compose.yaml:11:17
               |
            11 |       UNSET: "[$NOPE]"
               |                 ^^^^ used here
               |
               = help: set it, or write ${NOPE:-} for nothing, or $$ for a dollar sign
        "#]],
    );
}

#[test]
fn a_missing_required_variable_is_an_error_at_its_name() {
    check(
        "services:\n  web:\n    image: nginx:${VERSION:?set the version}\n",
        expect![[r#"
        error[E0011]: required variable `VERSION` is missing a value: set the version
         --> compose.yaml:3:20
          |
        3 |     image: nginx:${VERSION:?set the version}
          |                    ^^^^^^^ required here
          |
          = help: set VERSION in the environment or in .env
    "#]],
    );
}

#[test]
fn a_broken_template_is_an_error() {
    check(
        "services:\n  web:\n    image: nginx:${VERSION!}\n",
        expect![[r#"
        error[E0010]: invalid template `${VERSION!}` in `nginx:${VERSION!}`
         --> compose.yaml:3:12
          |
        3 |     image: nginx:${VERSION!}
          |            ^^^^^^^^^^^^^^^^^ a variable is written $NAME or ${NAME}
          |
          = help: write $$ for a dollar sign that is meant literally
    "#]],
    );
}

#[test]
fn anchors_aliases_and_merge_keys_are_expanded() {
    check(
        r#"
x-base: &base
  image: alpine
  environment: &env {A: "1", B: "2"}
services:
  a:
    <<: *base
    environment:
      <<: *env
      B: "3"
  b: *base
"#,
        expect![[r#"
            name: demo
            services:
              a:
                environment:
                  A: "1"
                  B: "3"
                image: alpine
                networks:
                  default: null
              b:
                environment:
                  A: "1"
                  B: "2"
                image: alpine
                networks:
                  default: null
            networks:
              default:
                name: demo_default
            x-base:
              environment:
                A: "1"
                B: "2"
              image: alpine
        "#]],
    );
}

#[test]
fn a_duplicate_key_is_an_error_that_shows_both() {
    check(
        "services:\n  web:\n    image: a\n    image: b\n",
        expect![[r#"
        error[E0002]: `image` is given twice in one mapping
         --> compose.yaml:4:5
          |
        3 |     image: a
          |     ----- first given here
        4 |     image: b
          |     ^^^^^ given again
    "#]],
    );
}

#[test]
fn a_key_that_is_not_a_string_is_an_error() {
    check(
        "services:\n  123:\n    image: a\n",
        expect![[r#"
        error[E0004]: the key `123` is not a string
         --> compose.yaml:2:3
          |
        2 |   123:
          |   ^^^ YAML reads this as another type
          |
          = help: quote it: "123"
    "#]],
    );
}

#[test]
fn an_alias_inside_its_own_anchor_is_an_error() {
    check(
        "x-a: &a\n  b: *a\nservices:\n  web: {image: a}\n",
        expect![[r#"
        error[E0003]: an alias refers to a node that contains it
         --> compose.yaml:2:6
          |
        2 |   b: *a
          |   -  ^^ this would be inside itself
          |   |
          |   the node begins here
    "#]],
    );
}

#[test]
fn a_tab_is_an_error_with_a_hint() {
    check(
        "services:\n  web:\n\t  image: a\n",
        expect![[r#"
        error[E0001]: invalid YAML: tabs disallowed within this context (block indentation)
         --> compose.yaml:3:4
          |
        3 |       image: a
          |       ^ here
          |
          = help: YAML is indented with spaces, never with tabs
    "#]],
    );
}

#[test]
fn several_documents_merge_in_order() {
    check(
        "services:\n  web:\n    image: a\n    command: one\n---\nservices:\n  web:\n    command: two\n",
        expect![[r#"
            name: demo
            services:
              web:
                command:
                  - two
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
fn wrong_types_name_what_is_there() {
    check(
        "services:\n  web:\n    image: 1.5\n    environment: word\n    ports: {a: b}\n    volumes:\n",
        expect![[r#"
            error[E0007]: `services.web.image` must be a string
             --> compose.yaml:3:12
              |
            3 |     image: 1.5
              |            ^^^ this is a number
              |
              = help: quote it: "1.5"; without quotes, YAML reads a number

            error[E0007]: `services.web.environment` must be a mapping or a list of KEY=VALUE
             --> compose.yaml:4:18
              |
            4 |     environment: word
              |                  ^^^^ this is a string
              |
              = help: write it as a list: ["word"]

            error[E0007]: `services.web.ports` must be a list
             --> compose.yaml:5:12
              |
            5 |     ports: {a: b}
              |            ^^^^^^ this is a mapping

            error[E0007]: `services.web.volumes` must be a list
             --> compose.yaml:6:12
              |
            6 |     volumes:
              |            ^ this is null
        "#]],
    );
}

#[test]
fn a_file_that_is_not_a_mapping_is_refused() {
    check(
        "- services\n",
        expect![[r#"
        error[E0005]: a stack file must be a mapping at its top level
         --> compose.yaml:1:1
          |
        1 | - services
          | ^^^^^^^^^^ this is a list
    "#]],
    );
}

#[test]
fn an_empty_file_is_refused() {
    check(
        "# nothing\n",
        expect![[r#"
        error[E0005]: the stack file is empty
         --> compose.yaml:1:1
          |
        1 | # nothing
          | ^ nothing here
          |
          = help: a stack file has at least `services:`
    "#]],
    );
}

#[test]
fn extensions_are_kept_at_the_top_and_in_services() {
    check(
        "x-owner: {team: a}\nservices:\n  web:\n    image: a\n    x-note: hello\n",
        expect![[r#"
        name: demo
        services:
          web:
            image: a
            networks:
              default: null
            x-note: hello
        networks:
          default:
            name: demo_default
        x-owner:
          team: a
    "#]],
    );
}

#[test]
fn an_alias_bomb_is_refused_quickly() {
    let mut text = String::from("x-0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        text.push_str(&format!(
            "x-{level}: &a{level} [{}]\n",
            vec![alias; 10].join(", ")
        ));
    }
    text.push_str("services: {web: {image: a}}\n");
    let refused = super::files::run(
        &super::files::files(&[("compose.yaml", &text)]),
        &hoist_spec::LoadRequest::default(),
    );
    assert!(refused.unwrap_err().contains("E0003"));
}

#[test]
fn deep_nesting_is_refused_without_exhausting_the_stack() {
    let text = format!(
        "services: {{web: {{image: a}}}}\nx-deep: {}{}\n",
        "[".repeat(5000),
        "]".repeat(5000)
    );
    let refused = super::files::run(
        &super::files::files(&[("compose.yaml", &text)]),
        &hoist_spec::LoadRequest::default(),
    );
    assert!(refused.unwrap_err().contains("E0001"));
}
