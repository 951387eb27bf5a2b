//! Looking at a running stack: logs, events, processes, what is used.

use crate::world::{World, eventually, note};

#[test]
fn logs_are_cut_by_time_and_number_across_a_rotation() {
    let Some(world) = World::new("logs across a rotation") else {
        return;
    };
    world.busybox().file(
        "compose.yaml",
        "name: rotated\nservices:\n  talker:\n    image: busybox\n    stop_grace_period: 0s\n    \
         logging: { options: { max-size: 8k, max-file: \"4\" } }\n    \
         command: [sh, -c, \"i=0; while [ $$i -lt 1000 ]; do echo line $$i; i=$$((i+1)); usleep 500; done; exec sleep 1000\"]\n",
    );
    world.ok(&["up", "-d"]);
    let logs = |arguments: &[&str]| {
        let text = world.ok(&[&["logs", "--no-log-prefix"], arguments].concat());
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    eventually("all is said", || logs(&["--tail", "1"]) == ["line 999"]);
    let id = world.ok(&["ps", "-q"]);
    let folder = world
        .data_root
        .join("containers")
        .join(id.trim())
        .join("log");
    let files = std::fs::read_dir(&folder)
        .expect("the log's folder")
        .count();
    assert_eq!(files, 4, "rotated files are kept as the file says");

    // More than the newest file holds, less than all of them do.
    let tail = logs(&["--tail", "300"]);
    assert_eq!(tail.len(), 300);
    assert_eq!(
        (tail[0].as_str(), tail[299].as_str()),
        ("line 700", "line 999")
    );
    let kept = logs(&[]);
    note(&format!(
        "{} of 1000 lines are kept in {files} files",
        kept.len()
    ));
    assert!(kept.len() < 1000, "the oldest file is gone");

    let stamped = logs(&["-t"]);
    let time = |line: &str| line.split(' ').next().expect("a time").to_owned();
    let number = |wanted: &str| {
        stamped
            .iter()
            .find(|line| line.ends_with(wanted))
            .expect("the line is kept")
    };
    let (from, to) = (time(number(" line 800")), time(number(" line 900")));
    let between = logs(&["--since", &from, "--until", &to]);
    assert_eq!(between.first().map(String::as_str), Some("line 800"));
    assert!(
        matches!(
            between.last().map(String::as_str),
            Some("line 899" | "line 900")
        ),
        "{:?}",
        between.last()
    );
    assert_eq!(
        logs(&["--since", &from, "--tail", "2"]),
        ["line 998", "line 999"]
    );
    // Lines that were read in one piece have one time.
    let until = stamped
        .iter()
        .rfind(|line| time(line) == from)
        .and_then(|line| line.split_once(' '))
        .expect("a line");
    assert_eq!(
        logs(&["--until", &from, "--tail", "1"]),
        [until.1],
        "the last line before a time"
    );
    assert!(logs(&["--until", "1h"]).is_empty());

    let says = |arguments: &[&str]| {
        world
            .hoist(&[&["logs"], arguments].concat())
            .stderr
            .contains("rotated away")
    };
    assert!(
        says(&[]) && says(&["--tail", "1000"]),
        "lines that were wanted are gone"
    );
    assert!(
        !says(&["--tail", "300"]) && !says(&["--since", &from]),
        "all that was wanted is there"
    );
    world.finish();
}

#[test]
fn lines_of_any_length_and_any_bytes_come_out_as_they_were_written() {
    let Some(world) = World::new("long lines and bytes that are no text") else {
        return;
    };
    let mut data = vec![b'x'; 300_000];
    data.extend_from_slice(format!("\na{}\n", "é".repeat(150_000)).as_bytes());
    data.extend(b"\xff\xfe not text \x00\n".iter());
    data.extend([0xc3; 70_000]);
    data.extend_from_slice(b"\n\nno newline");
    world.busybox();
    std::fs::write(world.project.join("data"), &data).expect("write the data");
    world.file(
        "compose.yaml",
        "name: long\nservices:\n  talker:\n    image: busybox\n    volumes: [\"./data:/data:ro\"]\n    \
         command: [sh, -c, \"cat /data; cat /data >&2\"]\n  \
         other: { image: busybox, command: [sh, -c, \"i=0; while [ $$i -lt 500 ]; do echo other; i=$$((i+1)); done\"] }\n",
    );
    data.push(b'\n');
    let raw = |args: &[&str]| world.command(args).output().expect("run hoist");
    // Lines of others stand between the lines, never within one.
    let others: [&[u8]; 3] = [
        b"other",
        b"other-1 exited with code 0",
        b"talker-1 exited with code 0",
    ];
    let own = |text: &[u8]| {
        let lines = text
            .split(|byte| *byte == b'\n')
            .filter(|line| !others.contains(line));
        lines.collect::<Vec<_>>().join(&b'\n')
    };
    let up = raw(&["up", "--no-color", "--no-log-prefix"]);
    assert!(own(&up.stdout) == data, "attached");
    assert!(
        up.stderr.windows(data.len()).any(|window| window == data),
        "attached"
    );
    for follow in [&[][..], &["-f"]] {
        let logs = raw(&[&["logs", "--no-log-prefix", "talker"], follow].concat());
        assert!(
            logs.stdout == data && logs.stderr == data,
            "logs {follow:?}"
        );
    }
    let both = raw(&["logs", "--no-log-prefix"]);
    assert!(
        own(&both.stdout) == data,
        "lines of another container are not in the middle of a long one"
    );
    let last = raw(&["logs", "--no-log-prefix", "--tail", "4", "talker"]);
    let from = data
        .iter()
        .position(|byte| *byte == 0xff)
        .expect("it is there");
    assert!(
        last.stdout.is_empty() && last.stderr == data[from..],
        "the last lines are counted over both streams"
    );

    let socket = world.run_dir.join("hoist.sock");
    let url = "http://hoist/containers/long-talker-1/logs?stdout=1&timestamps=1";
    let answer = std::process::Command::new("curl")
        .arg("-s")
        .arg("--unix-socket")
        .arg(&socket)
        .arg(url)
        .output();
    let frames = answer.expect("run curl").stdout;
    let (mut text, mut rest) = (Vec::new(), frames.as_slice());
    while let [1, 0, 0, 0, a, b, c, d, after @ ..] = rest {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        text.extend_from_slice(&after[..length]);
        rest = &after[length..];
    }
    let lines = text
        .split(|byte| *byte == b'\n')
        .map(|line| line.splitn(2, |byte| *byte == b' ').last().unwrap_or(&[]));
    assert!(
        lines.collect::<Vec<_>>().join(&b'\n') == data[..data.len() - 1],
        "one time in front of each line"
    );
    world.finish();
}

#[test]
fn processes_use_and_events_can_be_looked_at() {
    let Some(world) = World::new("top, stats and events") else {
        return;
    };
    world.busybox().file(
        "compose.yaml",
        "name: looking\nservices:\n  \
           one: { image: busybox, stop_grace_period: 0s, mem_limit: 64m, command: [sh, -c, \"sleep 1111 & exec sleep 2222\"] }\n  \
           two: { image: busybox, stop_grace_period: 0s, command: [sleep, \"3333\"] }\n",
    );
    world.ok(&["up", "-d"]);
    let top = world.ok(&["top"]);
    for word in [
        "looking-one-1",
        "looking-two-1",
        "PID",
        "CMD",
        "sleep 1111",
        "sleep 2222",
        "sleep 3333",
    ] {
        assert!(top.contains(word), "{word}: {top}");
    }
    assert!(!world.ok(&["top", "two"]).contains("sleep 1111"));

    let stats = world.ok(&["stats", "--no-stream", "--format", "json"]);
    let of_one = stats
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON lines"));
    let of_one = of_one
        .into_iter()
        .find(|stats| stats["Name"] == "looking-one-1")
        .expect("one is there");
    assert_eq!(of_one["PIDs"], "2", "{of_one}");
    assert!(
        of_one["MemUsage"]
            .as_str()
            .is_some_and(|usage| usage.ends_with("/ 64MiB")),
        "{of_one}"
    );
    let table = world.ok(&["stats", "--no-stream", "two"]);
    assert!(
        table.contains("looking-two-1") && !table.contains("looking-one-1"),
        "{table}"
    );

    world.ok(&["kill", "two"]);
    let events = |arguments: &[&str]| -> Vec<(String, String)> {
        let text = world.ok(&[
            &["events", "--json", "--since", "1h", "--until", "0s"],
            arguments,
        ]
        .concat());
        let events = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON lines"));
        let word = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
        events
            .map(|event| (word(&event["service"]), word(&event["action"])))
            .collect()
    };
    let of_two = events(&["two"]);
    let actions: Vec<&str> = of_two.iter().map(|(_, action)| action.as_str()).collect();
    assert_eq!(
        actions,
        ["create", "start", "top", "top", "kill", "die"],
        "what happened before anybody asked"
    );
    assert!(
        events(&[])
            .iter()
            .any(|(service, action)| service == "one" && action == "start")
    );
    assert!(
        world
            .ok(&["events", "--since", "0s", "--until", "0s"])
            .is_empty()
    );
    world.finish();
}

#[test]
fn everything_can_be_looked_at_without_a_file_in_the_form_that_was_asked_for() {
    let Some(world) = World::new("inspect, ps --all-projects and templates") else {
        return;
    };
    world.busybox().file(
        "elsewhere.yaml",
        "name: seen\nservices:\n  \
           sick: { image: busybox, stop_grace_period: 0s, command: [sleep, \"1000\"], networks: [net], volumes: [\"vol:/v\"],\n    \
             healthcheck: { test: \"echo the pump is dry; exit 7\", interval: 100ms, retries: 1 } }\n  \
           gone: { image: busybox, command: [sh, -c, \"exit 9\"] }\n\
         networks: { net: {} }\nvolumes: { vol: {} }\n",
    );
    world.ok(&["-f", "elsewhere.yaml", "up", "-d"]);
    let inspect = |args: &[&str]| world.ok(&[&["inspect"], args].concat()).trim().to_owned();
    eventually("the probe fails", || {
        inspect(&["-f", "{{.State.Health.Status}}", "seen-sick-1"]) == "unhealthy"
    });
    let health = inspect(&[
        "-f",
        "{{with index .State.Health.Log 0}}{{.ExitCode}} {{.Output}}{{end}}",
        "seen-sick-1",
    ]);
    assert_eq!(health, "7 the pump is dry");
    eventually("it has ended", || {
        inspect(&["-f", "{{.State.ExitCode}}", "seen-gone-1"]) == "9"
    });

    let all: serde_json::Value = serde_json::from_str(&inspect(&[
        "seen-gone-1",
        "busybox",
        "seen_net",
        "seen_vol",
    ]))
    .expect("JSON");
    let names = [
        &all[0]["Name"],
        &all[1]["RepoTags"][0],
        &all[2]["Name"],
        &all[3]["Name"],
    ];
    assert_eq!(
        names,
        ["/seen-gone-1", "busybox:latest", "seen_net", "seen_vol"]
    );
    let service = world.ok(&["-f", "elsewhere.yaml", "inspect", "-f", "{{.Name}}", "sick"]);
    assert_eq!(
        service, "/seen-sick-1\n",
        "a service stands for its containers"
    );
    for missing in [&["seen-none-1"][..], &["--type", "volume", "seen-gone-1"]] {
        let run = world.hoist(&[&["inspect", "seen-gone-1"], missing].concat());
        assert_eq!(run.code, 1);
        assert!(
            run.stderr.contains(missing.last().expect("a name")),
            "{}",
            run.stderr
        );
    }

    let running = world.ok(&[
        "ps",
        "--all-projects",
        "--format",
        "{{.Project}} {{.Service}} {{.State}}",
    ]);
    assert_eq!(running, "seen sick running\n");
    assert_eq!(world.ok(&["ps", "--all-projects", "-a"]).lines().count(), 3);
    let table = world.ok(&[
        "-p",
        "seen",
        "ps",
        "-a",
        "--format",
        "table {{.Service}}\\t{{.ExitCode}}",
    ]);
    assert_eq!(table, "SERVICE   EXIT CODE\ngone      9\nsick      0\n");
    assert_eq!(
        world.ok(&["volume", "ls", "--format", "{{.Name}}"]),
        "seen_vol\n"
    );

    let lost = world.hoist(&["logs", "seen-gone-1"]);
    assert_eq!(lost.code, 1);
    assert!(
        lost.stderr.contains("hoist -p seen logs gone"),
        "a container's name leads to its service: {}",
        lost.stderr
    );
    std::fs::rename(
        world.project.join("elsewhere.yaml"),
        world.project.join("compose.yaml"),
    )
    .expect("rename");
    for args in [&["ps", "nosuch"][..], &["logs", "nosuch"]] {
        let named = world
            .command(args)
            .env("COMPOSE_PROJECT_NAME", "seen")
            .output()
            .expect("run hoist");
        assert_eq!(
            named.status.code(),
            Some(1),
            "{args:?}: a service that is not there is an error"
        );
    }
    std::fs::rename(
        world.project.join("compose.yaml"),
        world.project.join("elsewhere.yaml"),
    )
    .expect("rename");
    let nowhere = world.hoist(&["ps"]);
    assert!(
        nowhere.stderr.contains("hoist ps --all-projects"),
        "{}",
        nowhere.stderr
    );
    world.ok(&["-p", "seen", "down", "-v"]);
    world.finish();
}
