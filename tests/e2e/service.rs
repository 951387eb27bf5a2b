//! The engine keeps serving under exhaustion: disk space, descriptors, clock changes, clients that do not read.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::world::{World, eventually, kill, note};

/// A file system small enough to fill.
struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    fn new(megabytes: u64) -> Option<Self> {
        let folder = tempfile::Builder::new()
            .prefix("hoist-e2e-small-")
            .tempdir_in("/var/tmp")
            .expect("make a folder");
        let (image, mount) = (folder.path().join("disk"), folder.path().join("mount"));
        fs::File::create(&image)
            .and_then(|file| file.set_len(megabytes << 20))
            .expect("make a disk");
        fs::create_dir(&mount).expect("make a folder");
        let made = run(Command::new("/sbin/mkfs.ext4")
            .args(["-q", "-m", "0"])
            .arg(&image))
            && run(Command::new("mount")
                .args(["-o", "loop"])
                .arg(&image)
                .arg(&mount));
        made.then_some(Self { folder })
    }

    fn in_memory(size: &str) -> Option<Self> {
        let folder = tempfile::Builder::new()
            .prefix("hoist-e2e-small-")
            .tempdir_in("/var/tmp")
            .expect("make a folder");
        let (mount, options) = (
            folder.path().join("mount"),
            format!("size={size},mode=0700"),
        );
        fs::create_dir(&mount).expect("make a folder");
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "none"])
            .arg(&mount))
        .then_some(Self { folder })
    }

    fn mount(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    /// Fills all remaining blocks.
    fn fill(&self) {
        fill(&self.mount().join("fill"));
        assert_eq!(free(&self.mount()), 0, "bytes free");
    }

    fn empty(&self) {
        fs::remove_file(self.mount().join("fill")).expect("remove what fills the disk");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let mut gone = false;
        for _ in 0..100 {
            gone = gone || run(Command::new("umount").arg(self.mount()));
            if gone {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        note(&format!("{} is still mounted", self.mount().display()));
    }
}

fn run(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

fn fill(path: &Path) {
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .expect("open a file");
    for size in [1 << 20, 4096, 1] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
}

fn free(path: &Path) -> u64 {
    let stat = rustix::fs::statvfs(path).expect("a file system");
    stat.f_bavail * stat.f_frsize
}

const STACK: &str = r#"
name: full
services:
  filler:
    image: busybox
    command: [sh, -c, "while :; do dd if=/dev/zero of=/eaten bs=4k oflag=append conv=notrunc; usleep 1000; done 2>/dev/null"]
    stop_grace_period: 0s
    restart: always
  other: { image: busybox, command: [sleep, "1000"], stop_grace_period: 0s, restart: always }
  third: { image: busybox, command: [sleep, "1000"], stop_grace_period: 0s }
  late: { image: busybox, command: [sleep, "1000"], stop_grace_period: 0s, profiles: [late] }
"#;

/// A container takes every block of the data root as soon as it is free.
#[test]
fn a_full_disk_ends_nothing_but_what_needs_room() {
    let claim = "a full disk ends nothing but what needs room";
    let Some(disk) = Disk::new(48) else {
        return note(&format!(
            "skipped: {claim}: needs loop devices and mkfs.ext4"
        ));
    };
    let Some(world) = World::with_data_root(claim, Some(disk.mount().join("data"))) else {
        return;
    };
    world.busybox().file("compose.yaml", STACK);
    world.ok(&["up", "-d"]);
    eventually("the container has filled the disk", || {
        free(&disk.mount()) == 0
    });
    disk.fill();

    let refused = world.hoist(&["--profile", "late", "up", "-d"]);
    assert!(
        refused.code == 1 && refused.stderr.contains("No space left"),
        "{refused:?}"
    );
    world.ok(&["ps"]);
    world.ok(&["stop", "other"]);
    assert_eq!(world.field("other", "State"), "exited");
    kill("-KILL", &crate::lifecycle::pid_of(&world, "third"));
    eventually("its end is heard of", || {
        world.field("third", "ExitCode") == "137"
    });

    let dead = world.kill_engine().expect("an engine runs");
    eventually("a shim starts an engine without a byte of room", || {
        world.engine().is_some_and(|pid| pid != dead)
    });
    assert_eq!(
        world.field("other", "State"),
        "exited",
        "that it was stopped is on the disk"
    );
    assert_eq!(world.field("third", "ExitCode"), "137");
    assert_eq!(world.field("filler", "State"), "running");
    let told = world.engine().expect("an engine runs");
    kill("-TERM", &told);
    eventually("it ends when it is told to", || {
        !Path::new("/proc").join(&told).exists()
    });
    assert_eq!(
        world.field("filler", "State"),
        "running",
        "a client starts an engine, too"
    );

    world.ok(&["rm", "-sf", "filler"]);
    disk.empty();
    eventually("there is room again", || free(&disk.mount()) > 1 << 20);
    world.ok(&["--profile", "late", "up", "-d", "--scale", "filler=0"]);
    assert_eq!(
        world.field("late", "State"),
        "running",
        "the same engine goes on"
    );

    disk.fill();
    world.ok(&["--profile", "late", "down", "-v"]);
    world.ok(&["image", "prune", "-a", "-f"]);
    world.ok(&["system", "prune", "-a", "-f"]);
    assert_eq!(world.ok(&["image", "ls", "-q"]), "");
    disk.empty();
    world.finish();
}

#[test]
fn a_full_run_directory_is_in_nobodys_way() {
    let claim = "a full run directory is in nobody's way";
    let Some(disk) = Disk::in_memory("1m") else {
        return note(&format!("skipped: {claim}: needs to mount a tmpfs"));
    };
    let Some(world) = World::with_folders(claim, None, Some(disk.mount().join("run"))) else {
        return;
    };
    world.busybox().file(
        "compose.yaml",
        STACK
            .replace("name: full", "name: fullrun")
            .replace("/eaten", "/dev/null")
            .as_str(),
    );
    world.ok(&["up", "-d"]);
    let before = free(&world.run_dir);
    for file in ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"] {
        world.ok(&[
            "exec",
            "-T",
            "other",
            "dd",
            "if=/dev/zero",
            &format!("of={file}"),
            "bs=1M",
            "count=3",
        ]);
    }
    assert_eq!(
        free(&world.run_dir),
        before,
        "what a container writes is on its layer's disk"
    );
    fill(&world.run_dir.join("fill"));
    let dead = world.kill_engine().expect("an engine runs");
    eventually("a shim starts an engine", || {
        world.engine().is_some_and(|pid| pid != dead)
    });
    assert_eq!(world.field("other", "State"), "running");
    let told = world.engine().expect("an engine runs");
    kill("-TERM", &told);
    eventually("it ends when it is told to", || {
        !Path::new("/proc").join(&told).exists()
    });
    world.ok(&["restart", "other"]);
    world.ok(&["down"]);
    world.finish();
}

/// Connections without an answer, as many as the engine can hold.
fn crowd(socket: &Path, count: usize) -> Vec<UnixStream> {
    (0..count)
        .filter_map(|_| UnixStream::connect(socket).ok())
        .collect()
}

fn descriptors(pid: &str) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

fn limit(pid: &str) -> Vec<String> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("limits of a process");
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .expect("a limit of open files");
    line.split_whitespace()
        .skip(3)
        .take(2)
        .map(str::to_owned)
        .collect()
}

/// The command as another program starts it.
fn through(starter: &[&str], command: &Command) -> Command {
    let mut started = Command::new(starter[0]);
    started
        .args(&starter[1..])
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
    if let Some(folder) = command.get_current_dir() {
        started.current_dir(folder);
    }
    started
}

#[test]
fn an_engine_without_descriptors_serves_again_when_it_has_some() {
    let Some(world) = World::new("an engine without descriptors serves again when it has some")
    else {
        return;
    };
    world.busybox().file(
        "compose.yaml",
        "name: crowd\nservices:\n  a: { image: busybox, command: [sleep, '1000'], stop_grace_period: 0s }\n",
    );
    let first = world.engine().expect("the build has started one");
    kill("-TERM", &first);
    eventually("it ends", || !Path::new("/proc").join(&first).exists());
    let script = "ulimit -Sn 100; ulimit -Hn 200; exec \"$0\" \"$@\"";
    let mut limited = through(&["sh", "-c", script], &world.command(&["up", "-d"]));
    limited.env("A_SECRET_OF_THE_CALLER", "hunter2");
    limited.stdin(Stdio::null());
    assert!(limited.status().expect("run hoist").success());
    let engine = world.engine().expect("an engine runs");
    assert_eq!(
        limit(&engine),
        ["200", "200"],
        "an engine takes what it may have"
    );
    assert_eq!(
        limit(&crate::lifecycle::pid_of(&world, "a")),
        ["100", "200"],
        "a container gets what was given"
    );
    for place in [
        PathBuf::from(format!("/proc/{engine}/environ")),
        world.run_dir.join("engine.json"),
    ] {
        let text = String::from_utf8_lossy(&fs::read(&place).expect("it is there")).into_owned();
        assert!(
            !text.contains("hunter2") && text.contains("PATH"),
            "{}: {text}",
            place.display()
        );
    }

    let socket = world.run_dir.join("hoist.sock");
    for _ in 0..2 {
        let crowd = crowd(&socket, 300);
        eventually("it has no descriptor left", || descriptors(&engine) >= 199);
        drop(crowd);
        assert_eq!(world.field("a", "State"), "running");
        assert_eq!(world.engine().as_ref(), Some(&engine), "the same engine");
    }
    let _crowd = crowd(&socket, 300);
    eventually("it has no descriptor left", || descriptors(&engine) >= 199);
    // A shell that started this test in the background lets it ignore the signal.
    let mut waiting = through(
        &["env", "--default-signal=INT"],
        &world.command(&["up", "-d"]),
    );
    let waiting = waiting.spawn().expect("run hoist");
    let asked = Instant::now();
    kill("-INT", &waiting.id().to_string());
    let ended = waiting.wait_with_output().expect("the client ends");
    let (status, took) = (ended.status, asked.elapsed());
    assert!(
        !status.success() && took < Duration::from_secs(30),
        "a client hears signals: {status} after {took:?}"
    );
    kill("-TERM", &engine);
    eventually(
        "an engine without descriptors ends when it is told to",
        || !Path::new("/proc").join(&engine).exists(),
    );
    drop(_crowd);
    world.finish();
}

const CLOCK: &str = r#"
name: clock
services:
  probed:
    image: busybox
    command: [sleep, "1000"]
    stop_grace_period: 0s
    healthcheck: { test: ["CMD-SHELL", "echo >>/probes; test ! -e /sick"], interval: 200ms, retries: 1 }
  crashing:
    image: busybox
    command: [sh, -c, "usleep 100000; exit 1"]
    stop_grace_period: 0s
    deploy: { restart_policy: { delay: 200ms } }
"#;

/// The engine's wall clock is set with an `LD_PRELOAD` library; the host's clock is shared.
#[test]
fn a_clock_that_is_set_holds_up_nothing() {
    let claim = "a clock that is set holds up nothing";
    let places = ["x86_64-linux-gnu", "aarch64-linux-gnu"]
        .map(|arch| format!("/usr/lib/{arch}/faketime/libfaketime.so.1"));
    let Some(library) = places.iter().find(|place| Path::new(place).exists()) else {
        return note(&format!("skipped: {claim}: needs libfaketime"));
    };
    let Some(world) = World::new(claim) else {
        return;
    };
    world.busybox().file("compose.yaml", CLOCK);
    let first = world.engine().expect("the build has started one");
    kill("-TERM", &first);
    eventually("it ends", || !Path::new("/proc").join(&first).exists());
    let set = |offset: &str| {
        let new = world.file("offset.new", offset);
        fs::rename(&new, new.with_extension("now")).expect("set the clock");
        new.with_extension("now")
    };
    let mut engine = world.command(&["engine", "--idle-exit", "0"]);
    engine
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", set("+0"))
        .env("FAKETIME_NO_CACHE", "1");
    engine
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut engine = engine.spawn().expect("start an engine");
    world.ok(&["up", "-d"]);
    let number = |text: &str| {
        text.split(' ')
            .next()
            .and_then(|number| number.parse().ok())
            .unwrap_or(0_u64)
    };
    let count = || {
        number(
            &world
                .hoist(&["exec", "-T", "probed", "wc", "-l", "/probes"])
                .stdout,
        )
    };
    let restarts = || {
        crate::attributes::inspect(&world, "crashing")["RestartCount"]
            .as_u64()
            .unwrap_or(0)
    };
    for offset in ["-1s", "-2h", "+3h", "-1d", "+0"] {
        set(offset);
        let (probes, starts) = (count(), restarts());
        eventually(&format!("probes go on with the clock at {offset}"), || {
            count() > probes + 3
        });
        eventually(
            &format!("restarts go on with the clock at {offset}"),
            || restarts() > starts + 1,
        );
        world.ok(&["exec", "-T", "probed", "touch", "/sick"]);
        eventually("it is unhealthy", || {
            world.field("probed", "Health") == "unhealthy"
        });
        world.ok(&["exec", "-T", "probed", "rm", "/sick"]);
        eventually("it is healthy", || {
            world.field("probed", "Health") == "healthy"
        });
        world.ok(&["up", "-d", "--force-recreate", "probed"]);
        world.ok(&["restart", "probed"]);
    }
    world.ok(&["down"]);
    kill("-TERM", &engine.id().to_string());
    engine.wait().expect("the engine ends");
    world.finish();
}

/// Resident memory of a process in kilobytes.
fn resident(pid: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok())
        .unwrap_or(0)
}

