//! The shim's own work: logs, attached clients, terminals, exec, engine restarts, and leaving nothing behind.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use hoist_runtime::{Attach, EngineRestart, Event, ExecRequest, ExecStdio, Launch, Shim};
use oci_spec::runtime::LinuxMemoryBuilder;
use support::{World, chain, end, exec_request, log_bytes, set_argv};

/// Waits for a state of the world, with a bound.
fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let start = Instant::now();
    while !reached() {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "not reached: {what}"
        );
        std::thread::yield_now();
    }
}

fn attach(shim: &Shim, want: Attach) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    shim.attach(theirs.as_fd(), want).unwrap();
    ours
}

const ALL: Attach = Attach {
    stdin: true,
    stdout: true,
    stderr: true,
    lossless: false,
};

/// Docker's frames taken apart: what came on 1 and on 2.
fn unframe(bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut out, mut err, mut rest) = (Vec::new(), Vec::new(), bytes);
    while !rest.is_empty() {
        let length = u32::from_be_bytes(rest[4..8].try_into().unwrap()) as usize;
        if rest[0] == 1 { &mut out } else { &mut err }.extend_from_slice(&rest[8..8 + length]);
        rest = &rest[8 + length..];
    }
    (out, err)
}

#[test]
fn log_holds_every_byte() {
    let world = world!();
    let mut launch = world.launch("cat /etc/data; printf 'no newline'");
    let mut data: Vec<u8> = (0..300_000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    data.extend(vec![b'x'; 1_000_000]);
    data.extend(b"\n\n\0\xff\n");
    fs::write(world.path("root/etc/data"), &data).unwrap();
    launch.log.as_mut().unwrap().max_size = 0;
    assert_eq!(world.run(&launch).0, 0);
    assert!(
        !hoist_runtime::log::lost(&launch.log.as_ref().unwrap().path).exists(),
        "nothing was given up"
    );
    data.extend(b"no newline");
    assert!(log_bytes(&launch) == data);
}

#[test]
fn log_is_rotated_and_bounded() {
    let world = world!();
    let mut launch = world.launch("i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done");
    let log = launch.log.as_mut().unwrap();
    (log.max_size, log.max_files) = (10_000, 3);
    let path = log.path.clone();
    assert_eq!(world.run(&launch).0, 0);
    let names: Vec<_> = fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap())
        .collect();
    assert_eq!(names.len(), 3);
    assert!(
        hoist_runtime::log::lost(&path).exists(),
        "what was given up is marked"
    );
    assert!(
        names
            .iter()
            .all(|entry| entry.metadata().unwrap().len() <= 10_000)
    );
    let number = |path: &Path| hoist_runtime::log::number(fs::File::open(path).unwrap()).unwrap();
    let numbers = [2, 1].map(|index| number(&hoist_runtime::log::rotated(&path, index)));
    assert_eq!(numbers.map(|number| number - numbers[0]), [0, 1]);
    assert!(
        number(&path) == numbers[0] + 2 && numbers[0] > 3,
        "{numbers:?}: each file has the number after the last"
    );
    let text = String::from_utf8(log_bytes(&launch)).unwrap();
    assert!(text.ends_with("line 2998\nline 2999\n"));
    let first: u32 = text
        .lines()
        .next()
        .unwrap()
        .strip_prefix("line ")
        .unwrap()
        .parse()
        .unwrap();
    let want: String = (first..3000).map(|n| format!("line {n}\n")).collect();
    assert_eq!(text, want);
}

#[test]
fn full_disk_does_not_hold_the_program() {
    let world = world!();
    let mut launch =
        world.launch("i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; sleep 1000");
    launch.log.as_mut().unwrap().path = "/dev/full".into();
    let shim = world.runtime.start(&launch).unwrap();
    until("all lines are counted as lost", || {
        shim.state().unwrap().dropped_log_records == 2000
    });
    end(&shim);
}

#[test]
fn attached_client_sees_frames_and_feeds_input() {
    let world = world!();
    let mut launch = world.launch("read a; echo got $a; echo problem >&2; cat; exit 4");
    launch.stdin_open = true;
    launch.stdin_once = true;
    let shim = world.runtime.start(&launch).unwrap();
    let mut client = attach(&shim, ALL);
    client.write_all(b"hello\nrest of it").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).unwrap();
    let (out, err) = unframe(&bytes);
    assert_eq!(
        (out.as_slice(), err.as_slice()),
        (&b"got hello\nrest of it"[..], &b"problem\n"[..])
    );
    assert_eq!(shim.wait().unwrap().code, 4);
}

