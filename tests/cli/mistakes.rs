//! Mistakes in files and on the command line: each is answered with what is wrong, where, and what to do; and what looks
//! like one is none.

use std::process::Command;

use super::Folder;

#[test]
fn mistakes_of_the_first_day_are_answered_with_what_to_do() {
    for (stack, args, words) in [
        (
            "services:\n  web: { image: x, enviroment: { A: b } }\n",
            &["up"][..],
            &["yaml:2:20", "`environment`"][..],
        ),
        (
            "web:\n  image: nginx\n",
            &["up"],
            &["compose.yaml:1:1", "services stand below `services:`"],
        ),
        (
            "service:\n  web: { image: x }\n",
            &["up"],
            &["compose.yaml:1:1", "did you mean `services`?"],
        ),
        (
            "services:\n  web: { image: x, ports: 80:80 }\n",
            &["up"],
            &["compose.yaml:2:", "[\"80:80\"]"],
        ),
        (
            "services:\n  web: { image: x, depends_on: db }\n",
            &["up"],
            &["compose.yaml:2:", "[\"db\"]"],
        ),
        (
            "services:\n  web: { command: x }\n",
            &["up"],
            &["compose.yaml:2:3", "image: NAME"],
        ),
        (
            "services:\n\tweb: { image: x }\n",
            &["up"],
            &["compose.yaml:2:", "never with tabs"],
        ),
        (
            "services:\n  a:\n    image: x\n   tty: true\n",
            &["up"],
            &["compose.yaml:4:4", "same column"],
        ),
        (
            "services:\n  a:\n    image: \"x\n    ports: [\"80:80\"]\n",
            &["up"],
            &["compose.yaml:4:", "a quote"],
        ),
        (
            "services: { a: { image: x }, db: { image: x } }\n",
            &["up", "redis"],
            &["redis", "the services are a, db"],
        ),
        (
            "services: { a: { image: x }, db: { image: x } }\n",
            &["logs", "dbb"],
            &["dbb", "did you mean `db`?"],
        ),
        (
            "services: { a: { image: Nginx } }\n",
            &["up"],
            &["compose.yaml:1:25", "in lower case", "nginx:1.27"],
        ),
        (
            "services:\n  - a: { image: x }\n",
            &["up"],
            &["compose.yaml:2:3", "take the `-` away"],
        ),
        (
            "services:\n  a: { image: x, environment: [A: b] }\n",
            &["up"],
            &["compose.yaml:2:", "`A=b`"],
        ),
        (
            "services:\n  a:\n    command: a b: c\n",
            &["up"],
            &["compose.yaml:3:", "in quotes"],
        ),
        (
            "services: { a: { image: x } }\n",
            &["lgos"],
            &["lgos", "'logs'"],
        ),
        (
            "services: { a: { image: x } }\n",
            &["up", "--detch"],
            &["--detch", "--detach"],
        ),
        (
            "services: { a: { image: x } }\n",
            &["-f", "none.yaml", "up"],
            &["none.yaml", "no such file"],
        ),
        (
            "services: { a: { image: x } }\n",
            &["-f", ".", "up"],
            &["is a directory", "name the file"],
        ),
        (
            "services: { a: { image: x } }\n",
            &["-f", "-", "up"],
            &["<stdin>", "at least `services:`"],
        ),
        ("", &["up"], &["compose.yaml", "at least `services:`"]),
    ] {
        let folder = Folder::with(stack);
        let output = folder.run(&[], args);
        let said = folder.text(&output.stderr);
        assert!(
            !output.status.success() && output.stdout.is_empty(),
            "{stack}: {said}"
        );
        for words in words {
            assert!(said.contains(words), "{stack}: {words} is not in\n{said}");
        }
    }
    let folder = Folder::with("services: { a: { image: x } }\n");
    folder.file(".env", "GOOD=two words\nNOT GOOD=1\n");
    let said = folder.text(&folder.run(&[], &["config"]).stderr);
    assert!(
        said.contains(".env:2:1") && said.contains("NAME=VALUE"),
        "{said}"
    );
}

#[test]
fn files_of_other_systems_and_names_are_read() {
    let folder = Folder::empty();
    folder.file(
        "docker-compose.yml",
        "\u{feff}services:\r\n  web:\r\n    image: x\r\n    labels: {l: \"$TAG\"}\r\n    env_file: web.env\r\n",
    );
    folder.file(".env", "TAG=one two # a remark\r\n");
    folder.file("web.env", "A=b c\r\n");
    let text = folder.ok(&[], &["config"]);
    assert!(
        text.contains("l: one two\n") && text.contains("A: b c\n") && !text.contains('\r'),
        "{text}"
    );
    let below = folder.path().join("a/b");
    std::fs::create_dir_all(&below).expect("make folders");
    let output = Command::new(env!("CARGO_BIN_EXE_hoist"))
        .args(["config", "--services"])
        .current_dir(&below)
        .env_clear()
        .output()
        .expect("run hoist");
    assert_eq!(
        folder.text(&output.stdout),
        "web\n",
        "the file is found from a folder below"
    );
}

#[test]
fn config_refuses_what_up_refuses() {
    let folder = Folder::with(
        "services:\n  web:\n    image: nginx\n    userns_mode: host\n    logging: { driver: fluentd }\n  \
         other: { image: nginx }\n",
    );
    let forms = [
        &["config"][..],
        &["config", "-q"],
        &["config", "--format", "json"],
        &["config", "-o", "out.yaml"],
    ];
    let skipping = [
        &["config", "--no-normalize"][..],
        &["config", "--no-env-resolution"],
        &["config", "web"],
    ];
    for form in forms.iter().chain(&skipping) {
        let output = folder.run(&[], form);
        let said = folder.text(&output.stderr);
        assert_eq!(
            (output.status.code(), folder.text(&output.stdout).as_str()),
            (Some(1), ""),
            "{form:?}: {said}"
        );
        for words in [
            "error[E0020]",
            "compose.yaml:4:5",
            "compose.yaml:5:",
            "= help:",
        ] {
            assert!(said.contains(words), "{form:?}: {words} is not in\n{said}");
        }
    }
    assert!(!folder.path().join("out.yaml").exists());
    // Without values for the variables the attributes are known all the same.
    let output = folder.run(&[], &["config", "--no-interpolate"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    assert!(folder.text(&output.stderr).contains("compose.yaml:4:5"));
    assert!(
        folder
            .ok(&[], &["config", "other"])
            .contains("image: nginx"),
        "what is not meant is not judged"
    );
    assert!(
        folder
            .ok(&[], &["config", "--no-consistency"])
            .contains("userns_mode: host")
    );
    let listing = folder.run(&[], &["config", "--services"]);
    assert_eq!(
        (listing.status.code(), folder.text(&listing.stdout).as_str()),
        (Some(0), "other\nweb\n")
    );
    assert!(folder.text(&listing.stderr).contains("warning[E0020]"));
    for listing in [
        "--images",
        "--networks",
        "--volumes",
        "--profiles",
        "--environment",
        "--variables",
        "--hash=*",
    ] {
        folder.ok(&[], &["config", listing]);
    }
    assert!(
        folder
            .ok(&[], &["config", "--explain", "services.web.userns_mode"])
            .contains("compose.yaml:4:")
    );
}