#[test]
fn a_client_that_stands_still_costs_neither_memory_nor_the_work() {
    let Some(world) = World::new("a client that stands still costs neither memory nor the work")
    else {
        return;
    };
    world.busybox().file(
        "loud/Dockerfile",
        "FROM busybox\nRUN yes 0123456789012345678901234567890123456789 | head -c 60000000\n",
    );
    let engine = world.engine().expect("the build has started one");
    let before = resident(&engine);
    // Its output is not read, so it does not read its input.
    let client = world.spawn(&[
        "image",
        "build",
        "--progress",
        "plain",
        "-t",
        "loud",
        "loud",
    ]);
    let mut most = 0;
    crate::world::within(Duration::from_secs(120), "the image is built", || {
        most = most.max(resident(&engine));
        world.hoist(&["image", "inspect", "loud"]).code == 0
    });
    assert!(
        most < before + 40_000,
        "{before} kB before, {most} kB at most"
    );
    let ended = client.wait_with_output().expect("the client ends");
    let told = String::from_utf8_lossy(&ended.stderr).into_owned()
        + &String::from_utf8_lossy(&ended.stdout);
    assert!(
        ended.status.success() && told.contains("lines of output are left out"),
        "{}",
        &told[told.len().saturating_sub(500)..]
    );
    world.finish();
}

