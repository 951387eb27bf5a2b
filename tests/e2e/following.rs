//! `logs -f`: its end, and what it says of lines that it was too slow for.

use std::fs;
use std::io::Read;
use std::time::Duration;

use crate::world::{World, eventually, kill, within};

const STACK: &str = r#"
name: follow
services:
  talk: { image: busybox, stop_grace_period: 0s, command: [sh, -c, "while :; do echo line; sleep 0.1; done"] }
  flood:
    image: busybox
    stop_grace_period: 0s
    logging: { options: { max-size: 64k, max-file: "1" } }
    volumes: ["./signs:/signs"]
    command:
      - sh
      - -c
      - |
        echo first
        until [ -e /signs/go ]; do sleep 0.05; done
        yes 'a line that fills a log of sixty-four kilobytes many times over' | head -n 100000
        touch /signs/done
        until [ -e /signs/end ]; do sleep 0.05; done
        echo last
"#;

#[test]
fn logs_that_are_followed_end_at_their_time_and_name_what_they_missed() {
    let Some(world) = World::new("logs that are followed") else {
        return;
    };
    world.busybox().file("compose.yaml", STACK);
    fs::create_dir(world.project.join("signs")).expect("make a folder");
    world.ok(&["up", "-d"]);

    let end = jiff::Timestamp::now() + Duration::from_secs(2);
    let said = world.hoist(&["logs", "-f", "-t", "--until", &end.to_string(), "talk"]);
    assert!(jiff::Timestamp::now() >= end, "it waited for its time");
    assert!(
        said.code == 0 && said.stdout.lines().count() > 2,
        "{} {}",
        said.code,
        said.stdout
    );
    let time = |line: &str| {
        let mut words = line.split_whitespace();
        words.find_map(|word| word.parse::<jiff::Timestamp>().ok())
    };
    assert!(
        said.stdout.lines().filter_map(time).all(|time| time <= end),
        "{}",
        said.stdout
    );
    let over = world.hoist(&["logs", "-f", "--until", "1s", "talk"]);
    assert_eq!(over.code, 0, "a time that has passed ends it at once");

    let mut reader = world.spawn(&["logs", "-f", "--no-log-prefix", "flood"]);
    let mut stdout = reader.stdout.take().expect("stdout is piped");
    let mut first = [0; 6];
    stdout.read_exact(&mut first).expect("the first line");
    let pid = reader.id().to_string();
    kill("-STOP", &pid);
    let sign = |name: &str| world.project.join("signs").join(name);
    fs::write(sign("go"), "").expect("write a file");
    within(Duration::from_secs(120), "everything is written", || {
        sign("done").exists()
    });
    kill("-CONT", &pid);
    fs::write(sign("end"), "").expect("write a file");
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).expect("the other lines");
    let mut errors = String::new();
    reader
        .stderr
        .take()
        .expect("stderr is piped")
        .read_to_string(&mut errors)
        .expect("what it says");
    eventually("it ends with its container", || {
        reader.try_wait().expect("its end").is_some()
    });
    assert!(rest.contains("last"), "what comes after is shown");
    assert!(rest.lines().count() < 100_000, "lines were lost");
    assert!(errors.contains("rotated away"), "{errors}");
    world.finish();
}
