//! labels, label_file, annotations.

use expect_test::expect;

use super::files::check_files;

#[test]
fn labels_take_both_forms_and_files() {
    let texts = [
        (
            "compose.yaml",
            "services:\n  a:\n    image: a\n    labels: [a=1, b]\n    label_file: l.env\n    annotations: {x: 1}\n",
        ),
        ("l.env", "a=file\nc=3\n"),
    ];
    check_files(
        &texts,
        &hoist_spec::LoadRequest::default(),
        expect![[r#"
            name: demo
            services:
              a:
                annotations:
                  x: "1"
                image: a
                labels:
                  a: "1"
                  b: ""
                  c: "3"
                networks:
                  default: null
            networks:
              default:
                name: demo_default
        "#]],
    );
}