#[test]
fn two_commands_on_one_project_take_turns() {
    let Some(world) = World::new("two commands on one project take turns") else {
        return;
    };
    world.busybox().file(
        "compose.yaml",
        "name: turns\nservices:\n  a:\n    image: busybox\n    command: [sleep, '1000']\n    stop_grace_period: 0s\n    \
         healthcheck: { test: [CMD, sh, -c, 'usleep 1500000'], interval: 100ms }\n  b:\n    image: busybox\n    \
         command: [sleep, '1000']\n    stop_grace_period: 0s\n    depends_on: { a: { condition: service_healthy } }\n",
    );
    let both = [world.spawn(&["up", "-d"]), world.spawn(&["up", "-d"])];
    let ended = both.map(|child| child.wait_with_output().expect("it ends"));
    let told: Vec<_> = ended
        .iter()
        .map(|output| String::from_utf8_lossy(&output.stderr).into_owned())
        .collect();
    assert!(
        ended.iter().all(|output| output.status.success()),
        "{told:?}"
    );
    assert!(
        told.iter()
            .any(|told| told.contains("waiting for another command on project turns")),
        "{told:?}"
    );
    assert_eq!(world.ps().len(), 2);
    world.finish();
}

/// An engine's answer on a socket.
fn pinged(socket: &Path) -> bool {
    let asked = UnixStream::connect(socket).and_then(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: hoist\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer).map(|_| answer)
    });
    asked.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

