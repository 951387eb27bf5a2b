//! Looking at a running stack: logs, events, processes, what is used.

use crate::world::{World, eventually, note};

#[test]
fn logs_are_cut_by_time_and_number_across_a_rotation() {
    let Some(world) = World::new("logs across a rotation") else { return };
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
    let folder = world.data_root.join("containers").join(id.trim()).join("log");
    let files = std::fs::read_dir(&folder).expect("the log's folder").count();
    assert_eq!(files, 4, "rotated files are kept as the file says");

    // More than the newest file holds, less than all of them do.
    let tail = logs(&["--tail", "300"]);
    assert_eq!(tail.len(), 300);
    assert_eq!((tail[0].as_str(), tail[299].as_str()), ("line 700", "line 999"));
    let kept = logs(&[]);
    note(&format!("{} of 1000 lines are kept in {files} files", kept.len()));
    assert!(kept.len() < 1000, "the oldest file is gone");

    let stamped = logs(&["-t"]);
    let time = |line: &str| line.split(' ').next().expect("a time").to_owned();
    let number = |wanted: &str| stamped.iter().find(|line| line.ends_with(wanted)).expect("the line is kept");
    let (from, to) = (time(number(" line 800")), time(number(" line 900")));
    let between = logs(&["--since", &from, "--until", &to]);
    assert_eq!(between.first().map(String::as_str), Some("line 800"));
    assert!(matches!(between.last().map(String::as_str), Some("line 899" | "line 900")), "{:?}", between.last());
    assert_eq!(logs(&["--since", &from, "--tail", "2"]), ["line 998", "line 999"]);
    assert!(logs(&["--until", "1h"]).is_empty());
    world.finish();
}

#[test]
fn processes_use_and_events_can_be_looked_at() {
    let Some(world) = World::new("top, stats and events") else { return };
    world.busybox().file(
        "compose.yaml",
        "name: looking\nservices:\n  \
           one: { image: busybox, stop_grace_period: 0s, mem_limit: 64m, command: [sh, -c, \"sleep 1111 & exec sleep 2222\"] }\n  \
           two: { image: busybox, stop_grace_period: 0s, command: [sleep, \"3333\"] }\n",
    );
    world.ok(&["up", "-d"]);
    let top = world.ok(&["top"]);
    for word in ["looking-one-1", "looking-two-1", "PID", "CMD", "sleep 1111", "sleep 2222", "sleep 3333"] {
        assert!(top.contains(word), "{word}: {top}");
    }
    assert!(!world.ok(&["top", "two"]).contains("sleep 1111"));

    let stats = world.ok(&["stats", "--no-stream", "--format", "json"]);
    let of_one = stats.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON lines"));
    let of_one = of_one.into_iter().find(|stats| stats["Name"] == "looking-one-1").expect("one is there");
    assert_eq!(of_one["PIDs"], "2", "{of_one}");
    assert!(of_one["MemUsage"].as_str().is_some_and(|usage| usage.ends_with("/ 64MiB")), "{of_one}");
    let table = world.ok(&["stats", "--no-stream", "two"]);
    assert!(table.contains("looking-two-1") && !table.contains("looking-one-1"), "{table}");

    world.ok(&["kill", "two"]);
    let events = |arguments: &[&str]| -> Vec<(String, String)> {
        let text = world.ok(&[&["events", "--json", "--since", "1h", "--until", "0s"], arguments].concat());
        let events = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON lines"));
        let word = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
        events.map(|event| (word(&event["service"]), word(&event["action"]))).collect()
    };
    let of_two = events(&["two"]);
    let actions: Vec<&str> = of_two.iter().map(|(_, action)| action.as_str()).collect();
    assert_eq!(actions, ["create", "start", "kill", "die"], "what happened before anybody asked");
    assert!(events(&[]).iter().any(|(service, action)| service == "one" && action == "start"));
    assert!(world.ok(&["events", "--since", "0s", "--until", "0s"]).is_empty());
    world.finish();
}
