//! Where values come from: `config --explain`.

use expect_test::{Expect, expect};
use hoist_spec::{LoadRequest, explain};

use super::files::{files, run};

const TEXTS: &[(&str, &str)] = &[
    (
        "compose.yaml",
        "include: [inc.yaml]\nservices:\n  web:\n    extends: {file: base.yaml, service: web}\n    image: app:${TAG}\n    env_file: [one.env, two.env]\n    environment:\n      DB: file\n      TAG:\n      FROM_DOTENV:\n    labels: {com.example.a: b}\n    ports: ['${PORT:-80}:80']\n    command: run\n",
    ),
    (
        "compose.override.yaml",
        "services:\n  web:\n    environment: {DB: '${HOST_NAME}/db'}\n    command: [serve]\n    init: !reset null\n",
    ),
    (
        "base.yaml",
        "services:\n  web:\n    image: base\n    init: true\n    user: nobody\n    environment: {DB: base}\n",
    ),
    ("inc.yaml", "services:\n  db: {image: postgres}\n"),
    ("one.env", "DB=one\nLEVEL=1\n"),
    ("two.env", "# more\nLEVEL=2\n"),
    (".env", "HOST_NAME=db.local\nFROM_DOTENV=yes\n"),
];

fn check(path: &str, expected: &Expect) {
    let request = LoadRequest {
        keep_places: true,
        ..LoadRequest::default()
    };
    let loaded = run(&files(TEXTS), &request).unwrap();
    let text = match loaded.provenance.unwrap().explain(path) {
        Ok(explanation) => explain::render(&explanation),
        Err(error) => format!("{error}; near: {}\n", error.near.join(", ")),
    };
    expected.assert_eq(&text);
}

