//! What each attribute of `build` does to the image. docs/compose-support.md names this test.

use std::os::unix::net::UnixListener;

use crate::world::World;

const STACK: &str = r#"
name: made
services:
  web:
    image: web
    build:
      context: app
      dockerfile: Other
      target: middle
      args: { GREETING: hello }
      labels: { com.example.kind: built }
      tags: ["also:1"]
      extra_hosts: ["far=10.1.2.3"]
      additional_contexts: { more: ./more }
      secrets: [{ source: key, target: placed }, other]
      ssh: [default]
      shm_size: 2m
      ulimits: { nofile: { soft: 100, hard: 200 } }
      network: none
  fresh: { image: fresh, build: { dockerfile_inline: "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid >/id\n", no_cache: true } }
  parts: { image: parts, build: { context: parts, no_cache_filter: [one] } }
  entitled: { image: entitled, build: { dockerfile_inline: *insecure, entitlements: [security.insecure] } }
  privileged: { image: privileged, build: { dockerfile_inline: *insecure, privileged: true } }
  newest: { image: newest, build: { dockerfile_inline: "FROM busybox\n", pull: true } }
secrets: { key: { file: key }, other: { file: key } }
"#;

const OTHER: &str = "FROM busybox AS middle\n\
    ARG GREETING\n\
    RUN echo $GREETING >/greeting; cat /etc/hosts >/hosts; ls /sys/class/net >/links\n\
    RUN ulimit -Sn >/limits; ulimit -Hn >>/limits; df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2 >/shm\n\
    RUN --mount=type=secret,id=placed cat /run/secrets/placed >/secret\n\
    RUN --mount=type=secret,id=other,required cat /run/secrets/other >/other\n\
    RUN --mount=type=ssh,required test -S \"$SSH_AUTH_SOCK\"\n\
    COPY --from=more file /more\n\
    FROM middle\n\
    RUN echo last >/last\n";

// No step may be the same as one of another image: a build without the cache leaves new results for all others.
const PARTS: &str = "FROM busybox AS one\nRUN : one; cat /proc/sys/kernel/random/uuid >/id\n\
    FROM busybox AS two\nRUN : two; cat /proc/sys/kernel/random/uuid >/id\n\
    FROM busybox\nCOPY --from=one /id /one\nCOPY --from=two /id /two\n";

const INSECURE: &str =
    r#""FROM busybox\nRUN --security=insecure grep CapEff /proc/self/status >/capabilities\n""#;

#[test]
fn an_image_is_built_as_the_file_says() {
    let Some(world) = World::new("attributes of builds") else {
        return;
    };
    world
        .busybox()
        .file("compose.yaml", &STACK.replace("*insecure", INSECURE));
    world.file("app/Other", OTHER);
    world.file("parts/Dockerfile", PARTS);
    world.file("more/file", "more\n");
    world.file("key", "hush\n");
    world.file(".env", "SSH_AUTH_SOCK=./agent\n");
    let _agent = UnixListener::bind(world.project.join("agent")).expect("stand in for an agent");
    let files = |image: &str, names: &[&str]| {
        world.file(
            "look.yaml",
            &format!("services: {{ look: {{ image: {image} }} }}\n"),
        );
        let cat = [
            &[
                "-p",
                "look",
                "-f",
                "look.yaml",
                "run",
                "--rm",
                "-T",
                "look",
                "cat",
            ],
            names,
        ]
        .concat();
        world.ok(&cat)
    };

    world.ok(&["build", "web", "fresh", "parts"]);
    assert_eq!(
        files(
            "web",
            &[
                "/greeting",
                "/links",
                "/limits",
                "/shm",
                "/secret",
                "/other",
                "/more"
            ]
        ),
        "hello\nlo\n100\n200\n2048\nhush\nhush\nmore\n"
    );
    assert!(files("web", &["/hosts"]).contains("10.1.2.3"));
    let inspected = world.ok(&["image", "inspect", "also:1"]);
    assert!(
        inspected.contains("\"com.example.kind\": \"built\""),
        "{inspected}"
    );
    let run = world.hoist(&[
        "-p",
        "look",
        "-f",
        "look.yaml",
        "run",
        "--rm",
        "-T",
        "look",
        "cat",
        "/last",
    ]);
    assert_ne!(run.code, 0, "the stage after the target is not built");

    let ids = || {
        [
            files("fresh", &["/id"]),
            files("parts", &["/one"]),
            files("parts", &["/two"]),
        ]
    };
    let before = ids();
    world.ok(&["build", "web", "fresh", "parts"]);
    let after = ids();
    assert_ne!(after[0], before[0], "without the cache");
    assert_ne!(after[1], before[1], "without the cache of this stage");
    assert_eq!(after[2], before[2], "from the cache");

    world.ok(&["build", "entitled", "privileged"]);
    let pull = world.hoist(&["build", "newest"]);
    assert_ne!(pull.code, 0, "no registry has it: {}", pull.stderr);
    world.ok(&["-p", "look", "-f", "look.yaml", "down"]);
    world.finish();
}