#[test]
fn input_that_was_left_behind_is_still_delivered() {
    let world = world!();
    let mut launch = world.launch("sleep 0.3; wc -c");
    launch.stdin_open = true;
    launch.stdin_once = true;
    let shim = world.runtime.start(&launch).unwrap();
    let mut client = attach(&shim, ALL);
    client.write_all(&[b'x'; 150_000]).unwrap();
    drop(client);
    assert_eq!(shim.wait().unwrap().code, 0);
    assert_eq!(log_bytes(&launch), b"150000\n");
}

#[test]
fn attached_from_the_start_sees_the_first_byte() {
    let world = world!();
    let launch = world.launch("echo first");
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let shim = world
        .runtime
        .start_attached(
            &launch,
            &[(
                theirs.into(),
                Attach {
                    stdin: false,
                    ..ALL
                },
            )],
        )
        .unwrap();
    let mut bytes = Vec::new();
    ours.read_to_end(&mut bytes).unwrap();
    assert_eq!(unframe(&bytes).0, b"first\n");
    shim.wait().unwrap();
    let mut launch = world.launch("");
    set_argv(&mut launch.spec, &["nonsense"]);
    let (_ours, theirs) = UnixStream::pair().unwrap();
    let error = world
        .runtime
        .start_attached(&launch, &[(theirs.into(), ALL)])
        .unwrap_err();
    assert_eq!(error.exit_code(), 127, "{}", chain(&error));
}

#[test]
fn slow_client_is_dropped_and_a_lossless_one_waited_for() {
    let world = world!();
    for lossless in [false, true] {
        let mut launch =
            world.launch("read go; head -c 8000000 /dev/zero; echo done >&2; sleep 1000");
        launch.stdin_open = true;
        launch.log = None;
        let shim = world.runtime.start(&launch).unwrap();
        let mut slow = attach(
            &shim,
            Attach {
                stdin: true,
                stderr: false,
                lossless,
                stdout: true,
            },
        );
        let mut watcher = attach(
            &shim,
            Attach {
                stdin: false,
                stdout: false,
                stderr: true,
                lossless: false,
            },
        );
        slow.write_all(b"go\n").unwrap();
        if lossless {
            let mut total = 0;
            let mut buffer = vec![0; 1 << 20];
            let frames = 8 * 8_000_000_usize.div_ceil(4096);
            while total < 8_000_000 {
                total += slow.read(&mut buffer).unwrap();
            }
            assert!(total <= 8_000_000 + frames);
        }
        let mut buffer = [0; 64];
        let count = watcher.read(&mut buffer).unwrap();
        assert_eq!(unframe(&buffer[..count]).1, b"done\n");
        if !lossless {
            // What was sent before is still there, then comes the end.
            let mut bytes = Vec::new();
            slow.read_to_end(&mut bytes).unwrap();
            assert!(bytes.len() < 8_000_000);
        }
        end(&shim);
    }
}

#[test]
fn the_end_waits_for_a_slow_client_and_nobody_for_the_client() {
    let world = world!();
    let mut launch = world.launch("read go; head -c 300000 /dev/zero; exit 3");
    launch.stdin_open = true;
    let shim = world.runtime.start(&launch).unwrap();
    let mut slow = attach(
        &shim,
        Attach {
            lossless: true,
            ..ALL
        },
    );
    // More than the program reads, and than the socket holds once it has ended.
    slow.write_all(b"go\n").unwrap();
    slow.write_all(&[b'x'; 100_000]).unwrap();
    assert_eq!(
        shim.wait().unwrap().code,
        3,
        "its end is told although the client has read nothing"
    );
    let mut bytes = Vec::new();
    slow.read_to_end(&mut bytes)
        .expect("input that was not read is no error for the one who reads");
    assert_eq!(unframe(&bytes).0.len(), 300_000);
}

