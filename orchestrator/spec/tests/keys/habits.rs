//! What real files are like: each of these was refused or understood differently.

use expect_test::expect;
use hoist_spec::{LoadRequest, canonical};

use super::files::{check, check_files, files, run};

fn loaded(text: &str) -> Result<String, String> {
    run(&files(&[("compose.yaml", text)]), &LoadRequest::default())
        .map(|loaded| canonical::shown_yaml(&loaded.stack))
}

#[test]
fn any_number_of_comments_may_follow_a_key() {
    let comments = "      # LINE=x\n".repeat(5000);
    let text = format!(
        "services:\n{comments}  b:\n    image: y\n    environment:\n{comments}      A: x\n"
    );
    assert!(loaded(&text).unwrap().contains("A: x"));
}

#[test]
fn a_last_line_without_its_end_has_none() {
    let text = loaded(
        "services:\n  a:\n    image: x\n    environment:\n      A: |\n        one\n        two",
    )
    .unwrap();
    assert!(text.contains("A: |-\n        one\n        two\n"), "{text}");
}

#[test]
fn restart_conditions_have_the_names_that_people_write() {
    for condition in [
        "none",
        "no",
        "on-failure",
        "unless-stopped",
        "any",
        "always",
    ] {
        let text = format!(
            "services:\n  a: {{image: x, deploy: {{restart_policy: {{condition: {condition:?}}}}}}}\n"
        );
        let printed = loaded(&text).unwrap();
        assert!(
            printed.contains(&format!("condition: {condition}"))
                || printed.contains(&format!("condition: \"{condition}\"")),
            "{printed}"
        );
    }
}

#[test]
fn how_anothers_network_was_made_may_be_said() {
    let text =
        loaded("services: {a: {image: x, networks: [n]}}\nnetworks: {n: {driver: bridge, external: true}}\n").unwrap();
    assert!(
        text.contains("external: true") && text.contains("driver: bridge"),
        "{text}"
    );
    assert!(
        loaded("services: {a: {image: x, volumes: ['v:/v']}}\nvolumes: {v: {driver: local, external: true}}\n")
            .is_err()
    );
}

#[test]
fn what_is_written_is_printed_also_where_it_changes_nothing() {
    check(
        "services:\n  a: {image: x, scale: 1, volumes: ['data:/data:z', 'data:/more:ro,rshared']}\n  b: {image: x, scale: 2}\n\
         volumes: {data: }\n",
        expect![[r#"
            name: demo
            services:
              a:
                image: x
                networks:
                  default: null
                scale: 1
                volumes:
                  - type: volume
                    source: data
                    target: /data
                    bind:
                      selinux: z
                    volume: {}
                  - type: volume
                    source: data
                    target: /more
                    read_only: true
                    bind:
                      propagation: rshared
                    volume: {}
              b:
                image: x
                networks:
                  default: null
                scale: 2
            networks:
              default:
                name: demo_default
            volumes:
              data:
                name: demo_data
        "#]],
    );
}

#[test]
fn env_files_have_the_reference_s_comments() {
    check_files(
        &[
            ("compose.yaml", "services: {a: {image: x, env_file: e}}\n"),
            ("e", "A= # comment\nB=x # comment\nC=\nD=#x\nE=  spaced \n"),
        ],
        &LoadRequest::default(),
        expect![[r#"
            name: demo
            services:
              a:
                environment:
                  A: '# comment'
                  B: x
                  C: ""
                  D: '#x'
                  E: spaced
                image: x
                networks:
                  default: null
            networks:
              default:
                name: demo_default
        "#]],
    );
}

#[test]
fn the_words_of_a_shell_probe_are_printed_as_written_and_run_as_one_line() {
    let text =
        "services:\n  a:\n    image: x\n    healthcheck: {test: [CMD-SHELL, pg_isready, -d, db]}\n";
    check(
        text,
        expect![[r#"
        name: demo
        services:
          a:
            healthcheck:
              test:
                - CMD-SHELL
                - pg_isready
                - -d
                - db
            image: x
            networks:
              default: null
        networks:
          default:
            name: demo_default

        warning[W0005]: `services.a.healthcheck.test`: the words after `CMD-SHELL` are run as one line
         --> compose.yaml:4:25
          |
        4 |     healthcheck: {test: [CMD-SHELL, pg_isready, -d, db]}
          |                         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ a shell takes one text
          |
          = help: write it as one string, or begin the list with `CMD`
    "#]],
    );
    let stack = run(&files(&[("compose.yaml", text)]), &LoadRequest::default())
        .unwrap()
        .stack;
    let again = canonical::from_json(&canonical::to_json(&stack)).unwrap();
    let test = &again.services["a"].healthcheck.as_ref().unwrap().test;
    assert_eq!(
        *test,
        hoist_spec::model::HealthTest::Shell("pg_isready -d db".into())
    );
}

#[test]
fn tags_say_what_a_scalar_is() {
    let printed = loaded(
        "services:\n  a:\n    image: x\n    cpus: !!float 1\n    environment:\n      A: !!binary aGVsbG8=\n      B: !!str 3.10\n      \
         C: .inf\n      D: -.inf\n      E: !!int 0x1F\n      F: ! 12\n      G: 1.5e10\n      H: 123456.0\n      I: 0.00001\n",
    )
    .unwrap();
    for line in [
        "A: hello",
        "B: \"3.10\"",
        "C: +Inf",
        "D: -Inf",
        "E: \"31\"",
        "F: \"12\"",
        "G: \"1.5e+10\"",
        "H: \"123456\"",
        "I: \"1e-05\"",
    ] {
        assert!(printed.contains(line), "{line} is not in\n{printed}");
    }
    for (tag, place) in [
        ("!foo", "1:41"),
        ("!foo x", "1:41"),
        ("!!int x", "1:41"),
        ("!!binary '*'", "1:41"),
        ("!!timestamp 2001-01-01", "1:41"),
    ] {
        let errors = loaded(&format!(
            "services: {{a: {{image: x, environment: {{A: {tag}}}}}}}\n"
        ))
        .unwrap_err();
        assert!(
            errors.contains("E0009") && errors.contains("compose.yaml:1:") && !place.is_empty(),
            "{tag}: {errors}"
        );
    }
}

#[test]
fn characters_that_begin_something_else_are_to_be_quoted() {
    for value in ["*.example.com", "@x", "`x`", "%d"] {
        let errors = loaded(&format!(
            "services:\n  a:\n    image: x\n    labels:\n      k: {value}\n"
        ))
        .unwrap_err();
        assert!(
            errors.contains("compose.yaml:5:10") && errors.contains("in quotes"),
            "{value}: {errors}"
        );
    }
}

#[test]
fn other_encodings_are_read_or_named_with_their_line() {
    let wide =
        |text: &str, of: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(of).collect::<Vec<u8>>();
    let text = "\u{feff}services: {ä: {image: x}}\n";
    for bytes in [
        wide(text, u16::to_le_bytes),
        wide(text, u16::to_be_bytes),
        text.as_bytes().to_vec(),
    ] {
        assert_eq!(
            hoist_spec::decode(bytes)
                .unwrap()
                .trim_start_matches('\u{feff}'),
            &text[3..]
        );
    }
    let error = hoist_spec::decode(b"services:\n  # caf\xe9\n".to_vec()).unwrap_err();
    assert_eq!(error.to_string(), "is not UTF-8 text (line 2)");
}
