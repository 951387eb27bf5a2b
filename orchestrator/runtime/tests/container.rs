//! Containers on the real kernel: what a program in one sees and may do.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod support;

use std::fs;
use std::path::Path;

use hoist_runtime::{InjectedFile, Netns, Rootfs, Seccomp, spec_defaults};
use oci_spec::runtime::{
    LinuxMemoryBuilder, LinuxPidsBuilder, MountBuilder, PosixRlimitBuilder, PosixRlimitType, Spec,
};
use support::{chain, end, set_argv};

fn env(spec: &mut Spec, entries: &[&str]) {
    let entries: Vec<String> = entries.iter().map(|&entry| entry.to_owned()).collect();
    spec.process_mut().as_mut().unwrap().set_env(Some(entries));
}

fn add_mount(spec: &mut Spec, target: &str, kind: &str, source: &Path, options: &[&str]) {
    let options: Vec<String> = options.iter().map(|&word| word.to_owned()).collect();
    let mount = MountBuilder::default()
        .destination(target)
        .typ(kind)
        .source(source)
        .options(options)
        .build()
        .unwrap();
    spec.mounts_mut().get_or_insert_default().push(mount);
}

#[test]
fn program_is_process_one_and_its_output_is_logged() {
    let world = world!();
    let (code, out) = world.sh("echo hello; echo $$; echo problem >&2; exit 3");
    assert_eq!(code, 3);
    let mut lines: Vec<_> = out.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["1", "hello", "problem"]);
}

#[test]
fn every_exit_code_arrives() {
    let world = world!();
    for code in (0..=255)
        .step_by(17)
        .chain([1, 2, 125, 126, 127, 128, 137, 254])
    {
        let launch = world.launch(&format!("exit {code}"));
        assert_eq!(world.run(&launch).0, code);
        let record = hoist_runtime::ExitStatus::read(&launch.exit_record)
            .unwrap()
            .unwrap();
        assert_eq!(
            (record.code, record.signal, record.oom),
            (code, None, false)
        );
    }
}

#[test]
fn every_killing_signal_arrives() {
    let world = world!();
    for signal in [1, 2, 3, 6, 9, 11, 15, 34, 64] {
        let mut launch = world.launch("");
        // Process 1 is immune to signals from inside that it does not handle, so they come from outside.
        set_argv(&mut launch.spec, &["sleep", "1000"]);
        launch.init = signal != 9;
        let shim = world.runtime.start(&launch).unwrap();
        shim.kill(signal).unwrap();
        let status = shim.wait().unwrap();
        assert_eq!(status.code, 128 + signal, "signal {signal}");
        assert_eq!(status.signal, (signal == 9).then_some(9));
    }
}

#[test]
fn command_failures_have_dockers_exit_codes() {
    let world = world!();
    for (argv, code, text) in [
        (&["nonsense"][..], 127, "executable file not found in $PATH"),
        (&["/bin/nonsense"], 127, "No such file"),
        (&["/etc/plain"], 126, "Permission denied"),
        (&["/etc"], 126, "Is a directory"),
    ] {
        let mut launch = world.launch("");
        set_argv(&mut launch.spec, argv);
        let error = world.runtime.start(&launch).unwrap_err();
        assert_eq!(error.exit_code(), code, "{argv:?}: {}", chain(&error));
        assert!(chain(&error).contains(text), "{}", chain(&error));
    }
}

#[test]
fn failures_name_their_stage_and_object() {
    let world = world!();
    let mut launch = world.launch("true");
    launch.user = Some("ghost".to_owned());
    let error = world.runtime.start(&launch).unwrap_err();
    assert_eq!(error.stage(), Some("look up the user"));
    assert!(
        chain(&error).ends_with("unable to find user ghost: no matching entries in passwd file"),
        "{}",
        chain(&error)
    );
    let mut launch = world.launch("true");
    add_mount(
        &mut launch.spec,
        "/data",
        "bind",
        Path::new("/no/such/folder"),
        &["rbind"],
    );
    let error = world.runtime.start(&launch).unwrap_err();
    assert_eq!(error.exit_code(), 125);
    assert_eq!(
        chain(&error),
        "mount: /no/such/folder: No such file or directory (os error 2)"
    );
}