#[test]
fn terminal_is_a_terminal() {
    let world = world!();
    let mut launch = world.launch(
        "test -t 0 && test -t 1 && test -t 2 && echo three; tty; ls -l /dev/console | cut -c1-10; \
         read x; stty size; echo $x; cat <&0",
    );
    launch.tty = true;
    launch.stdin_open = true;
    let shim = world.runtime.start(&launch).unwrap();
    shim.resize(33, 111).unwrap();
    let mut client = attach(&shim, ALL);
    until("it reads", || {
        String::from_utf8_lossy(&log_bytes(&launch)).contains("\r\ncrw")
    });
    client.write_all(b"typed\n").unwrap();
    client.write_all(b"\x04").unwrap();
    assert_eq!(shim.wait().unwrap().code, 0);
    let text = String::from_utf8(log_bytes(&launch)).unwrap();
    assert!(text.starts_with("three\r\n/dev/pts/0\r\ncrw"), "{text}");
    assert!(text.contains("33 111\r\ntyped\r\n"), "{text}");
}

#[test]
fn exec_runs_inside() {
    let world = world!();
    let launch = world.launch("echo $$ > /tmp/marker; exec sleep 1000");
    let shim = world.runtime.start(&launch).unwrap();
    until("the container wrote", || {
        world.upper(&launch).join("tmp/marker").exists()
    });
    let (code, out) = world.exec(
        &launch,
        &shim,
        &["sh", "-c", "cat /tmp/marker; cat /proc/1/cmdline | tr '\\0' ' '; grep -E 'CapEff|Seccomp:' /proc/self/status; echo $HOME; pwd; exit 9"],
    );
    assert_eq!(code, 9);
    expect_test::expect![[r#"
        1
        sleep 1000 CapEff:	00000000a80425fb
        Seccomp:	2
        /root
        /
    "#]]
    .assert_eq(&out);
    for (argv, code) in [(&["nonsense"][..], 127), (&["/etc/plain"], 126)] {
        let error = world
            .runtime
            .exec(exec_request(&launch, &shim, argv))
            .unwrap_err();
        assert_eq!(error.exit_code(), code, "{}", chain(&error));
    }
    let request = ExecRequest {
        user: Some("ghost".into()),
        ..exec_request(&launch, &shim, &["true"])
    };
    assert_eq!(
        world.runtime.exec(request).unwrap_err().stage(),
        Some("look up the user")
    );
    let mut request = exec_request(&launch, &shim, &["sh", "-c", "exit $(id -u)"]);
    request.user = Some("web".into());
    request.process.set_cwd("/tmp".into());
    assert_eq!(
        world.runtime.exec(request).unwrap().wait().unwrap().code,
        33
    );
    let mut request = exec_request(&launch, &shim, &["true"]);
    request.process.set_cwd("/no/such".into());
    assert_eq!(
        world.runtime.exec(request).unwrap_err().stage(),
        Some("enter the working directory")
    );
    assert!(
        !world.upper(&launch).join("no").exists(),
        "an exec makes no folder"
    );
    let script = "cat /proc/[0-9]*/stat | grep -c ' Z '";
    assert_eq!(
        world.exec(&launch, &shim, &["sh", "-c", script]).1,
        "0\n",
        "execs that failed are gone"
    );
    end(&shim);
    assert!(
        world
            .runtime
            .exec(exec_request(&launch, &shim, &["true"]))
            .is_err()
    );
}

#[test]
fn exec_with_a_terminal() {
    let world = world!();
    let launch = world.launch("sleep 1000");
    let shim = world.runtime.start(&launch).unwrap();
    let stdio = ExecStdio::Tty {
        rows: 20,
        columns: 77,
    };
    let request = ExecRequest {
        stdio,
        ..exec_request(
            &launch,
            &shim,
            &["sh", "-c", "tty; stty size; read x; stty size; echo $x"],
        )
    };
    let handle = world.runtime.exec(request).unwrap();
    let mut terminal = fs::File::from(handle.take_terminal().unwrap());
    assert!(handle.take_terminal().is_none());
    let mut text = String::new();
    let mut buffer = [0; 1024];
    while !text.contains("20 77") {
        let count = terminal.read(&mut buffer).unwrap();
        text += std::str::from_utf8(&buffer[..count]).unwrap();
    }
    handle.resize(10, 50).unwrap();
    terminal.write_all(b"typed\n").unwrap();
    // The end of a terminal is an error.
    while let Ok(count @ 1..) = terminal.read(&mut buffer) {
        text += std::str::from_utf8(&buffer[..count]).unwrap();
    }
    assert_eq!(handle.wait().unwrap().code, 0);
    assert!(text.contains("10 50\r\ntyped\r\n"), "{text}");
    end(&shim);
}

#[test]
fn killing_an_execs_tree_leaves_none_of_it() {
    let world = world!();
    let launch = world.launch("exec sleep 1000");
    let shim = world.runtime.start(&launch).unwrap();
    let script = "trap '' TERM; (setsid sh -c 'setsid sleep 2000 & sleep 2001' &); sleep 2002 & while :; do sleep 2003; done";
    let handle = world
        .runtime
        .exec(exec_request(&launch, &shim, &["sh", "-c", script]))
        .unwrap();
    until("all of them run", || {
        world.runtime.processes(&launch.id).unwrap().len() >= 6
    });
    handle.kill_tree().unwrap();
    assert_eq!(handle.wait().unwrap().code, 137);
    until("they are gone", || {
        world.runtime.processes(&launch.id).unwrap() == [shim.pid()]
    });
    end(&shim);
}

#[test]
fn a_hang_up_reaches_what_an_exec_started_beside_itself() {
    let world = world!();
    let launch = world.launch("exec sleep 1000");
    let shim = world.runtime.start(&launch).unwrap();
    let handle = world
        .runtime
        .exec(exec_request(
            &launch,
            &shim,
            &["sh", "-c", "sleep 2001 & sleep 2002; :"],
        ))
        .unwrap();
    until("all of them run", || {
        world.runtime.processes(&launch.id).unwrap().len() == 4
    });
    handle.kill_group(1).unwrap();
    assert_eq!(handle.wait().unwrap().code, 129);
    until("they are gone", || {
        world.runtime.processes(&launch.id).unwrap() == [shim.pid()]
    });
    end(&shim);
}

/// Folders of execs below the container's cgroup.
fn folders_of_execs(world: &World) -> Vec<String> {
    let pattern = format!("*{}/*/exec-*", world.instance);
    let found = std::process::Command::new("find")
        .args(["/sys/fs/cgroup", "-type", "d", "-path", &pattern])
        .output();
    String::from_utf8_lossy(&found.unwrap().stdout)
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn ended_execs_leave_no_cgroup() {
    let world = world!();
    let launch = world.launch("exec sleep 1000");
    let shim = world.runtime.start(&launch).unwrap();
    for _ in 0..100 {
        let handle = world
            .runtime
            .exec(exec_request(
                &launch,
                &shim,
                &["sh", "-c", "true | true | true"],
            ))
            .unwrap();
        assert_eq!(handle.wait().unwrap().code, 0);
    }
    let mut left = Vec::new();
    until("they are gone", || {
        left = folders_of_execs(&world);
        left.is_empty()
    });
    end(&shim);
}

#[test]
fn execs_that_begin_while_the_container_ends_leave_nothing() {
    let world = world!();
    for _ in 0..25 {
        let launch = world.launch("exec sleep 1000");
        let shim = world.runtime.start(&launch).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                // Until the container is gone: every moment of an exec meets every moment of the removal.
                scope.spawn(|| {
                    while world
                        .runtime
                        .exec(exec_request(&launch, &shim, &["true"]))
                        .is_ok()
                    {}
                });
            }
            until("they run", || !folders_of_execs(&world).is_empty());
            let _ = shim.shutdown();
            shim.wait().unwrap();
        });
        until("the execs' helpers are gone", || {
            world.runtime.processes(&launch.id).is_err()
        });
        assert_eq!(folders_of_execs(&world), [""; 0]);
    }
}

