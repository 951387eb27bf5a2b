//! A host that runs Docker, which drops what it does not know on its way through, and a resolver on port 53.
//!
//! Docker is the one of the benchmarks' peers: in its own root, but on the network of the scenario's host.

use std::fs;
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};

use crate::lan::{HOST, OUTSIDE, OUTSIDE_NAME, on_a_lan};
use crate::peers::{self, Network, Peers};
use crate::world::{World, eventually, note};

const CLAIM: &str = "beside docker";
const STACK: &str = r#"
name: beside
services:
  web:
    image: busybox
    stop_grace_period: 0s
    command: [sh, -c, "mkdir -p /www; echo hoist >/www/index.html; exec httpd -f -p 80 -h /www"]
    ports: ["18130:80"]
  client: { image: busybox, stop_grace_period: 0s, command: [sleep, "100000"] }
"#;
const DOCKERS_PORT: u16 = 18131;

/// Listens on port 53 of all addresses, as many hosts have it.
struct Resolver(Child);

impl Resolver {
    fn start() -> Option<Self> {
        let known = format!("--address=/{OUTSIDE_NAME}/{OUTSIDE}");
        let mut command = Command::new("/usr/sbin/dnsmasq");
        command.args([
            "--keep-in-foreground",
            "--no-resolv",
            "--no-hosts",
            "--conf-file=/dev/null",
            &known,
        ]);
        command
            .args(["--user=root", "--pid-file"])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let started = command.spawn().ok().map(Self)?;
        // In the mount namespace of the scenario, over the real file.
        fs::write("/etc/resolv.conf", "nameserver 127.0.0.1\n").expect("name the resolver");
        eventually("the resolver listens", || {
            std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 53)).is_err()
        });
        Some(started)
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn docker_user() -> String {
    let output = Command::new("nft")
        .args(["list", "chain", "ip", "filter", "DOCKER-USER"])
        .output()
        .expect("run nft");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_stack_lives_beside_docker_and_a_resolver() {
    let Some(root) = peers::root(CLAIM) else {
        return;
    };
    on_a_lan(CLAIM, |outside| {
        let Some(world) = World::new(CLAIM) else {
            return;
        };
        let Some(_resolver) = Resolver::start() else {
            note(&format!("skipped: {CLAIM}: needs dnsmasq"));
            return;
        };
        let docker = Peers::start(&root, &world.project.join("docker"), Network::Shared);
        docker.ok(&["iptables", "--policy", "FORWARD", "DROP"]);
        let bridged =
            fs::read_to_string("/proc/sys/net/bridge/bridge-nf-call-iptables").unwrap_or_default();
        note(&format!("bridge-nf-call-iptables is {:?}", bridged.trim()));
        docker.ok(&[
            "sh",
            "-c",
            "tar -c -C /usr/bin busybox | docker import - busybox >/dev/null",
        ]);
        let serve = "/busybox mkdir /www; echo docker >/www/index.html; exec /busybox httpd -f -p 80 -h /www";
        let serve = serve.replace("echo", "/busybox echo");
        let port = format!("{DOCKERS_PORT}:80");
        docker.ok(&[
            "docker", "run", "-d", "--name", "theirs", "-p", &port, "busybox", "/busybox", "sh",
            "-c", &serve,
        ]);

        world.busybox().file("compose.yaml", STACK);
        world.ok(&["up", "-d"]);
        let (ours, theirs) = (Some("hoist\n".to_owned()), Some("docker\n".to_owned()));
        let url = |address: Ipv4Addr, port: u16| format!("http://{address}:{port}/");
        let from_ours = |address: &str| {
            let run = world.hoist(&[
                "exec", "-T", "client", "timeout", "5", "wget", "-qO-", address,
            ]);
            (run.code == 0).then_some(run.stdout)
        };
        let from_theirs = |address: &str| {
            let wget = [
                "/busybox", "timeout", "5", "/busybox", "wget", "-qO-", address,
            ];
            let mut command = docker.command(&[&["docker", "exec", "theirs"], &wget[..]].concat());
            let output = command.output().expect("run docker");
            output
                .status
                .success()
                .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
        };
        eventually("the server listens", || {
            world.get(&url(Ipv4Addr::LOCALHOST, 18130)) == ours
        });
        assert_eq!(
            outside.inside(|| world.get(&url(HOST, 18130))),
            ours,
            "published"
        );
        assert_eq!(from_ours("http://web/"), ours, "by name");
        let address = world.ok(&["exec", "-T", "web", "hostname", "-i"]);
        assert_eq!(
            from_ours(&format!("http://{}/", address.trim())),
            ours,
            "by address, over the bridge"
        );
        assert_eq!(from_ours(&url(HOST, 18130)), ours, "by the host's address");
        let resolved = world.ok(&["exec", "-T", "client", "nslookup", "-type=a", OUTSIDE_NAME]);
        assert!(
            resolved.contains(&OUTSIDE.to_string()),
            "by the host's resolver: {resolved}"
        );
        assert_eq!(
            from_ours(&url(OUTSIDE, 80)),
            Some(HOST.to_string()),
            "out of the host"
        );

        eventually("docker's server listens", || {
            world.get(&url(HOST, DOCKERS_PORT)) == theirs
        });
        assert_eq!(
            outside.inside(|| world.get(&url(HOST, DOCKERS_PORT))),
            theirs
        );
        assert_eq!(
            from_ours(&url(HOST, DOCKERS_PORT)),
            theirs,
            "ours asks theirs"
        );
        assert_eq!(from_theirs(&url(HOST, 18130)), ours, "theirs asks ours");

        assert!(docker_user().contains("hoist"), "{}", docker_user());
        let told = world.ok(&["network", "inspect", "beside_default"]);
        assert!(
            told.contains("DOCKER-USER (chain FORWARD drops by policy)"),
            "{told}"
        );
        world.ok(&["down"]);
        assert!(
            docker_user().contains("chain DOCKER-USER") && !docker_user().contains("hoist"),
            "{}",
            docker_user()
        );
        assert_eq!(
            outside.inside(|| world.get(&url(HOST, DOCKERS_PORT))),
            theirs,
            "docker goes on"
        );
        docker.ok(&["docker", "rm", "-f", "theirs"]);
        drop(docker);
        world.finish();
    });
}