#[test]
fn environment_user_and_folder_are_as_asked() {
    let world = world!();
    let mut launch = world.launch("env | sort; id; pwd; umask");
    env(&mut launch.spec, &["PATH=/bin", "GREETING=hello world"]);
    launch
        .spec
        .process_mut()
        .as_mut()
        .unwrap()
        .set_cwd("/new/folder".into());
    launch.user = Some("web".to_owned());
    launch.group_add = vec!["77".to_owned()];
    let (code, out) = world.run(&launch);
    assert_eq!(code, 0, "{out}");
    expect_test::expect![[r#"
        GREETING=hello world
        HOME=/var/www
        PATH=/bin
        PWD=/new/folder
        SHLVL=1
        uid=33(web) gid=33(web) groups=33(web),50(log),77
        /new/folder
        0022
    "#]]
    .assert_eq(&out);
}

#[test]
fn capabilities_equal_dockers() {
    let world = world!();
    let (_, out) = world.sh("grep -E 'Cap|NoNewPrivs|Seccomp:' /proc/self/status");
    expect_test::expect![[r#"
        CapInh:	0000000000000000
        CapPrm:	00000000a80425fb
        CapEff:	00000000a80425fb
        CapBnd:	00000000a80425fb
        CapAmb:	0000000000000000
        NoNewPrivs:	0
        Seccomp:	2
    "#]]
    .assert_eq(&out);
}

#[test]
fn ordinary_user_has_no_capabilities_and_no_new_privileges_when_asked() {
    let world = world!();
    let mut launch = world.launch("grep -E 'Cap|NoNewPrivs' /proc/self/status");
    launch.user = Some("1000".to_owned());
    launch
        .spec
        .process_mut()
        .as_mut()
        .unwrap()
        .set_no_new_privileges(Some(true));
    let (_, out) = world.run(&launch);
    expect_test::expect![[r#"
        CapInh:	0000000000000000
        CapPrm:	0000000000000000
        CapEff:	0000000000000000
        CapBnd:	00000000a80425fb
        CapAmb:	0000000000000000
        NoNewPrivs:	1
    "#]]
    .assert_eq(&out);
}

#[test]
fn privileged_has_what_the_engine_has() {
    let world = world!();
    let mut launch = world.launch("grep -E 'CapEff|Seccomp:' /proc/self/status; mkdir /sys/fs/cgroup/memory/x 2>/dev/null && rmdir /sys/fs/cgroup/memory/x; echo $?; test -w /proc/sys/kernel/msgmax; echo $?; ls -d /dev/vda /dev/kmsg 2>/dev/null | wc -l");
    spec_defaults::privileged(&mut launch.spec);
    launch.privileged = true;
    let (code, out) = world.run(&launch);
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let own = own
        .lines()
        .find(|line| line.starts_with("CapBnd"))
        .unwrap()
        .replace("CapBnd", "CapEff");
    assert_eq!(code, 0, "{out}");
    assert!(out.starts_with(&own), "{out} against {own}");
    assert!(out.contains("Seccomp:\t0\n"), "{out}");
}

#[test]
fn dangerous_calls_are_denied() {
    let world = world!();
    let (_, out) = world.sh(
        "unshare -m true 2>&1; mount -t tmpfs x /tmp 2>&1; hostname other 2>&1; \
         echo 1 > /proc/sys/kernel/core_pattern 2>&1; chroot / true && echo chroot works",
    );
    let out = sorted_errors_last(&out);
    expect_test::expect![[r#"
        unshare: unshare(0x20000): Operation not permitted
        mount: permission denied (are you root?)
        hostname: sethostname: Operation not permitted
        chroot works
        sh: can't create /proc/sys/kernel/core_pattern: Read-only file system
    "#]]
    .assert_eq(&out);
}

#[test]
fn masked_and_readonly_paths_hold() {
    let world = world!();
    let (_, out) = world
        .sh("for f in keys timer_list interrupts; do wc -c < /proc/$f; done; ls /sys/firmware | wc -l; \
         echo 1 > /proc/sys/net/ipv4/ip_forward 2>&1; touch /sys/x /sys/fs/cgroup/x 2>&1; head -c 1 /dev/kmsg 2>&1");
    let out = sorted_errors_last(&out);
    expect_test::expect![[r#"
        0
        0
        0
        0
        touch: /sys/x: Read-only file system
        touch: /sys/fs/cgroup/x: Read-only file system
        head: /dev/kmsg: No such file or directory
        sh: can't create /proc/sys/net/ipv4/ip_forward: Read-only file system
    "#]]
    .assert_eq(&out);
}

#[test]
fn devices_are_the_default_ones_and_no_other_can_be_opened() {
    let world = world!();
    let (_, out) = world.sh(
        "ls /dev; mknod /tmp/disk b 254 0 && head -c 1 /tmp/disk 2>&1; mknod /tmp/null c 1 3 && echo x > /tmp/null && echo ok; \
         head -c 2 /dev/zero | wc -c; cat /dev/null; echo gone > /dev/full",
    );
    expect_test::expect![[r#"
        fd
        full
        mqueue
        null
        ptmx
        pts
        random
        shm
        stderr
        stdin
        stdout
        tty
        urandom
        zero
        head: /tmp/disk: Operation not permitted
        ok
        2
        sh: write error: No space left on device
    "#]]
    .assert_eq(&out);
}

#[test]
fn only_standard_descriptors_are_open() {
    let world = world!();
    let _leak = fs::File::open("/").unwrap();
    rustix::io::fcntl_setfd(&_leak, rustix::io::FdFlags::empty()).unwrap();
    let (_, out) = world.sh("cd /proc/self/fd; echo *");
    // The last one is the shell's own, of reading the folder.
    assert_eq!(out, "0 1 2 3\n");
    let launch = world.launch("sleep 1000");
    let shim = world.runtime.start(&launch).unwrap();
    let names = fs::read_dir(format!("/proc/{}/fd", shim.pid()))
        .unwrap()
        .count();
    assert_eq!(names, 3);
    let (code, out) = world.exec(&launch, &shim, &["sh", "-c", "cd /proc/self/fd; echo *"]);
    assert_eq!((code, out.as_str()), (0, "0 1 2 3\n"));
    end(&shim);
}

#[test]
fn upper_folder_gets_the_writes_and_read_only_root_refuses_them() {
    let world = world!();
    let launch = world.launch("echo kept > /tmp/file; rm /etc/plain");
    assert_eq!(world.run(&launch).0, 0);
    assert_eq!(
        fs::read_to_string(world.upper(&launch).join("tmp/file")).unwrap(),
        "kept\n"
    );
    assert!(world.path("root/etc/plain").exists());
    let mut launch = world.launch("echo x > /tmp/file; echo ok > /dev/shm/file; cat /dev/shm/file");
    launch
        .spec
        .root_mut()
        .as_mut()
        .unwrap()
        .set_readonly(Some(true));
    let (_, out) = world.run(&launch);
    assert!(
        out.contains("can't create /tmp/file: Read-only file system") && out.contains("ok\n"),
        "{out}"
    );
}

#[test]
fn many_long_lower_folders_are_stacked() {
    let world = world!();
    let mut launch = world.launch("cat /layer*; cat /top");
    let mut lowers = Vec::new();
    for n in 0..60 {
        let folder = world.path(&format!("{:x>200}", format!("layer-{n}")));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("layer{n:02}")), format!("{n}\n")).unwrap();
        fs::write(folder.join("top"), format!("top {n}\n")).unwrap();
        lowers.push(folder);
    }
    lowers.push(world.path("root"));
    let Rootfs::Overlay { lowers: all, .. } = &mut launch.rootfs else {
        unreachable!("launch makes an overlay")
    };
    *all = lowers;
    let (code, out) = world.run(&launch);
    let want: String = (0..60)
        .map(|n| format!("{n}\n"))
        .chain(["top 0\n".to_owned()])
        .collect();
    assert_eq!((code, out), (0, want));
}

#[test]
fn mounts_are_made_inside_the_root_whatever_the_image_says() {
    let world = world!();
    let outside = world.path("outside");
    fs::create_dir_all(&outside).unwrap();
    let volume = world.path("volume");
    fs::create_dir_all(&volume).unwrap();
    fs::write(volume.join("file"), "data\n").unwrap();
    let root = world.path("root");
    std::os::unix::fs::symlink(&outside, root.join("way-out")).unwrap();
    std::os::unix::fs::symlink("../../../../run/dangling", root.join("etc/dangling")).unwrap();
    let mut launch = world.launch(
        "cat /way-out/sub/file; touch /ro/x 2>&1; touch /rw/y; cat /etc/dangling /run/dangling; readlink /etc/dangling",
    );
    add_mount(
        &mut launch.spec,
        "/way-out/sub",
        "bind",
        &volume,
        &["rbind"],
    );
    add_mount(&mut launch.spec, "/ro", "bind", &volume, &["rbind", "ro"]);
    add_mount(
        &mut launch.spec,
        "/rw",
        "bind",
        &volume,
        &["rbind", "rprivate"],
    );
    add_mount(
        &mut launch.spec,
        "/etc/dangling",
        "bind",
        &volume.join("file"),
        &["bind"],
    );
    let (code, out) = world.run(&launch);
    assert_eq!(code, 0, "{out}");
    expect_test::expect![[r#"
        data
        touch: /ro/x: Read-only file system
        data
        data
        ../../../../run/dangling
    "#]]
    .assert_eq(&out);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert!(volume.join("y").exists());
}

#[test]
fn proc_on_a_link_of_the_image_is_refused() {
    let world = world!();
    let root = world.path("root");
    fs::remove_dir(root.join("proc")).unwrap();
    std::os::unix::fs::symlink("/tmp", root.join("proc")).unwrap();
    let error = world.runtime.start(&world.launch("true")).unwrap_err();
    assert!(chain(&error).contains("symbolic link"), "{}", chain(&error));
}

#[test]
fn injected_files_have_owner_mode_and_live_in_memory() {
    let world = world!();
    let mut launch = world.launch(
        "stat -c '%u:%g %a' /run/secrets/password /etc/app/config; cat /run/secrets/password; wc -c < /etc/app/config; \
         echo x > /run/secrets/password 2>&1; echo 'y' >> /etc/app/config; tail -c 3 /etc/app/config; grep secrets /proc/mounts | cut -d' ' -f1-3",
    );
    launch.files = vec![
        InjectedFile {
            path: "/run/secrets/password".into(),
            content: b"hunter2\n".to_vec(),
            uid: 33,
            gid: 50,
            mode: 0o440,
            writable: false,
        },
        InjectedFile {
            path: "/etc/app/config".into(),
            content: vec![b'z'; 300_000],
            uid: 0,
            gid: 0,
            mode: 0o644,
            writable: true,
        },
    ];
    let (code, out) = world.run(&launch);
    assert_eq!(code, 0, "{out}");
    expect_test::expect![[r#"
        33:50 440
        0:0 644
        hunter2
        300000
        zy
        tmpfs /run/secrets/password tmpfs
        sh: can't create /run/secrets/password: Read-only file system
    "#]]
    .assert_eq(&sorted_errors_last(&out));
    assert!(
        !format!("{launch:?}").contains("104, 117, 110"),
        "a secret is printed"
    );
    assert_eq!(
        fs::read(world.upper(&launch).join("run/secrets/password")).unwrap(),
        b""
    );
}

/// Standard error and output are two pipes; their order against each other is chance.
fn sorted_errors_last(out: &str) -> String {
    let (errors, rest): (Vec<&str>, Vec<&str>) =
        out.lines().partition(|line| line.starts_with("sh: "));
    rest.into_iter()
        .chain(errors)
        .map(|line| format!("{line}\n"))
        .collect()
}

#[test]
fn memory_limit_kills_and_is_told() {
    let world = world!();
    let mut launch =
        world.launch("head -c 200000000 /dev/zero | tail >/dev/null; echo survived $?");
    let memory = LinuxMemoryBuilder::default()
        .limit(30i64 << 20)
        .swap(30i64 << 20)
        .build()
        .unwrap();
    launch
        .spec
        .linux_mut()
        .as_mut()
        .unwrap()
        .resources_mut()
        .as_mut()
        .unwrap()
        .set_memory(Some(memory));
    let shim = world.runtime.start(&launch).unwrap();
    let mut told = false;
    let status = loop {
        match shim.next_event().unwrap() {
            hoist_runtime::Event::Oom => told = true,
            hoist_runtime::Event::Exited(status) => break status,
            other => panic!("{other:?}"),
        }
    };
    assert!(status.oom, "{status:?}");
    assert!(
        told,
        "the kill of a child is told, however soon the container ends after it"
    );
}

#[test]
fn pids_limit_holds() {
    let world = world!();
    let mut launch =
        world.launch("i=0; while [ $i -lt 40 ]; do sleep 100 & i=$((i+1)); done; echo all started");
    let pids = LinuxPidsBuilder::default().limit(10i64).build().unwrap();
    launch
        .spec
        .linux_mut()
        .as_mut()
        .unwrap()
        .resources_mut()
        .as_mut()
        .unwrap()
        .set_pids(Some(pids));
    let (_, out) = world.run(&launch);
    assert!(
        out.contains("can't fork") && !out.contains("all started"),
        "{out}"
    );
}

#[test]
fn limits_beyond_the_engines_are_lowered() {
    let world = world!();
    let mut launch = world.launch("ulimit -n; ulimit -c");
    let nofile = PosixRlimitBuilder::default()
        .typ(PosixRlimitType::RlimitNofile)
        .soft(1u64 << 30)
        .hard(1u64 << 30)
        .build()
        .unwrap();
    let core = PosixRlimitBuilder::default()
        .typ(PosixRlimitType::RlimitCore)
        .soft(0u64)
        .hard(0u64)
        .build()
        .unwrap();
    launch
        .spec
        .process_mut()
        .as_mut()
        .unwrap()
        .set_rlimits(Some(vec![nofile, core]));
    let (code, out) = world.run(&launch);
    let mut lines = out.lines();
    assert_eq!(code, 0);
    assert!(
        lines.next().unwrap().parse::<u64>().unwrap() > 1000,
        "{out}"
    );
    assert_eq!(lines.next(), Some("0"));
}

#[test]
fn sysctls_of_own_namespaces_only() {
    let world = world!();
    let mut launch = world.launch("cat /proc/sys/net/ipv4/ip_default_ttl /proc/sys/kernel/msgmax");
    let sysctls = [("net.ipv4.ip_default_ttl", "44"), ("kernel.msgmax", "4444")];
    let sysctls = sysctls.map(|(k, v)| (k.to_owned(), v.to_owned()));
    launch
        .spec
        .linux_mut()
        .as_mut()
        .unwrap()
        .set_sysctl(Some(sysctls.into()));
    assert_eq!(world.run(&launch).1, "44\n4444\n");
    let mut launch = world.launch("true");
    let panic = [("kernel.panic".to_owned(), "1".to_owned())];
    launch
        .spec
        .linux_mut()
        .as_mut()
        .unwrap()
        .set_sysctl(Some(panic.into()));
    let error = world.runtime.start(&launch).unwrap_err();
    assert!(
        chain(&error).contains("kernel.panic is not in a namespace"),
        "{}",
        chain(&error)
    );
    let mut launch = world.launch("true");
    launch.netns = Netns::Host;
    let ttl = [("net.ipv4.ip_default_ttl".to_owned(), "1".to_owned())];
    launch
        .spec
        .linux_mut()
        .as_mut()
        .unwrap()
        .set_sysctl(Some(ttl.into()));
    assert!(world.runtime.start(&launch).is_err());
}

#[test]
fn host_name_is_the_containers_own() {
    let world = world!();
    let before = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let mut launch = world.launch("hostname; cat /proc/sys/kernel/domainname");
    launch
        .spec
        .set_hostname(Some("db-1".to_owned()))
        .set_domainname(Some("example.org".to_owned()));
    assert_eq!(world.run(&launch).1, "db-1\nexample.org\n");
    assert_eq!(
        fs::read_to_string("/proc/sys/kernel/hostname").unwrap(),
        before
    );
}

#[test]
fn joined_namespaces_are_shared() {
    let world = world!();
    let first = world.launch("sleep 1000");
    let shim = world.runtime.start(&first).unwrap();
    let mut second =
        world.launch("cat /proc/1/cmdline | tr '\\0' ' '; readlink /proc/self/ns/net; readlink /proc/self/ns/ipc");
    second.join.pid = Some(shim.pid());
    second.join.ipc = Some(shim.pid());
    second.netns = Netns::Path(format!("/proc/{}/ns/net", shim.pid()).into());
    let (code, out) = world.run(&second);
    let ns = |name: &str| {
        fs::read_link(format!("/proc/{}/ns/{name}", shim.pid()))
            .unwrap()
            .display()
            .to_string()
    };
    assert_eq!(
        (code, out),
        (0, format!("sleep 1000 {}\n{}\n", ns("net"), ns("ipc")))
    );
    end(&shim);
}

#[test]
fn init_reaps_orphans_and_passes_signals() {
    let world = world!();
    let mut launch = world.launch(
        "trap 'echo stopping; exit 7' TERM; i=0; while [ $i -lt 20 ]; do (sh -c 'true &'); i=$((i+1)); done; \
         cat /proc/1/comm; echo ready; while :; do sleep 0.05; done",
    );
    launch.init = true;
    let shim = world.runtime.start(&launch).unwrap();
    while !String::from_utf8_lossy(&support::log_bytes(&launch)).contains("ready") {
        std::thread::yield_now();
    }
    let zombies = world
        .exec(
            &launch,
            &shim,
            &[
                "sh",
                "-c",
                "cat /proc/[0-9]*/stat 2>/dev/null | grep -c ' Z '",
            ],
        )
        .1;
    assert_eq!(zombies.trim(), "0");
    shim.kill(15).unwrap();
    assert_eq!(shim.wait().unwrap().code, 7);
    assert!(String::from_utf8_lossy(&support::log_bytes(&launch)).ends_with("ready\nstopping\n"));
}

/// A program of its own, since no applet makes these calls.
const PROBE: &str = r#"
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
static void show(const char *name, long result) { printf("%s %d\n", name, result < 0 ? errno : 0); }
int main(void) {
    show("keyctl", syscall(SYS_keyctl, 0, -3, 0));
    show("add_key", syscall(SYS_add_key, "user", "x", "y", 1, -3));
    show("io_uring_setup", syscall(425, 1, 0));
    show("AF_ALG", socket(38, SOCK_SEQPACKET, 0));
    show("AF_VSOCK", socket(40, SOCK_STREAM, 0));
    show("AF_UNIX", socket(AF_UNIX, SOCK_STREAM, 0));
    show("clone3", syscall(435, 0, 0));
    show("clone newuser", syscall(SYS_clone, 0x10000000, 0, 0, 0, 0));
    show("userfaultfd", syscall(SYS_userfaultfd, 0));
    show("bpf", syscall(SYS_bpf, 0, 0, 0));
    show("ptrace", syscall(SYS_ptrace, 16, 999999, 0, 0));
    show("personality", syscall(SYS_personality, 0xffffffff));
    show("no such call", syscall(1000));
    show("x32 call", syscall(0x40000000 + 39));
    return 0;
}
"#;

#[test]
fn filter_answers_as_dockers() {
    let world = world!();
    let source = world.path("probe.c");
    fs::write(&source, PROBE).unwrap();
    let mut compiler = std::process::Command::new("cc");
    let compiler = compiler
        .arg("-static")
        .arg("-o")
        .arg(world.path("root/bin/probe"))
        .arg(&source);
    if !compiler
        .output()
        .is_ok_and(|output| output.status.success())
    {
        eprintln!("skipped: needs a C compiler");
        return;
    }
    let (code, out) = world.sh("probe");
    assert_eq!(code, 0, "{out}");
    expect_test::expect![[r#"
        keyctl 1
        add_key 1
        io_uring_setup 1
        AF_ALG 1
        AF_VSOCK 1
        AF_UNIX 0
        clone3 38
        clone newuser 1
        userfaultfd 1
        bpf 1
        ptrace 3
        personality 0
        no such call 38
        x32 call 1
    "#]]
    .assert_eq(&out);
}

#[test]
fn unconfined_has_no_filter() {
    let world = world!();
    let mut launch = world.launch("grep Seccomp: /proc/self/status");
    launch.seccomp = Seccomp::Unconfined;
    assert_eq!(world.run(&launch).1, "Seccomp:\t0\n");
}