#[test]
fn paused_container_stands_still() {
    let world = world!();
    let launch = world.launch("while :; do echo tick; done");
    let shim = world.runtime.start(&launch).unwrap();
    shim.pause().unwrap();
    assert!(shim.state().unwrap().paused);
    let refused = world
        .runtime
        .exec(exec_request(&launch, &shim, &["true"]))
        .unwrap_err();
    assert!(refused.to_string().ends_with("is paused"), "{refused}");
    let usage = || world.runtime.stats(&launch.id).unwrap().cpu_usage_ns;
    let before = usage();
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(100) {
        std::thread::yield_now();
    }
    assert_eq!(usage(), before);
    shim.resume().unwrap();
    until("it goes on", || usage() > before);
    shim.pause().unwrap();
    shim.kill(9).unwrap();
    assert_eq!(shim.wait().unwrap().signal, Some(9));
}

#[test]
fn stats_count_what_is_used() {
    let world = world!();
    let launch = world.launch("head -c 30000000 /dev/zero > /dev/shm/x; sleep 1000");
    let shim = world.runtime.start(&launch).unwrap();
    until("memory is counted", || {
        world.runtime.stats(&launch.id).unwrap().memory_usage > 30_000_000
    });
    let stats = world.runtime.stats(&launch.id).unwrap();
    assert!(
        stats.cpu_usage_ns > 0 && stats.pids >= 1 && stats.pids_limit == u64::MAX,
        "{stats:?}"
    );
    end(&shim);
}

