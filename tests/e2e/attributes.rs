//! What an attribute of a service does, seen from inside the container. docs/compose-support.md names these tests.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lan;
use crate::world::{World, eventually, within};

const IDLE: &str = "image: busybox, stop_grace_period: 0s, command: [sleep, '100000']";

/// What docker gives a container that says nothing else.
const DEFAULT_GRACE: Duration = Duration::from_secs(10);

/// Output of a shell's line in a service's container.
#[track_caller]
fn inside(world: &World, service: &str, line: &str) -> String {
    world
        .ok(&["exec", "-T", service, "sh", "-c", line])
        .trim_end()
        .to_owned()
}

/// A container as the engine's API describes it.
pub(crate) fn inspect(world: &World, service: &str) -> Value {
    let id = world.field(service, "ID");
    let output = Command::new("curl")
        .args(["-s", "--unix-socket"])
        .arg(world.run_dir.join("hoist.sock"))
        .arg(format!("http://hoist/containers/{id}/json"))
        .output()
        .expect("run curl");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// A folder of the host whose mounts others may receive.
struct Shared(PathBuf);

impl Shared {
    fn at(path: &Path) -> Self {
        let mount = |args: &[&str]| {
            let status = Command::new("mount")
                .args(args)
                .arg(path)
                .status()
                .expect("run mount");
            assert!(status.success(), "mount {args:?}");
        };
        mount(&["--bind", &path.display().to_string()]);
        let shared = Self(path.to_owned());
        mount(&["--make-shared"]);
        shared
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_process_is_what_the_file_says() {
    let Some(world) = World::new("attributes of the process") else {
        return;
    };
    world.file("one.env", "LEVEL=1\nQUOTED='a b'\n");
    world.file("raw.env", "RAW='a b'\n");
    world.file("labels", "com.example.file=yes\n");
    world.busybox().file(
        "compose.yaml",
        &format!(
            r#"
name: process
services:
  web:
    {{ {IDLE}, container_name: the-web, hostname: front, domainname: example.org, user: '1000:1001', group_add: ['1002'],
      working_dir: /tmp, init: true, oom_score_adj: 77, tty: false, annotations: {{ com.example.note: kept }},
      environment: {{ DIRECT: 'yes', LEVEL: '2' }}, labels: {{ com.example.a: b }}, label_file: labels, platform: linux/amd64,
      env_file: [one.env, {{ path: raw.env, format: raw }}, {{ path: missing.env, required: false }}],
      sysctls: {{ net.ipv4.ip_unprivileged_port_start: 81 }}, ulimits: {{ nofile: {{ soft: 100, hard: 200 }}, nproc: 555 }} }}
  entered: {{ image: busybox, entrypoint: [sh, -c, 'echo "$$0 $$1"; exec sleep 1000'], command: [zero, one], tty: true, stdin_open: true, stop_grace_period: 0s }}
  stopped:
    image: busybox
    command: [sh, -c, 'trap "echo graceful >/out/said; exit 0" USR1; touch /out/ready; while :; do sleep 1; done']
    stop_signal: SIGUSR1
    volumes: ['./out:/out']
  stubborn: {{ image: busybox, command: [sh, -c, 'trap "" TERM; while :; do sleep 1; done'], stop_grace_period: 100ms }}
"#
        ),
    );
    fs::create_dir(world.project.join("out")).expect("make a folder");
    world.ok(&["up", "-d"]);
    assert_eq!(world.field("web", "Name"), "the-web");
    assert_eq!(inside(&world, "web", "hostname"), "front");
    assert_eq!(
        inside(&world, "web", "cat /proc/sys/kernel/domainname"),
        "example.org"
    );
    assert_eq!(
        inside(
            &world,
            "web",
            "id -u; id -g; grep ^Groups /proc/self/status | tr -d '\\t '"
        ),
        "1000\n1001\nGroups:10011002"
    );
    assert_eq!(inside(&world, "web", "pwd"), "/tmp");
    assert_eq!(
        inside(&world, "web", "cat /proc/1/comm /proc/2/comm"),
        "hoist-init\nsleep",
        "an init stands before it"
    );
    assert_eq!(
        inside(
            &world,
            "web",
            "echo by-path >/proc/1/fd/1 && stat -c %u /proc/1"
        ),
        "1000"
    );
    assert!(
        world
            .ok(&["logs", "--no-log-prefix", "web"])
            .contains("by-path")
    );
    assert_eq!(
        inside(
            &world,
            "web",
            "cat /proc/1/oom_score_adj /proc/self/oom_score_adj"
        ),
        "77\n77"
    );
    assert_eq!(
        inside(&world, "web", "echo $DIRECT $LEVEL $QUOTED $RAW"),
        "yes 2 a b 'a b'"
    );
    assert_eq!(
        inside(
            &world,
            "web",
            "cat /proc/sys/net/ipv4/ip_unprivileged_port_start"
        ),
        "81"
    );
    for process in ["1", "2", "self"] {
        let limits = inside(
            &world,
            "web",
            &format!("grep -E 'open files|processes' /proc/{process}/limits | tr -s ' '"),
        );
        assert!(
            limits.contains("Max open files 100 200") && limits.contains("Max processes 555 555"),
            "{limits}"
        );
    }
    let missing = world.hoist(&["exec", "-T", "-w", "/no/such", "web", "pwd"]);
    assert!(
        missing.code != 0 && missing.stderr.contains("chdir to cwd (\"/no/such\")"),
        "{missing:?}"
    );
    let seen = inspect(&world, "web");
    assert_eq!(seen["Config"]["Labels"]["com.example.a"], "b");
    assert_eq!(seen["Config"]["Labels"]["com.example.file"], "yes");
    assert_eq!(
        seen["HostConfig"]["Annotations"]["com.example.note"],
        "kept"
    );
    eventually("it says its words", || {
        world
            .ok(&["logs", "--no-log-prefix", "entered"])
            .contains("zero one")
    });
    let entered = inspect(&world, "entered");
    assert_eq!(
        (&entered["Config"]["Tty"], &entered["Config"]["OpenStdin"]),
        (&true.into(), &true.into())
    );
    eventually("the trap is set", || {
        world.project.join("out/ready").exists()
    });
    world.ok(&["stop", "stopped"]);
    assert_eq!(
        fs::read_to_string(world.project.join("out/said")).expect("a word"),
        "graceful\n"
    );
    assert_eq!(world.field("stopped", "ExitCode"), "0");
    let start = Instant::now();
    world.ok(&["stop", "stubborn"]);
    assert!(start.elapsed() < DEFAULT_GRACE, "it is given its own time");
    assert_eq!(world.field("stubborn", "ExitCode"), "137");
    world.finish();
}

#[test]
fn a_container_is_confined_as_the_file_says() {
    let Some(world) = World::new("attributes of confinement") else {
        return;
    };
    world.busybox().file(
        "compose.yaml",
        &format!(
            r#"
name: confined
services:
  plain: {{ {IDLE} }}
  less: {{ {IDLE}, cap_drop: [ALL], cap_add: [NET_ADMIN], security_opt: [no-new-privileges:true, 'seccomp:unconfined'], read_only: true }}
  more: {{ {IDLE}, privileged: true }}
  host: {{ {IDLE}, pid: host, uts: host, ipc: host }}
  guest: {{ {IDLE}, pid: 'service:plain', ipc: 'service:shared', uts: 'service:plain' }}
  shared: {{ {IDLE}, ipc: shareable }}
  device: {{ {IDLE}, devices: ['/dev/null:/dev/nothing:rw', {{ source: /dev/loop-control, target: /dev/naught, permissions: r }}] }}
"#
        ),
    );
    world.ok(&["up", "-d"]);
    let status = |service: &str, field: &str| {
        inside(
            &world,
            service,
            &format!("sed -n 's/^{field}:[[:space:]]*//p' /proc/self/status"),
        )
    };
    assert_eq!(
        status("plain", "CapEff"),
        "00000000a80425fb",
        "docker's set"
    );
    assert_eq!(status("less", "CapEff"), "0000000000001000");
    assert_eq!(
        (status("less", "NoNewPrivs"), status("plain", "NoNewPrivs")),
        ("1".into(), "0".into())
    );
    let filters = |service: &str| {
        status(service, "Seccomp_filters")
            .parse::<u32>()
            .expect("a number")
    };
    assert_eq!(filters("plain"), filters("less") + 1);
    assert_eq!(
        inside(&world, "less", "touch /x 2>/dev/null || echo refused"),
        "refused"
    );
    assert_eq!(inside(&world, "plain", "touch /x && echo made"), "made");
    assert_ne!(status("more", "CapEff"), status("plain", "CapEff"));
    let namespace = |kind: &str| {
        fs::read_link(format!("/proc/self/ns/{kind}"))
            .expect("a namespace")
            .display()
            .to_string()
    };
    for kind in ["pid", "uts", "ipc"] {
        let link = format!("readlink /proc/self/ns/{kind}");
        assert_eq!(inside(&world, "host", &link), namespace(kind), "{kind}");
        assert_ne!(inside(&world, "plain", &link), namespace(kind), "{kind}");
    }
    let of = |service: &str, kind: &str| {
        inside(&world, service, &format!("readlink /proc/self/ns/{kind}"))
    };
    assert_eq!(of("guest", "pid"), of("plain", "pid"));
    assert_eq!(of("guest", "ipc"), of("shared", "ipc"));
    assert_eq!(of("guest", "uts"), of("plain", "uts"));
    assert_eq!(
        inside(&world, "device", "echo x >/dev/nothing && echo written"),
        "written"
    );
    assert_eq!(
        inside(&world, "device", "exec 3</dev/naught && echo opened"),
        "opened"
    );
    assert_eq!(
        inside(
            &world,
            "device",
            "(exec 3>/dev/naught) 2>/dev/null || echo refused"
        ),
        "refused"
    );
    world.finish();
}

#[test]
fn limits_reach_the_cgroup() {
    let Some(world) = World::new("attributes of limits") else {
        return;
    };
    world.busybox().file(
        "compose.yaml",
        &format!(
            r#"
name: limits
services:
  own: {{ {IDLE}, cpus: 0.5, cpu_shares: 512, cpuset: '0', mem_limit: 64m, mem_reservation: 32m, memswap_limit: 96m, mem_swappiness: 20, pids_limit: 50, oom_kill_disable: true, shm_size: 1m }}
  quota: {{ {IDLE}, cpu_period: 50000, cpu_quota: 25000, mem_swappiness: -1 }}
  zero: {{ {IDLE}, mem_limit: 0, mem_reservation: 0, memswap_limit: 0, mem_swappiness: 0, cpus: 0, cpu_shares: 0, cpu_quota: 0, cpu_period: 0, pids_limit: 0, shm_size: 0 }}
  zeros: {{ {IDLE}, deploy: {{ resources: {{ limits: {{ cpus: '0', memory: '0', pids: 0 }}, reservations: {{ memory: '0' }} }} }} }}
  deployed: {{ {IDLE}, deploy: {{ resources: {{ limits: {{ cpus: '0.25', memory: 48M, pids: 40 }}, reservations: {{ memory: 16M }} }} }} }}
"#
        ),
    );
    let up = world.hoist(&["up", "-d"]);
    assert_eq!(up.code, 0, "{up:?}");
    let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let file = |service: &str, v1: &str, v2: &str| {
        inside(
            &world,
            service,
            &format!("cat /sys/fs/cgroup/{v1} 2>/dev/null || cat /sys/fs/cgroup/{v2}"),
        )
    };
    let memory = |service: &str| file(service, "memory/memory.limit_in_bytes", "memory.max");
    let reserved = |service: &str| file(service, "memory/memory.soft_limit_in_bytes", "memory.low");
    let pids = |service: &str| file(service, "pids/pids.max", "pids.max");
    let quota = |service: &str| {
        let both = "cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us";
        file(service, both, "cpu.max").replace('\n', " ")
    };
    assert_eq!(
        (memory("own"), reserved("own"), pids("own")),
        ("67108864".into(), "33554432".into(), "50".into())
    );
    assert_eq!(
        (memory("deployed"), reserved("deployed"), pids("deployed")),
        ("50331648".into(), "16777216".into(), "40".into())
    );
    assert_eq!(quota("own"), "50000 100000");
    assert_eq!(quota("quota"), "25000 50000");
    assert_eq!(quota("deployed"), "25000 100000");
    assert_eq!(file("own", "cpuset/cpuset.cpus", "cpuset.cpus"), "0");
    let shares = file("own", "cpu/cpu.shares", "cpu.weight");
    assert_eq!(shares, if v2 { "20" } else { "512" });
    let unlimited = if v2 { "max" } else { "9223372036854771712" };
    assert_eq!(
        (memory("zero"), memory("zeros")),
        (unlimited.into(), unlimited.into())
    );
    // What this host cannot keep is said, and what it can is kept.
    let swap = file(
        "own",
        "memory/memory.memsw.limit_in_bytes",
        "memory.swap.max 2>/dev/null || true",
    );
    if swap.is_empty() {
        assert!(
            up.stderr.contains("memswap_limit has no effect"),
            "{}",
            up.stderr
        );
    } else {
        assert_eq!(swap, if v2 { "33554432" } else { "100663296" });
    }
    if v2 {
        assert!(
            up.stderr.contains("oom_kill_disable has no effect"),
            "{}",
            up.stderr
        );
    } else {
        let killer = inside(
            &world,
            "own",
            "grep oom_kill_disable /sys/fs/cgroup/memory/memory.oom_control",
        );
        assert_eq!(killer, "oom_kill_disable 1");
    }
    let swappiness =
        |service: &str| inspect(&world, service)["HostConfig"]["MemorySwappiness"].clone();
    assert_eq!(
        (swappiness("own"), swappiness("zero"), swappiness("quota")),
        (20.into(), 0.into(), Value::Null)
    );
    if Path::new("/sys/fs/cgroup/memory/memory.swappiness").exists() {
        let kernel = |service: &str| {
            inside(
                &world,
                service,
                "cat /sys/fs/cgroup/memory/memory.swappiness",
            )
        };
        let host =
            fs::read_to_string("/sys/fs/cgroup/memory/memory.swappiness").expect("the host's");
        assert_eq!(
            (kernel("own").as_str(), kernel("zero").as_str()),
            ("20", "0")
        );
        assert_eq!(
            kernel("quota"),
            host.trim_end(),
            "-1 leaves it as it is on the host"
        );
    } else {
        assert!(
            up.stderr
                .contains(r#"service "own": mem_swappiness has no effect"#),
            "{}",
            up.stderr
        );
        assert!(
            !up.stderr.contains(r#"service "quota": mem_swappiness"#),
            "{}",
            up.stderr
        );
    }
    assert_eq!(
        inside(
            &world,
            "own",
            "df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2"
        ),
        "1024"
    );
    world.finish();
}

#[test]
fn files_are_mounted_as_the_file_says() {
    let Some(world) = World::new("attributes of mounts") else {
        return;
    };
    world.file("secret", "hush\n");
    world.file("config", "listen\n");
    world.file("shown/text", "shown\n");
    world.file("etc/kept", "kept\n");
    let sub = world.project.join("shown/sub");
    fs::DirBuilder::new()
        .mode(0o750)
        .create(&sub)
        .expect("make a folder");
    world.busybox().file(
        "compose.yaml",
        &format!(
            r#"
name: mounts
services:
  web:
    {{ {IDLE}, tmpfs: ['/short:mode=700,size=1m,uid=5,gid=6', '/run:exec', '/shown/sub:noatime', '/new'],
      secrets: [plain, {{ source: plain, target: placed, uid: '7', gid: '8', mode: 0400 }}, spoken],
      configs: [listen, noted, {{ source: written, target: /etc/written, uid: '9', gid: '10', mode: 0440 }}],
      volumes: [ './shown:/shown:ro,z', 'data:/data', '/anonymous',
        {{ type: bind, source: ./made, target: /made, bind: {{ create_host_path: true, propagation: rslave }} }},
        {{ type: tmpfs, target: /long, tmpfs: {{ size: 2m, mode: 0700 }} }},
        {{ type: volume, source: data, target: /empty, volume: {{ nocopy: true }}, read_only: true }} ] }}
  etc: {{ {IDLE}, volumes: ['./etc:/etc', './shown/text:/etc/deep/text:ro', '/etc/deep'] }}
  bare: {{ build: {{ dockerfile_inline: "FROM busybox\nRUN mkdir /full && touch /full/file\n" }}, stop_grace_period: 0s, command: [sleep, '100000'],
      volumes: [ {{ type: volume, source: bare, target: /full, volume: {{ nocopy: true }} }} ] }}
  part: {{ {IDLE}, depends_on: [web], volumes: [ {{ type: volume, source: data, target: /part, volume: {{ subpath: sub }} }} ], profiles: [later] }}
volumes: {{ bare: {{}}, data: {{ labels: {{ com.example.kind: data }} }} }}
secrets: {{ plain: {{ file: secret }}, spoken: {{ environment: SPOKEN }} }}
configs: {{ listen: {{ file: config }}, noted: {{ environment: SPOKEN }}, written: {{ content: 'written for ${{NAME:-nobody}}' }} }}
"#
        ),
    );
    world.file(".env", "SPOKEN=said\n");
    world.ok(&["up", "-d"]);
    assert!(
        world.project.join("made").is_dir(),
        "the folder of the host was made"
    );
    let _shared = Shared::at(&world.project.join("made"));
    world.ok(&["up", "-d", "--force-recreate"]);
    let stat = |path: &str| inside(&world, "web", &format!("stat -c '%u %g %a' {path}"));
    assert_eq!(
        inside(
            &world,
            "web",
            "cat /run/secrets/plain /run/secrets/placed /run/secrets/spoken /listen /noted /etc/written"
        ),
        "hush\nhush\nsaidlisten\nsaidwritten for nobody"
    );
    assert_eq!(stat("/run/secrets/plain"), "0 0 444");
    assert_eq!(stat("/run/secrets/placed"), "7 8 400");
    assert_eq!(stat("/etc/written"), "9 10 440");
    assert_eq!(
        (stat("/short"), stat("/long")),
        ("5 6 700".into(), "0 0 700".into())
    );
    // An existing folder keeps its mode; a new one is world-writable.
    assert_eq!(
        (stat("/shown/sub"), stat("/new")),
        ("0 0 750".into(), "0 0 1777".into())
    );
    let script = |folder: &str| {
        format!(
            "printf '#!/bin/sh\necho ran' >{folder}/x; chmod +x {folder}/x; {folder}/x 2>/dev/null || echo refused"
        )
    };
    assert_eq!(inside(&world, "web", &script("/run")), "ran");
    assert_eq!(inside(&world, "web", &script("/new")), "refused");
    assert!(inside(&world, "web", "grep ' /shown/sub ' /proc/mounts").contains("noatime"));
    // The files exist even if something is mounted on their folder.
    assert!(inside(&world, "etc", "cat /etc/hosts /etc/kept").ends_with("kept"));
    assert_eq!(
        inside(
            &world,
            "etc",
            "getent hosts etc >/dev/null 2>&1 || nslookup web >/dev/null && echo found"
        ),
        "found"
    );
    let size = |path: &str| {
        inside(
            &world,
            "web",
            &format!("df -k {path} | tail -1 | tr -s ' ' | cut -d' ' -f2"),
        )
    };
    assert_eq!(
        (size("/short"), size("/long")),
        ("1024".into(), "2048".into())
    );
    assert_eq!(
        inside(
            &world,
            "web",
            "cat /shown/text; touch /shown/x 2>/dev/null || echo refused"
        ),
        "shown\nrefused"
    );
    assert_eq!(
        inside(&world, "web", "touch /empty/x 2>/dev/null || echo refused"),
        "refused"
    );
    assert_eq!(
        inside(&world, "bare", "ls /full"),
        "",
        "the volume does not begin with the image's files"
    );
    let mounts = inside(
        &world,
        "web",
        "grep -E ' /(made|shown) ' /proc/self/mountinfo",
    );
    let line = |path: &str| {
        mounts
            .lines()
            .find(|line| line.contains(path))
            .expect("a mount")
            .to_owned()
    };
    assert!(line(" /made ").contains("master:"), "{mounts}");
    assert!(!line(" /shown ").contains("master:"), "{mounts}");
    inside(
        &world,
        "web",
        "mkdir /data/sub && echo deep >/data/sub/text && touch /anonymous/x",
    );
    world.ok(&["--profile", "later", "up", "-d"]);
    assert_eq!(inside(&world, "part", "cat /part/text"), "deep");
    assert!(
        world
            .ok(&["volume", "inspect", "mounts_data"])
            .contains("com.example.kind")
    );
    world.ok(&["--profile", "later", "down", "-v"]);
    world.finish();
}

#[test]
fn a_network_is_joined_as_the_file_says() {
    let Some(world) = World::new("attributes of networks") else {
        return;
    };
    world.busybox().file(
        "compose.yaml",
        &format!(
            r#"
name: joined
services:
  web:
    {{ {IDLE}, dns: [10.77.9.3], dns_search: [one.example], dns_opt: ['ndots:3'], extra_hosts: ['far=10.1.1.1', 'here=host-gateway'], expose: ['9000'],
      networks: {{ back: {{ mac_address: '02:42:00:00:00:07', interface_name: back0 }}, front: {{ gw_priority: 5, interface_name: front0 }} }} }}
  single: {{ {IDLE}, mac_address: '02:42:00:00:00:09', networks: [back], links: ['web:spider'] }}
  ordered: {{ {IDLE}, networks: {{ back: {{}}, front: {{ priority: 10 }} }} }}
  guest: {{ {IDLE}, network_mode: 'service:web' }}
  alone: {{ {IDLE}, network_mode: none }}
  host: {{ {IDLE}, network_mode: host }}
networks:
  front: {{ labels: {{ com.example.kind: front }}, driver_opts: {{ com.docker.network.driver.mtu: '1400' }} }}
  back: {{ ipam: {{ driver: default, config: [ {{ subnet: 10.77.9.0/24, ip_range: 10.77.9.128/29, gateway: 10.77.9.3,
      aux_addresses: {{ one: 10.77.9.128, two: 10.77.9.129, three: 10.77.9.130 }} }} ] }} }}
"#
        ),
    );
    world.ok(&["up", "-d"]);
    assert_eq!(
        inside(&world, "web", "cat /sys/class/net/back0/address"),
        "02:42:00:00:00:07"
    );
    assert_eq!(
        inside(
            &world,
            "web",
            "cat /sys/class/net/front0/mtu /sys/class/net/back0/mtu"
        ),
        "1400\n1500"
    );
    assert_eq!(
        inside(&world, "single", "cat /sys/class/net/eth0/address"),
        "02:42:00:00:00:09"
    );
    // busybox prints all routes regardless of its arguments.
    let route = inside(&world, "web", "ip route | grep ^default");
    assert!(route.contains("dev front0"), "{route}");
    let route = inside(&world, "single", "ip route show default");
    assert!(route.contains("via 10.77.9.3"), "{route}");
    for (service, interface) in [("single", "eth0"), ("web", "back0"), ("ordered", "eth1")] {
        let address = inside(
            &world,
            service,
            &format!("ip -4 -o address show {interface}"),
        );
        let last: u8 = address
            .split("10.77.9.")
            .nth(1)
            .and_then(|rest| rest.split('/').next()?.parse().ok())
            .expect("an address");
        assert!(
            (131..136).contains(&last),
            "in the range, and none of those that are kept: {address}"
        );
    }
    lan::serve_names(
        UdpSocket::bind((Ipv4Addr::new(10, 77, 9, 3), 53)).expect("listen on the bridge"),
    );
    let answer = inside(
        &world,
        "web",
        &format!("nslookup -type=a {}", lan::OUTSIDE_NAME),
    );
    assert!(
        answer.contains(&lan::OUTSIDE.to_string()),
        "the name server of the file is asked: {answer}"
    );
    let linked = inside(&world, "single", "nslookup -type=a spider 2>&1");
    assert!(
        linked.contains("10.77.9."),
        "the alias of a link is a name: {linked}"
    );
    let resolver = inside(&world, "web", "cat /etc/resolv.conf");
    assert!(
        resolver.contains("search one.example") && resolver.contains("ndots:3"),
        "{resolver}"
    );
    let hosts = inside(&world, "web", "cat /etc/hosts");
    assert!(
        hosts
            .lines()
            .any(|line| line.split_whitespace().eq(["10.1.1.1", "far"])),
        "{hosts}"
    );
    assert!(
        hosts
            .lines()
            .any(|line| line.ends_with("here") && !line.contains("host-gateway")),
        "{hosts}"
    );
    let links = |service: &str| inside(&world, service, "ls /sys/class/net | tr '\\n' ' '");
    assert_eq!(links("guest"), links("web"));
    assert_eq!(links("alone"), "lo");
    let namespace = fs::read_link("/proc/thread-self/ns/net")
        .expect("a namespace")
        .display()
        .to_string();
    assert_eq!(
        inside(&world, "host", "readlink /proc/self/ns/net"),
        namespace
    );
    assert!(inspect(&world, "web")["Config"]["ExposedPorts"]["9000/tcp"].is_object());
    let front = world.ok(&["network", "inspect", "joined_front"]);
    let front: serde_json::Value = serde_json::from_str(&front).expect("a document");
    let label = |name: &str| {
        front[0]["Labels"][name]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(label("com.example.kind"), "front");
    assert_eq!(
        (
            label("com.docker.compose.project"),
            label("com.docker.compose.network")
        ),
        ("joined".into(), "front".into())
    );
    assert_eq!(label("com.docker.compose.config-hash").len(), 64);
    world.finish();
}

#[test]
fn health_and_restarts_follow_the_file() {
    let Some(world) = World::new("attributes of health") else {
        return;
    };
    world.busybox().file(
        "compose.yaml",
        &format!(
            r#"
name: health
services:
  shell: {{ {IDLE}, healthcheck: {{ test: 'test -e /ok', interval: 50ms, retries: 1, start_period: 1h }} }}
  patient: {{ {IDLE}, healthcheck: {{ test: [CMD, 'false'], interval: 50ms, retries: 100000 }} }}
  hanging: {{ {IDLE}, healthcheck: {{ test: [CMD, sleep, '1000'], interval: 50ms, timeout: 100ms, retries: 1 }} }}
  exec: {{ {IDLE}, healthcheck: {{ test: [CMD, 'false'], interval: 50ms, retries: 2 }} }}
  off: {{ build: {{ dockerfile_inline: "FROM busybox\nHEALTHCHECK CMD false\n" }}, stop_grace_period: 0s, command: [sleep, '100000'], healthcheck: {{ disable: true }} }}
  thrice: {{ image: busybox, command: ['false'], deploy: {{ restart_policy: {{ condition: on-failure, max_attempts: 2, delay: 10ms }} }} }}
  content: {{ image: busybox, command: ['true'], deploy: {{ restart_policy: {{ condition: on-failure, delay: 10ms }} }} }}
  waiting: {{ image: busybox, command: ['false'], deploy: {{ restart_policy: {{ delay: 1h }} }} }}
  forgiven: {{ image: busybox, command: [sh, -c, 'echo run >>/out/runs; sleep 0.2; false'], volumes: ['./out:/out'],
      deploy: {{ restart_policy: {{ max_attempts: 1, delay: 10ms, window: 100ms }} }} }}
  twice: {{ image: busybox, command: ['false'], restart: 'on-failure:1' }}
  logged: {{ image: busybox, command: [seq, '5000'], logging: {{ driver: json-file, options: {{ max-size: 1k, max-file: '2' }} }} }}
  silent: {{ image: busybox, command: [echo, hello], logging: {{ driver: none }} }}
  many: {{ {IDLE}, scale: 2 }}
  deployed: {{ {IDLE}, deploy: {{ replicas: 2 }} }}
  everywhere: {{ {IDLE}, deploy: {{ mode: global, replicas: 3 }} }}
"#
        ),
    );
    world.ok(&["up", "-d"]);
    let health = |service: &str| inspect(&world, service)["State"]["Health"].clone();
    within(Duration::from_secs(15), "what hangs is unhealthy", || {
        world.field("hanging", "Health") == "unhealthy"
    });
    eventually("what fails is unhealthy", || {
        world.field("exec", "Health") == "unhealthy"
    });
    eventually("it fails many times", || {
        health("patient")["FailingStreak"].as_u64() > Some(5)
    });
    assert_eq!(
        health("patient")["Status"],
        "starting",
        "it may fail more often"
    );
    assert_eq!(world.field("off", "Health"), "");
    assert_eq!(
        world.field("shell", "Health"),
        "starting",
        "failures within the start period do not count"
    );
    inside(&world, "shell", "touch /ok");
    eventually("what succeeds is healthy", || {
        world.field("shell", "Health") == "healthy"
    });
    let restarts = |service: &str| inspect(&world, service)["RestartCount"].as_u64();
    eventually("it gave up", || {
        world.field("thrice", "State") == "exited" && restarts("thrice") == Some(2)
    });
    eventually("it gave up", || {
        world.field("twice", "State") == "exited" && restarts("twice") == Some(1)
    });
    let runs = || {
        fs::read_to_string(world.project.join("out/runs"))
            .unwrap_or_default()
            .lines()
            .count()
    };
    eventually("what ran long enough is started again", || runs() >= 4);
    assert_eq!(
        (world.field("content", "State"), restarts("content")),
        ("exited".to_owned(), Some(0))
    );
    assert_eq!(
        (world.field("waiting", "State"), restarts("waiting")),
        ("restarting".to_owned(), Some(0))
    );
    eventually("it said it", || {
        world
            .ok(&["logs", "--no-log-prefix", "logged"])
            .contains("5000")
    });
    let kept = world.ok(&["logs", "--no-log-prefix", "logged"]);
    assert!(
        kept.lines().all(|line| line != "1"),
        "only the end is kept: {kept}"
    );
    assert!(
        !world
            .hoist(&["logs", "--no-log-prefix", "silent"])
            .stdout
            .contains("hello")
    );
    let count = |service: &str| {
        world
            .ps()
            .iter()
            .filter(|container| container["Service"] == service)
            .count()
    };
    // On one machine a global service is one container.
    assert_eq!(
        (count("many"), count("deployed"), count("everywhere")),
        (2, 2, 1)
    );
    world.finish();
}

#[test]
fn services_may_keep_their_output_to_themselves() {
    let Some(world) = World::new("attach") else {
        return;
    };
    world.busybox().file(
        "compose.yaml",
        "name: attach\nservices:\n  loud: { image: busybox, command: [echo, heard] }\n  \
         quiet: { image: busybox, command: [echo, whispered], attach: false }\n",
    );
    let shown = world.ok(&["up"]);
    assert!(
        shown.contains("heard") && !shown.contains("whispered"),
        "{shown}"
    );
    assert!(
        world.ok(&["logs", "quiet"]).contains("whispered"),
        "it is kept all the same"
    );
    world.finish();
}

#[test]
fn progress_and_orphans_follow_the_env_file() {
    let Some(world) = World::new("COMPOSE_ variables of the engine's verbs") else {
        return;
    };
    let stack = |more: &str| format!("name: status\nservices:\n  web: {{ {IDLE} }}\n{more}");
    world
        .busybox()
        .file("compose.yaml", &stack(&format!("  old: {{ {IDLE} }}\n")));
    world.ok(&["up", "-d"]);
    world.file("compose.yaml", &stack(""));
    let orphans = |run: &crate::world::Run| run.stderr.contains("--remove-orphans");
    assert!(orphans(&world.hoist(&["up", "-d"])));
    world.file(
        ".env",
        "COMPOSE_IGNORE_ORPHANS=1\nCOMPOSE_STATUS_STDOUT=1\n",
    );
    let run = world.hoist(&["up", "-d", "--force-recreate"]);
    assert!(
        !orphans(&run) && run.stdout.contains("status-web-1"),
        "{run:?}"
    );
    assert!(!run.stderr.contains("status-web-1"), "{run:?}");
    world.file(".env", "COMPOSE_REMOVE_ORPHANS=1\n");
    world.ok(&["up", "-d"]);
    assert_eq!(world.field("old", "State"), "absent");
    world.finish();
}
