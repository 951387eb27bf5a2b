//! What a container may try against the host and its own process 1, on the real kernel.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use hoist_runtime::{InjectedFile, Launch, spec_defaults};
use oci_spec::runtime::{MountBuilder, PosixRlimitBuilder, PosixRlimitType};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use support::{chain, end, log_bytes};

fn bind(launch: &mut Launch, source: &Path, target: &str, options: &[&str]) {
    let options: Vec<String> = options.iter().map(|&word| word.to_owned()).collect();
    let mount = MountBuilder::default()
        .destination(target)
        .typ("bind")
        .source(source)
        .options(options)
        .build()
        .unwrap();
    launch.spec.mounts_mut().get_or_insert_default().push(mount);
}

/// Runs `work` while another thread exchanges two entries as fast as it can, as a container beside would.
fn while_exchanging<T>(one: &Path, other: &Path, work: impl FnOnce() -> T) -> T {
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
            }
        });
        let _done = Done(&over);
        work()
    })
}

#[test]
fn part_of_a_volume_is_never_the_host_whatever_is_exchanged_in_it() {
    let world = world!();
    let volume = world.path("volume");
    fs::create_dir_all(volume.join("sub/deep")).unwrap();
    fs::write(volume.join("sub/deep/text"), "ours").unwrap();
    // The host's folder of the same name, with what must never be seen.
    let host = world.path("host");
    fs::create_dir_all(host.join("deep")).unwrap();
    fs::write(host.join("deep/text"), "secret").unwrap();
    symlink(&host, volume.join("link")).unwrap();
    let (mut shown, mut refused) = (0, 0);
    while_exchanging(&volume.join("sub"), &volume.join("link"), || {
        for round in 0..500 {
            let below = ["sub", "sub/deep", "sub/../sub"][round % 3];
            let mut launch = world.launch("cat /part/text /part/deep/text");
            bind(
                &mut launch,
                &volume,
                "/part",
                &["rbind", &format!("X-mount.subdir={below}")],
            );
            match world.runtime.start(&launch) {
                Ok(shim) => {
                    shim.wait().unwrap();
                    let text = String::from_utf8_lossy(&log_bytes(&launch)).into_owned();
                    assert!(!text.contains("secret"), "round {round}: {text}");
                    shown += u32::from(text.contains("ours"));
                }
                // The link leads to nothing inside of the volume.
                Err(error) => {
                    assert!(chain(&error).starts_with("mount: "), "{}", chain(&error));
                    refused += 1;
                }
            }
        }
    });
    assert!(
        shown > 0 && refused > 0,
        "the race was one: {shown} shown, {refused} refused"
    );
}

#[test]
fn links_in_a_part_of_a_volume_stay_in_the_volume() {
    let world = world!();
    let volume = world.path("volume");
    fs::create_dir_all(volume.join("data")).unwrap();
    fs::write(volume.join("data/text"), "ours").unwrap();
    symlink("/data", volume.join("current")).unwrap();
    symlink("../../../../etc", volume.join("up")).unwrap();
    symlink("/proc/self/root", volume.join("magic")).unwrap();
    let start = |below: &str| {
        let mut launch = world.launch("cat /part/text");
        bind(
            &mut launch,
            &volume,
            "/part",
            &["rbind", &format!("X-mount.subdir={below}")],
        );
        launch
    };
    assert_eq!(world.run(&start("current")), (0, "ours".to_owned()));
    for below in ["up", "magic", "magic/etc", "missing"] {
        let error = world.runtime.start(&start(below)).unwrap_err();
        let wanted = format!("mount: {}: No such file", volume.join(below).display());
        assert!(chain(&error).starts_with(&wanted), "{}", chain(&error));
    }
}

#[test]
fn reaper_is_as_confined_as_the_program() {
    let world = world!();
    let mut launch = world.launch(
        "echo by-path >/proc/1/fd/1; grep -E '^(Name|Uid|Gid|Groups|CapPrm|CapEff|CapBnd|NoNewPrivs|Seccomp):' \
         /proc/1/status | tr -s '\\t ' ' '; grep 'open files' /proc/1/limits | tr -s ' '; cat /proc/1/oom_score_adj; \
         cat /proc/1/environ | wc -c; umask; trap 'echo heard; exit 5' TERM; kill -TERM 1; while :; do sleep 0.01; done",
    );
    launch.init = true;
    launch.user = Some("web".to_owned());
    let process = launch.spec.process_mut().as_mut().unwrap();
    process.set_capabilities(Some(spec_defaults::capabilities([])));
    process.set_no_new_privileges(Some(true));
    process.set_oom_score_adj(Some(123));
    let limit = PosixRlimitBuilder::default()
        .typ(PosixRlimitType::RlimitNofile)
        .soft(77u64)
        .hard(77u64)
        .build();
    process.set_rlimits(Some(vec![limit.unwrap()]));
    let (code, out) = world.run(&launch);
    expect_test::expect![[r#"
        by-path
        Name: hoist-init
        Uid: 33 33 33 33
        Gid: 33 33 33 33
        Groups: 33 50 
        CapPrm: 0000000000000000
        CapEff: 0000000000000000
        CapBnd: 0000000000000000
        NoNewPrivs: 1
        Seccomp: 2
        Max open files 77 77 files 
        123
        0
        0022
        heard
    "#]]
    .assert_eq(&out);
    assert_eq!(code, 5);
}

#[test]
fn reapers_memory_has_no_secret_in_it() {
    let world = world!();
    let mut launch = world.launch(
        "grep -E 'rw-p|\\[heap|\\[stack' /proc/1/maps | while IFS='- ' read from to rest; do \
           dd if=/proc/1/mem bs=4096 skip=$((0x$from / 4096)) count=$(( (0x$to - 0x$from) / 4096 )) 2>/dev/null; \
         done >/tmp/memory; test -s /tmp/memory && echo read; grep -c 'correct[/]horse' /tmp/memory",
    );
    launch.init = true;
    launch.files = vec![InjectedFile {
        path: "/run/secrets/key".into(),
        content: b"correct/horse".repeat(1000),
        uid: 0,
        gid: 0,
        mode: 0o400,
        writable: false,
    }];
    let process = launch.spec.process_mut().as_mut().unwrap();
    process.set_capabilities(Some(spec_defaults::capabilities(["CAP_SYS_PTRACE"])));
    let (_, out) = world.run(&launch);
    assert_eq!(out, "read\n0\n");
}

#[test]
fn user_of_a_reaper_cannot_have_what_the_image_does_not_give() {
    let world = world!();
    let mut launch = world.launch("sleep 1000");
    launch.init = true;
    launch.user = Some("web".to_owned());
    let shim = world.runtime.start(&launch).unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", shim.pid())).unwrap();
    // Docker's bounding set, and nothing in force for an ordinary user.
    for line in [
        "CapEff:\t0000000000000000",
        "CapPrm:\t0000000000000000",
        "CapBnd:\t00000000a80425fb",
    ] {
        assert!(status.contains(line), "{line} is not in\n{status}");
    }
    end(&shim);
}