#[test]
fn second_engine_finds_the_container_by_its_socket() {
    let world = world!();
    let launch = world.launch("sleep 1000");
    let shim = world.runtime.start(&launch).unwrap();
    let again = Shim::connect(&launch.bundle).unwrap();
    assert_eq!(again.pid(), shim.pid());
    let state = again.state().unwrap();
    assert_eq!(
        (state.id.as_str(), state.pid, state.tty, state.started),
        (launch.id.as_str(), shim.pid(), false, true)
    );
    let mode = fs::metadata(launch.bundle.join("shim.sock"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    again.kill(9).unwrap();
    assert_eq!(again.wait().unwrap(), shim.wait().unwrap());
    assert!(!launch.bundle.join("shim.sock").exists());
    assert!(Shim::connect(&launch.bundle).is_err());
}

#[test]
fn container_outlives_its_engine_and_its_record_tells_the_end() {
    let world = world!();
    let mut launch = world.launch("read x; echo heard $x; exit 5");
    launch.stdin_open = true;
    let shim = world.runtime.start(&launch).unwrap();
    let mut client = attach(&shim, ALL);
    drop(shim);
    client.write_all(b"this\n").unwrap();
    let record = || hoist_runtime::ExitStatus::read(&launch.exit_record).unwrap();
    until("the record is there", || record().is_some());
    assert_eq!(record().unwrap().code, 5);
    until("the shim is gone", || {
        !launch.bundle.join("shim.sock").exists()
    });
    assert_eq!(log_bytes(&launch), b"heard this\n");
}

/// An engine whose program appends a line to `started` and keeps the lock until `stop` exists.
fn engine(folder: &Path) -> Option<EngineRestart> {
    let script = format!(
        "echo started $GREETING >> {0}/started; while [ ! -e {0}/stop ]; do read -t 0.05 x < /dev/zero; done",
        folder.display()
    );
    Some(EngineRestart {
        argv: vec!["/bin/bash".into(), "-c".into(), script],
        env: vec![
            ("GREETING".into(), "hello".into()),
            ("PATH".into(), "/usr/bin:/bin".into()),
        ],
        lock: folder.join("engine.lock"),
        log: None,
    })
}

#[test]
fn dead_engine_is_started_again_exactly_once() {
    if !Path::new("/bin/bash").exists() {
        eprintln!("skipped: needs bash");
        return;
    }
    if let Some(reason) = support::missing() {
        eprintln!("skipped: {reason}");
        return;
    }
    let world = World::with_engine(engine);
    let launches: Vec<Launch> = (0..12).map(|_| world.launch("sleep 1000")).collect();
    let shims: Vec<Shim> = launches
        .iter()
        .map(|launch| world.runtime.start(launch).unwrap())
        .collect();
    let started = || fs::read_to_string(world.path("started")).unwrap_or_default();
    drop(shims);
    until("an engine is started", || !started().is_empty());
    // Each shim has looked by now or looks while the first engine holds the lock.
    let again: Vec<Shim> = launches
        .iter()
        .map(|launch| Shim::connect(&launch.bundle).unwrap())
        .collect();
    for shim in &again {
        shim.state().unwrap();
    }
    assert_eq!(started(), "started hello\n");
    assert!(
        hoist_runtime::engine_lock::acquire(&world.path("engine.lock"))
            .unwrap()
            .is_none(),
        "the new engine has it"
    );
    fs::write(world.path("stop"), "").unwrap();
    until("the lock is free", || {
        hoist_runtime::engine_lock::acquire(&world.path("engine.lock"))
            .unwrap()
            .is_some()
    });
    for shim in again {
        shim.kill(9).unwrap();
        shim.wait().unwrap();
    }
    assert_eq!(started(), "started hello\n");
}

#[test]
fn goodbye_starts_no_engine() {
    let world = match support::missing() {
        Some(reason) => {
            eprintln!("skipped: {reason}");
            return;
        }
        None => World::with_engine(engine),
    };
    let launch = world.launch("sleep 1000");
    let shim = world.runtime.start(&launch).unwrap();
    shim.detach().unwrap();
    let shim = Shim::connect(&launch.bundle).unwrap();
    shim.state().unwrap();
    assert!(!world.path("started").exists());
    end(&shim);
}

#[test]
fn shim_whose_folder_was_removed_makes_it_again() {
    let world = match support::missing() {
        Some(reason) => {
            eprintln!("skipped: {reason}");
            return;
        }
        None => World::with_engine(engine),
    };
    let launch = world.launch("exec sleep 1000");
    let shim = world.runtime.start(&launch).unwrap();
    fs::remove_dir_all(&launch.bundle).unwrap();
    assert!(Shim::connect(&launch.bundle).unwrap_err().is_absent());
    shim.reopen().unwrap();
    let again = Shim::connect(&launch.bundle).unwrap();
    assert_eq!(again.state().unwrap(), shim.state().unwrap());
    // And by itself when its engine dies: the next one must find it.
    drop(again);
    fs::remove_dir_all(world.path("run").join("containers")).unwrap();
    fs::write(world.path("stop"), "").unwrap();
    drop(shim);
    until("it listens again", || Shim::connect(&launch.bundle).is_ok());
    until("an engine was started", || world.path("started").exists());
    end(&Shim::connect(&launch.bundle).unwrap());
}

fn signal(pid: i32, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
}

#[test]
fn killed_shim_is_swept() {
    let world = world!();
    let launch = world.launch("exec sleep 1000");
    let shim = world.runtime.start(&launch).unwrap();
    let pid = shim.pid();
    signal(
        shim.state().unwrap().shim_pid,
        rustix::process::Signal::KILL,
    );
    assert!(matches!(shim.wait(), Err(hoist_runtime::ShimError::Gone)));
    assert!(Shim::connect(&launch.bundle).unwrap_err().is_refused());
    assert!(world.runtime.shim_processes(&launch.id).unwrap().is_empty());
    let known = [launch.id.clone()].into();
    let swept = world.runtime.sweep(&known, |_| true);
    assert!(
        swept.strays.is_empty() && swept.errors.is_empty(),
        "{swept:?}"
    );
    assert_eq!(world.runtime.processes(&launch.id).unwrap(), [pid]);
    let swept = world
        .runtime
        .sweep(&Default::default(), |id| id == launch.id);
    assert!(
        swept.strays.is_empty() && swept.errors.is_empty(),
        "{swept:?}"
    );
    until("the program is gone", || {
        !Path::new(&format!("/proc/{pid}")).exists()
    });
    assert!(!launch.bundle.exists());
}

#[test]
fn what_lives_is_never_swept() {
    let world = world!();
    let (orphan, hidden) = (
        world.launch("exec sleep 1000"),
        world.launch("exec sleep 1000"),
    );
    let shims = [
        world.runtime.start(&orphan).unwrap(),
        world.runtime.start(&hidden).unwrap(),
    ];
    let pids = shims.each_ref().map(Shim::pid);
    // One has processes without a shim, the other an unreachable shim.
    signal(
        shims[0].state().unwrap().shim_pid,
        rustix::process::Signal::KILL,
    );
    fs::remove_dir_all(&hidden.bundle).unwrap();
    let idle = world.path("run").join("containers").join("left");
    fs::create_dir_all(&idle).unwrap();
    let swept = world.runtime.sweep(&Default::default(), |_| false);
    let mut strays = [orphan.id.clone(), hidden.id.clone()];
    strays.sort();
    assert_eq!(swept.strays, strays);
    assert!(swept.errors.is_empty() && !idle.exists() && orphan.bundle.exists());
    for pid in pids {
        assert!(Path::new(&format!("/proc/{pid}")).exists());
    }
    drop(shims);
    world.runtime.kill_with_shim(&orphan.id).unwrap();
    world.runtime.kill_with_shim(&hidden.id).unwrap();
}

#[test]
fn shim_that_stands_still_holds_nobody_up() {
    let world = world!();
    let launch = world.launch("exec sleep 1000");
    let shim = world.runtime.start(&launch).unwrap();
    let (pid, own) = (shim.pid(), shim.state().unwrap().shim_pid);
    signal(own, rustix::process::Signal::STOP);
    let began = Instant::now();
    let limit = Duration::from_millis(50);
    // More than wait to be accepted.
    let calls: Vec<_> = (0..40)
        .map(|_| hoist_runtime::Call::begin(&launch.bundle))
        .collect();
    assert!(calls.iter().any(Result::is_err), "the queue is full");
    for call in calls {
        let error = call
            .and_then(|call| call.answer(Instant::now() + limit))
            .unwrap_err();
        assert!(!error.is_absent(), "{error:?}");
    }
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert!(!Shim::connect(&launch.bundle).unwrap_err().is_absent());
    assert!(shim.kill(15).is_err());
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(world.runtime.first_process(&launch.id), Some(pid));
    world.runtime.kill_with_shim(&launch.id).unwrap();
    until("both are gone", || {
        [pid, own]
            .iter()
            .all(|pid| !Path::new(&format!("/proc/{pid}")).exists())
    });
    assert!(Shim::connect(&launch.bundle).unwrap_err().is_refused());
}

#[test]
fn shim_is_small_and_belongs_to_process_one() {
    let world = world!();
    let launch = world.launch("sleep 1000");
    let shim = world.runtime.start(&launch).unwrap();
    let pid = shim.state().unwrap().shim_pid;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap()
            .trim()
            .to_owned()
    };
    assert_eq!(field("Threads:"), "1");
    assert_ne!(field("PPid:"), std::process::id().to_string());
    let memory = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let private: u64 = memory
        .lines()
        .filter(|line| line.starts_with("Private_Dirty") || line.starts_with("Private_Clean"))
        .map(|line| {
            line.split_whitespace()
                .nth(1)
                .unwrap()
                .parse::<u64>()
                .unwrap()
        })
        .sum();
    // This is the debug build's; the static one of the shim profile takes less than a tenth of it.
    assert!(private < 4000, "{memory}");
    end(&shim);
}

#[test]
fn many_containers_start_at_once() {
    let world = world!();
    std::thread::scope(|scope| {
        for n in 0..8 {
            let world = &world;
            scope.spawn(move || {
                for _ in 0..3 {
                    assert_eq!(world.sh(&format!("exit {n}")).0, n);
                }
            });
        }
    });
}

#[test]
fn a_million_lines_pass_quickly_and_whole() {
    let world = world!();
    let mut launch = world.launch(
        "yes 0123456789012345678901234567890123456789012345678901234567890123456789012345678 | head -n 1000000",
    );
    launch.log.as_mut().unwrap().max_size = 0;
    let start = Instant::now();
    let shim = world.runtime.start(&launch).unwrap();
    shim.wait().unwrap();
    assert!(start.elapsed() < Duration::from_secs(30));
    let lines = fs::read(&launch.log.as_ref().unwrap().path)
        .unwrap()
        .iter()
        .filter(|byte| **byte == b'\n')
        .count();
    assert_eq!(lines, 1_000_000);
}

#[test]
fn a_child_that_was_killed_for_memory_is_told_of_while_the_container_runs() {
    let world = world!();
    let mut launch =
        world.launch("head -c 200000000 /dev/zero | tail >/dev/null; echo after; sleep 1000");
    let memory = LinuxMemoryBuilder::default()
        .limit(16i64 << 20)
        .swap(16i64 << 20)
        .build()
        .unwrap();
    let resources = launch
        .spec
        .linux_mut()
        .as_mut()
        .unwrap()
        .resources_mut()
        .get_or_insert_default();
    resources.set_memory(Some(memory));
    let shim = world.runtime.start(&launch).unwrap();
    assert_eq!(shim.next_event().unwrap(), Event::Oom);
    assert_eq!(
        shim.state().unwrap().pid,
        shim.pid(),
        "the container goes on"
    );
    end(&shim);
    let record = hoist_runtime::ExitStatus::read(&launch.exit_record)
        .unwrap()
        .unwrap();
    assert!(record.oom);
}