#[test]
fn a_mounted_socket_lives_on_with_the_next_engine() {
    let Some(world) = World::new("a mounted socket lives on with the next engine") else {
        return;
    };
    let socket = world.run_dir.join("hoist.sock");
    world.busybox().file(
        "compose.yaml",
        &format!(
            "name: mounted\nservices:\n  a:\n    image: busybox\n    command: [sleep, '1000']\n    stop_grace_period: 0s\n    \
             volumes: ['{}:/run/engine.sock']\n",
            socket.display()
        ),
    );
    world.ok(&["up", "-d"]);
    let pid = crate::lifecycle::pid_of(&world, "a");
    let inside = PathBuf::from(format!("/proc/{pid}/root/run/engine.sock"));
    assert!(pinged(&inside), "the socket of the engine that started it");
    let mounts = || {
        fs::read_to_string(format!("/proc/{pid}/mountinfo"))
            .expect("mounts")
            .lines()
            .count()
    };
    let before = mounts();
    for _ in 0..2 {
        let dead = world.kill_engine().expect("an engine runs");
        eventually("a shim starts an engine", || {
            world.engine().is_some_and(|pid| pid != dead)
        });
        eventually("the mounted socket is that of the next engine", || {
            pinged(&inside)
        });
    }
    let told = world.engine().expect("an engine runs");
    kill("-TERM", &told);
    eventually("it ends when it is told to", || {
        !Path::new("/proc").join(&told).exists()
    });
    world.ok(&["ps"]);
    eventually(
        "the mounted socket is that of the engine that a client started",
        || pinged(&inside),
    );
    assert_eq!(mounts(), before, "old mounts are taken away");
    world.finish();
}