#[test]
fn every_place_that_had_a_say_is_named_in_order() {
    check(
        "services.web.environment.DB",
        &expect![[r#"
            services.web.environment.DB = "db.local/db"
              env file   one.env:1:1                 "one"
              extends    base.yaml:6:23              "base"
              base       compose.yaml:8:11           "file"
              override   compose.override.yaml:3:23  "db.local/db"
                         $HOST_NAME = db.local, set in .env:1:1
        "#]],
    );
    check(
        "services.web.environment.LEVEL",
        &expect![[r#"
        services.web.environment.LEVEL = "2"
          env file   one.env:2:1  "1"
          env file   two.env:2:1  "2"
    "#]],
    );
    check(
        "services.web.image",
        &expect![[r#"
        services.web.image = "app:1.2"
          extends    base.yaml:3:12     "base"
          base       compose.yaml:5:12  "app:1.2"
                     $TAG = 1.2, from the environment
    "#]],
    );
    check(
        "services.web.command",
        &expect![[r#"
        services.web.command = ["serve"]
          base       compose.yaml:13:14          ["run"]
          override   compose.override.yaml:4:14  ["serve"]
    "#]],
    );
    check(
        "services.web.user",
        &expect![[r#"
        services.web.user = "nobody"
          extends    base.yaml:5:11  "nobody"
    "#]],
    );
    check(
        "services.db.image",
        &expect![[r#"
        services.db.image = "postgres"
          include    inc.yaml:2:15  "postgres"
    "#]],
    );
}

#[test]
fn variables_lead_to_where_they_are_set() {
    check(
        "services.web.environment.TAG",
        &expect![[r#"
        services.web.environment.TAG = "1.2"
          variable   compose.yaml:9:10  "1.2"
                     $TAG = 1.2, from the environment
    "#]],
    );
    check(
        "services.web.environment.FROM_DOTENV",
        &expect![[r#"
            services.web.environment.FROM_DOTENV = "yes"
              variable   compose.yaml:10:18  "yes"
                         $FROM_DOTENV = yes, set in .env:2:1
        "#]],
    );
    check(
        "services.web.ports[0]",
        &expect![[r#"
            services.web.ports[0].mode = "ingress"
              default    compose.yaml:12:13  "ingress"
            services.web.ports[0].target = 80
              base       compose.yaml:12:26  80
            services.web.ports[0].published = "80"
              base       compose.yaml:12:14  "80"
                         $PORT is not set, so its default is taken: 80
            services.web.ports[0].protocol = "tcp"
              default    compose.yaml:12:13  "tcp"
        "#]],
    );
}

#[test]
fn keys_may_contain_dots_and_sections_give_every_value() {
    check(
        "services.web.labels.com.example.a",
        &expect![[r#"
        services.web.labels.com.example.a = "b"
          base       compose.yaml:11:29  "b"
    "#]],
    );
    check(
        "services.web.environment",
        &expect![[r#"
            services.web.environment.DB = "db.local/db"
              env file   one.env:1:1                 "one"
              extends    base.yaml:6:23              "base"
              base       compose.yaml:8:11           "file"
              override   compose.override.yaml:3:23  "db.local/db"
                         $HOST_NAME = db.local, set in .env:1:1
            services.web.environment.LEVEL = "2"
              env file   one.env:2:1  "1"
              env file   two.env:2:1  "2"
            services.web.environment.TAG = "1.2"
              variable   compose.yaml:9:10  "1.2"
                         $TAG = 1.2, from the environment
            services.web.environment.FROM_DOTENV = "yes"
              variable   compose.yaml:10:18  "yes"
                         $FROM_DOTENV = yes, set in .env:2:1
        "#]],
    );
}

#[test]
fn defaults_and_resets_are_explained_and_typos_corrected() {
    check(
        "networks.default.name",
        &expect![[r#"
        networks.default.name = "demo_default"
          default    compose.yaml:3:3  "demo_default"
    "#]],
    );
    check(
        "services.web.init",
        &expect![[r#"
        services.web.init = (removed)
          extends    base.yaml:4:11              true
          reset      compose.override.yaml:5:18  !reset
    "#]],
    );
    check(
        "services.web.imgae",
        &expect![[r#"
        nothing is set at `services.web.imgae`; near: services.web.image
    "#]],
    );
}

fn explained(texts: &[(&str, &str)], path: &str, expected: &Expect) {
    let request = LoadRequest {
        keep_places: true,
        ..LoadRequest::default()
    };
    let loaded = run(&files(texts), &request).unwrap();
    expected.assert_eq(&explain::render(
        &loaded.provenance.unwrap().explain(path).unwrap(),
    ));
}

#[test]
fn who_won_and_who_lost_is_said_of_a_variable_that_is_set_twice() {
    let texts = [
        (
            "compose.yaml",
            "services:\n  web:\n    image: app:${TAG}-${LEVEL:-0}-${EMPTY:-none}\n",
        ),
        (".env", "TAG=1.3\nLEVEL=1\nEMPTY=\nLEVEL=2\n"),
    ];
    explained(
        &texts,
        "services.web.image",
        &expect![[r#"
            services.web.image = "app:1.2-2-none"
              base       compose.yaml:3:12  "app:1.2-2-none"
                         $EMPTY is empty, set in .env:3:1, so its default is taken: none
                         $LEVEL = 2, set in .env:4:1
                         $TAG = 1.2, from the environment
                         not 1.3, set in .env:1:1
        "#]],
    );
}

#[test]
fn parts_of_short_forms_have_places_of_their_own() {
    let texts = [(
        "compose.yaml",
        "services:\n  web:\n    image: a\n    ports: ['${IP:-127.0.0.1}:8080:80/udp']\n    volumes:\n      - ./${DIR:-data}:/srv:ro\n    \
         devices: [/dev/null:/dev/zero]\n    environment: [\"A=${TAG}\", B=2]\n",
    )];
    explained(
        &texts,
        "services.web.ports",
        &expect![[r#"
        services.web.ports[0].mode = "ingress"
          default    compose.yaml:4:13  "ingress"
        services.web.ports[0].host_ip = "127.0.0.1"
          base       compose.yaml:4:14  "127.0.0.1"
                     $IP is not set, so its default is taken: 127.0.0.1
        services.web.ports[0].target = 80
          base       compose.yaml:4:36  80
        services.web.ports[0].published = "8080"
          base       compose.yaml:4:31  "8080"
        services.web.ports[0].protocol = "udp"
          base       compose.yaml:4:39  "udp"
    "#]],
    );
    explained(
        &texts,
        "services.web.volumes",
        &expect![[r#"
        services.web.volumes[0].type = "bind"
          base       compose.yaml:6:9  "bind"
                     $DIR is not set, so its default is taken: data
        services.web.volumes[0].source = "/demo/data"
          base       compose.yaml:6:9  "/demo/data"
                     $DIR is not set, so its default is taken: data
        services.web.volumes[0].target = "/srv"
          base       compose.yaml:6:24  "/srv"
        services.web.volumes[0].read_only = true
          base       compose.yaml:6:29  true
        services.web.volumes[0].bind = {}
          default    compose.yaml:6:9  {}
    "#]],
    );
    explained(
        &texts,
        "services.web.devices",
        &expect![[r#"
        services.web.devices[0].source = "/dev/null"
          base       compose.yaml:7:15  "/dev/null"
        services.web.devices[0].target = "/dev/zero"
          base       compose.yaml:7:25  "/dev/zero"
        services.web.devices[0].permissions = "rwm"
          default    compose.yaml:7:15  "rwm"
    "#]],
    );
    explained(
        &texts,
        "services.web.environment",
        &expect![[r#"
        services.web.environment.A = "1.2"
          base       compose.yaml:8:22  "1.2"
                     $TAG = 1.2, from the environment
        services.web.environment.B = "2"
          base       compose.yaml:8:33  "2"
    "#]],
    );
}

#[test]
fn lists_of_several_files_are_explained_item_by_item() {
    let texts = [
        (
            "compose.yaml",
            "services:\n  web:\n    extends: middle\n    image: a\n    cap_add: [CHOWN]\n  middle:\n    extends: {file: base.yaml, service: bottom}\n    image: m\n    cap_add: [MKNOD]\n",
        ),
        (
            "base.yaml",
            "services:\n  bottom:\n    image: b\n    cap_add: [KILL]\n    dns: [1.1.1.1]\n",
        ),
        (
            "compose.override.yaml",
            "services:\n  web:\n    cap_add: [SETUID]\n    dns: !override [8.8.8.8]\n",
        ),
    ];
    explained(
        &texts,
        "services.web.cap_add",
        &expect![[r#"
        services.web.cap_add[0] = "KILL"
          extends    base.yaml:4:15  "KILL"
        services.web.cap_add[1] = "MKNOD"
          extends    compose.yaml:9:15  "MKNOD"
        services.web.cap_add[2] = "CHOWN"
          base       compose.yaml:5:15  "CHOWN"
        services.web.cap_add[3] = "SETUID"
          override   compose.override.yaml:3:15  "SETUID"
    "#]],
    );
    explained(
        &texts,
        "services.web.image",
        &expect![[r#"
        services.web.image = "a"
          extends    base.yaml:3:12     "b"
          extends    compose.yaml:8:12  "m"
          base       compose.yaml:4:12  "a"
    "#]],
    );
    explained(
        &texts,
        "services.web.dns",
        &expect![[r#"
        services.web.dns = ["8.8.8.8"]
          extends    base.yaml:5:10              ["1.1.1.1"]
          override   compose.override.yaml:4:20  ["8.8.8.8"]
    "#]],
    );
}

#[test]
fn what_includes_each_other_is_explained_through_every_file() {
    let texts = [
        (
            "compose.yaml",
            "include:\n  - path: [inc.yaml, over.yaml]\n    env_file: inc.env\nservices:\n  web: {image: a}\n",
        ),
        (
            "inc.yaml",
            "include: [deep.yaml]\nservices:\n  db:\n    image: db:${VERSION}\n    user: a\n",
        ),
        ("over.yaml", "services:\n  db:\n    user: b\n"),
        (
            "deep.yaml",
            "services:\n  deep:\n    image: deep:${VERSION}\n",
        ),
        ("inc.env", "VERSION=5\n"),
        (".env", "OTHER=1\n"),
    ];
    explained(
        &texts,
        "services.db",
        &expect![[r#"
        services.db.image = "db:5"
          include    inc.yaml:4:12  "db:5"
                     $VERSION = 5, set in inc.env:1:1
        services.db.user = "b"
          include    inc.yaml:5:11   "a"
          include    over.yaml:3:11  "b"
        services.db.networks.default = null
          default    inc.yaml:3:3  null
    "#]],
    );
    explained(
        &texts,
        "services.deep.image",
        &expect![[r#"
        services.deep.image = "deep:5"
          include    deep.yaml:3:12  "deep:5"
                     $VERSION = 5, set in inc.env:1:1
    "#]],
    );
}

#[test]
fn a_wrong_value_points_to_the_variable_in_it() {
    let texts = [
        (
            "compose.yaml",
            "services:\n  web:\n    image: a\n    ports: ['${PORT}:80']\n    scale: ${COUNT}\n    restart: ${TAG}\n",
        ),
        (".env", "# ports\nPORT=http\n"),
    ];
    super::files::check_files(
        &texts,
        &LoadRequest::default(),
        expect![[r#"
            warning[W0002]: the variable `COUNT` is not set; it becomes an empty string
             --> compose.yaml:5:14
              |
            5 |     scale: ${COUNT}
              |              ^^^^^ used here
              |
              = help: set it, or write ${COUNT:-} for nothing, or $$ for a dollar sign

            error[E0009]: `http:80` is not a port: `http` is not a port of the host
             --> compose.yaml:4:13
              |
            4 |     ports: ['${PORT}:80']
              |             ^^^^^^^^^^^^ [ADDRESS:][HOST:]CONTAINER[/PROTOCOL]
              |
             ::: .env:2:1
              |
            2 | PORT=http
              | ---- `PORT` is set here

            error[E0009]: `services.web.scale`: `` is not a whole number
             --> compose.yaml:5:12
              |
            5 |     scale: ${COUNT}
              |            ^^^^^^^^ this value
              |
              = help: the variable `COUNT` is not set

            error[E0009]: `services.web.restart`: `1.2` is not no, always, unless-stopped or on-failure[:count]
             --> compose.yaml:6:14
              |
            6 |     restart: ${TAG}
              |              ^^^^^^ this value
              |
              = help: the variable `TAG` is `1.2`, from the environment
        "#]],
    );
}
