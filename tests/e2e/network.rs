//! Who reaches whom, by which name and address, and who must not.

use std::net::Ipv4Addr;

use crate::lan::{self, HOST, HOST_TOO, OUTSIDE, OUTSIDE_NAME, on_a_lan};
use crate::lifecycle::pid_of;
use crate::world::{World, eventually};

/// Answers with its own host name on port 80.
const WEB: &str = r#"image: busybox, stop_grace_period: 0s, command: [sh, -c, "mkdir -p /www; hostname >/www/index.html; exec httpd -f -p 80 -h /www"]"#;
const IDLE: &str = r#"image: busybox, stop_grace_period: 0s, command: [sleep, "100000"]"#;

fn url(address: Ipv4Addr, port: u16) -> String {
    format!("http://{address}:{port}/")
}

/// Of the namespace that the scenario's host is.
fn host_links() -> String {
    std::fs::read_to_string("/proc/thread-self/net/dev").expect("proc lists links")
}

impl World {
    /// Output of a program in a service's container, if it succeeds.
    fn inside(&self, service: &str, program: &str) -> Option<String> {
        let arguments: Vec<&str> = ["exec", "-T", service]
            .into_iter()
            .chain(program.split(' '))
            .collect();
        let run = self.hoist(&arguments);
        (run.code == 0).then_some(run.stdout)
    }

    fn wget(&self, service: &str, address: &str) -> Option<String> {
        // Busybox's own `wget -T` ends in a segmentation fault.
        self.inside(service, &format!("timeout 5 wget -qO- {address}"))
    }
}

#[test]
fn names_and_addresses_are_those_of_the_file() {
    on_a_lan("names and addresses", |_| {
        let Some(world) = World::new("names and addresses") else {
            return;
        };
        world.busybox().file(
            "compose.yaml",
            &format!(
                "name: names\nservices:\n  \
                   web: {{ {WEB}, hostname: front-door, networks: {{ front: {{ aliases: [www], ipv4_address: 10.77.1.50 }}, back: {{}} }} }}\n  \
                   database: {{ {WEB}, hostname: database, networks: {{ back: {{ aliases: [db] }} }} }}\n  \
                   client: {{ {IDLE}, networks: [front] }}\n\
                 networks:\n  front: {{ ipam: {{ config: [{{ subnet: 10.77.1.0/24 }}] }} }}\n  back: {{ internal: true }}\n"
            ),
        );
        world.ok(&["up", "-d"]);
        let resolved = world
            .inside("client", "nslookup -type=a www")
            .expect("an alias resolves");
        assert!(resolved.contains("10.77.1.50"), "{resolved}");
        eventually("the servers listen", || {
            world.wget("web", "http://web/").is_some() && world.wget("web", "http://db/").is_some()
        });
        assert_eq!(
            world.wget("client", "http://www/").as_deref(),
            Some("front-door\n")
        );
        assert_eq!(
            world.wget("client", "http://10.77.1.50/").as_deref(),
            Some("front-door\n")
        );
        assert_eq!(
            world.wget("web", "http://db/").as_deref(),
            Some("database\n"),
            "over the network that both are in"
        );
        assert_eq!(
            world.inside("client", "nslookup -type=a db"),
            None,
            "an alias of a network that it is not in"
        );
        let database = world
            .inside("database", "hostname -i")
            .expect("its address");
        assert_eq!(
            world.wget("client", &format!("http://{}/", database.trim())),
            None,
            "networks are apart"
        );

        // Containers query on loopback, also after the engine was killed and restarted.
        for service in ["web", "database", "client"] {
            let conf = world
                .inside(service, "cat /etc/resolv.conf")
                .expect("it is there");
            assert!(conf.contains("nameserver 127.0.0.11"), "{conf}");
        }
        world.instance.kill_engine().expect("an engine runs");
        eventually("names resolve again", || {
            world
                .inside("client", "nslookup -type=a www 127.0.0.11")
                .is_some()
        });
        assert!(
            world
                .inside("client", "nslookup -type=a front-door")
                .is_some(),
            "another's host name"
        );

        // Out of the internal network there is no way, not even for a question.
        assert_eq!(world.wget("database", &url(OUTSIDE, 80)), None);
        assert_eq!(
            world.inside("database", &format!("nslookup -type=a {OUTSIDE_NAME}")),
            None
        );
        assert_eq!(
            world.wget("web", &format!("http://{OUTSIDE_NAME}/")),
            Some(HOST.to_string()),
            "through its other"
        );
        world.finish();
    });
}

#[test]
fn containers_reach_the_outside_with_the_hosts_address() {
    on_a_lan("the way out", |outside| {
        let Some(world) = World::new("the way out") else {
            return;
        };
        world.busybox().file(
            "compose.yaml",
            &format!("name: out\nservices:\n  client: {{ {WEB} }}\n"),
        );
        world.ok(&["up", "-d"]);
        let resolved = world
            .inside("client", &format!("nslookup -type=a {OUTSIDE_NAME}"))
            .expect("is forwarded");
        assert!(resolved.contains(&OUTSIDE.to_string()), "{resolved}");
        assert_eq!(
            world.inside("client", "nslookup -type=a nowhere.example"),
            None
        );
        assert_eq!(
            world.wget("client", &format!("http://{OUTSIDE_NAME}/")),
            Some(HOST.to_string())
        );

        // What is not published cannot be reached, even by who knows the way to its address.
        let address = world
            .inside("client", "hostname -i")
            .expect("its address")
            .trim()
            .to_owned();
        assert!(
            world.get(&format!("http://{address}/")).is_some(),
            "the host may"
        );
        let direct = outside.inside(|| {
            lan::ip(&format!("route add {address} via {HOST}"));
            world.get_within(&format!("http://{address}/"), "2")
        });
        assert_eq!(direct, None);
        world.finish();
    });
}

#[test]
fn ports_are_published_where_the_file_says() {
    on_a_lan("published ports", |outside| {
        let Some(world) = World::new("published ports") else {
            return;
        };
        world.busybox().file(
            "compose.yaml",
            &format!(
                "name: ports\nservices:\n  \
                   web: {{ {WEB}, hostname: web, ports: [\"{HOST_TOO}:18110:80\", \"127.0.0.1:18111:80\", \"18112:80\"] }}\n  \
                   many: {{ {WEB}, scale: 3, ports: [\"18120-18122:80\"] }}\n  \
                   client: {{ {IDLE} }}\n"
            ),
        );
        world.ok(&["up", "-d"]);
        eventually("the server listens", || {
            world.get(&url(Ipv4Addr::LOCALHOST, 18112)).is_some()
        });
        let web = Some("web\n".to_owned());
        assert_eq!(world.get(&url(HOST_TOO, 18110)), web);
        assert_eq!(outside.inside(|| world.get(&url(HOST_TOO, 18110))), web);
        for wrong in [HOST, Ipv4Addr::LOCALHOST] {
            assert_eq!(
                world.get_within(&url(wrong, 18110), "2"),
                None,
                "published on another address"
            );
        }
        assert_eq!(world.get(&url(Ipv4Addr::LOCALHOST, 18111)), web);
        assert_eq!(
            outside.inside(|| world.get_within(&url(HOST, 18111), "2")),
            None,
            "loopback is the host's alone"
        );
        for address in [HOST, HOST_TOO, Ipv4Addr::LOCALHOST] {
            assert_eq!(world.get(&url(address, 18112)), web);
        }
        assert_eq!(outside.inside(|| world.get(&url(HOST, 18112))), web);
        for service in ["client", "web"] {
            assert_eq!(
                world.wget(service, &url(HOST, 18112)),
                web,
                "from {service}"
            );
        }
        let port =
            |arguments: &[&str]| world.ok(&[&["port"], arguments].concat()).trim().to_owned();
        assert_eq!(port(&["many", "80", "--index", "2"]), "0.0.0.0:18121");
        let any = [
            format!("{HOST_TOO}:18110"),
            "127.0.0.1:18111".to_owned(),
            "0.0.0.0:18112".to_owned(),
        ];
        assert!(any.contains(&port(&["web", "80"])));
        assert_ne!(world.hoist(&["port", "web", "81"]).code, 0);

        // Each replica has a port of the range of its own.
        for index in 1..=3_u16 {
            let number = index.to_string();
            let name = world.ok(&["exec", "-T", "--index", &number, "many", "hostname"]);
            eventually("the replica listens", || {
                world.get(&url(HOST, 18119 + index)).is_some()
            });
            assert_eq!(
                world.get(&url(HOST, 18119 + index)),
                Some(name),
                "replica {number}"
            );
        }
        let crowded = world.hoist(&["up", "-d", "--scale", "many=4"]);
        assert_ne!(crowded.code, 0);
        assert!(
            crowded.stderr.contains("18120-18122") && crowded.stderr.contains("many"),
            "{}",
            crowded.stderr
        );
        world.ok(&["down", "-t", "0"]);
        assert_eq!(world.get_within(&url(HOST, 18112), "2"), None);
        world.finish();
    });
}

#[test]
fn datagrams_are_published_too() {
    on_a_lan("published datagrams", |outside| {
        let Some(world) = World::new("published datagrams") else {
            return;
        };
        world.busybox().file(
            "compose.yaml",
            &format!("name: udp\nservices:\n  log: {{ {IDLE}, ports: [\"15514:514/udp\"] }}\n  client: {{ {IDLE} }}\n"),
        );
        world.ok(&["up", "-d"]);
        let server = lan::Datagrams::serve(&pid_of(&world, "log"), 514, "log");
        let client = pid_of(&world, "client");
        let heard = "log hello";
        for address in [Ipv4Addr::LOCALHOST, HOST] {
            assert_eq!(
                lan::ask_datagram(address, 15514).expect("from the host"),
                heard
            );
        }
        assert_eq!(
            outside
                .inside(|| lan::ask_datagram(HOST, 15514))
                .expect("from the neighbour"),
            heard
        );
        assert_eq!(
            lan::in_network_of(&client, || lan::ask_datagram(HOST, 15514))
                .expect("from a container"),
            heard
        );
        assert_eq!(
            world
                .ok(&["port", "--protocol", "udp", "log", "514"])
                .trim(),
            "0.0.0.0:15514"
        );
        assert_ne!(
            world.hoist(&["port", "log", "514"]).code,
            0,
            "it is not published for tcp"
        );
        drop(server);
        world.finish();
    });
}

#[test]
fn the_bridge_network_is_shared_without_names_but_with_links() {
    on_a_lan("the bridge network", |_| {
        let Some(world) = World::new("the bridge network") else {
            return;
        };
        world.busybox().file(
            "compose.yaml",
            &format!(
                "name: bridged\nservices:\n  \
                   db: {{ {WEB}, hostname: db, network_mode: bridge, ports: [\"127.0.0.1:18130:80\"] }}\n  \
                   client: {{ {IDLE}, network_mode: default, links: [\"db:database\"] }}\n  \
                   apart: {{ {IDLE}, links: [\"target:database\"] }}\n  \
                   target: {{ {WEB}, hostname: target }}\n  \
                   third: {{ {IDLE} }}\n"
            ),
        );
        world.file(
            "other.yaml",
            &format!("name: other\nservices:\n  web: {{ {IDLE}, network_mode: bridge }}\n"),
        );
        world.ok(&["up", "-d"]);
        world.ok(&["-f", "other.yaml", "up", "-d"]);
        eventually("the server listens", || {
            world.get(&url(Ipv4Addr::LOCALHOST, 18130)).is_some()
        });
        let db = world
            .inside("db", "hostname -i")
            .expect("its address")
            .trim()
            .to_owned();
        assert_eq!(
            world.wget("client", &format!("http://{db}/")).as_deref(),
            Some("db\n"),
            "by address"
        );
        assert_eq!(
            world.wget("client", "http://database/").as_deref(),
            Some("db\n"),
            "by the link's alias"
        );
        assert_eq!(
            world.wget("client", "http://bridged-db-1/").as_deref(),
            Some("db\n"),
            "and by its own name"
        );
        assert_eq!(
            world.inside("db", "nslookup -type=a client"),
            None,
            "no other names"
        );
        assert!(
            world
                .inside("client", &format!("nslookup -type=a {OUTSIDE_NAME}"))
                .is_some(),
            "outside names"
        );
        let ping = world.ok(&[
            "-f",
            "other.yaml",
            "exec",
            "-T",
            "web",
            "ping",
            "-c1",
            "-W1",
            &db,
        ]);
        assert!(ping.contains("1 packets received"), "across stacks: {ping}");
        assert!(
            world
                .inside("apart", &format!("ping -c1 -W1 {db}"))
                .is_none(),
            "not from other networks"
        );
        assert_eq!(
            world.wget("apart", "http://database/").as_deref(),
            Some("target\n")
        );
        assert_eq!(
            world.inside("third", "nslookup -type=a database"),
            None,
            "the alias is who links alone"
        );
        assert!(world.ok(&["network", "ls"]).contains("bridge"));

        world.ok(&["down"]);
        assert!(
            world.ok(&["network", "ls"]).contains("bridge"),
            "another stack is on it"
        );
        world.ok(&["-f", "other.yaml", "down"]);
        assert!(!world.ok(&["network", "ls"]).contains("bridge"));
        world.finish();
    });
}

#[test]
fn networks_are_made_by_hand_and_joined_while_containers_run() {
    on_a_lan("networks made by hand", |_| {
        let Some(world) = World::new("networks made by hand") else {
            return;
        };
        world.busybox().file(
            "compose.yaml",
            &format!(
                "name: hand\nservices:\n  \
                   web: {{ {WEB}, hostname: web, networks: [proxy] }}\n  \
                   client: {{ {IDLE}, networks: [named] }}\n\
                 networks:\n  proxy: {{ external: true }}\n  \
                   named: {{ driver_opts: {{ com.docker.network.bridge.name: br-hand }} }}\n"
            ),
        );
        let missing = world.hoist(&["up", "-d"]);
        assert_ne!(missing.code, 0);
        assert!(
            missing.stderr.contains("`hoist network create proxy`"),
            "{}",
            missing.stderr
        );
        let options = [
            "--subnet",
            "10.78.4.0/24",
            "--gateway",
            "10.78.4.9",
            "--label",
            "kind=edge",
            "proxy",
        ];
        world.ok(&[&["network", "create"], options.as_slice()].concat());
        let known = world.ok(&["network", "inspect", "proxy"]);
        assert!(
            known.contains("10.78.4.9") && known.contains("edge"),
            "{known}"
        );
        world.ok(&["up", "-d"]);
        eventually("the server listens", || {
            world.wget("web", "http://web/").is_some()
        });
        assert!(host_links().contains("br-hand:"), "the bridge has its name");
        assert_eq!(
            world.wget("client", "http://web/"),
            None,
            "not in its network yet"
        );

        world.ok(&[
            "network",
            "connect",
            "--alias",
            "guest",
            "--ip",
            "10.78.4.77",
            "proxy",
            "hand-client-1",
        ]);
        assert_eq!(
            world.wget("client", "http://web/").as_deref(),
            Some("web\n")
        );
        let guest = world
            .inside("web", "nslookup -type=a guest")
            .expect("its alias");
        assert!(guest.contains("10.78.4.77"), "{guest}");
        world.ok(&["network", "disconnect", "hand_named", "hand-client-1"]);
        assert!(
            world
                .inside("client", &format!("ping -c1 -W2 {OUTSIDE}"))
                .is_some(),
            "out by the other network"
        );
        world.ok(&["restart", "-t", "0", "client"]);
        assert_eq!(
            world.wget("client", "http://web/").as_deref(),
            Some("web\n"),
            "a restart changes nothing"
        );
        let links = world
            .inside("client", "ls /sys/class/net")
            .expect("its links");
        assert_eq!(
            links.split_whitespace().count(),
            2,
            "lo and one more: {links}"
        );

        for (arguments, code, said) in [
            (&["network", "rm", "proxy"][..], 1, "in use"),
            (&["network", "create", "proxy"], 1, "already exists"),
            (&["network", "create", "bridge"], 1, "predefined"),
            (&["network", "create", "-d", "overlay", "x"], 1, "overlay"),
            (&["network", "create", "--ipv6", "x"], 1, "IPv6"),
            (&["network", "create", "-o", "a=b", "x"], 1, "\"a\""),
            (
                &["network", "create", "--subnet", "10.78.4.0/25", "x"],
                1,
                "overlaps",
            ),
            (
                &["network", "connect", "proxy", "hand-client-1"],
                1,
                "already",
            ),
            (
                &[
                    "network",
                    "connect",
                    "--link",
                    "a:b",
                    "proxy",
                    "hand-client-1",
                ],
                1,
                "links",
            ),
            (
                &["network", "disconnect", "hand_named", "hand-client-1"],
                1,
                "is not in network",
            ),
            (&["network", "rm", "nothing"], 1, "not found"),
        ] {
            let run = world.hoist(arguments);
            assert_eq!(run.code, code, "{arguments:?}: {}", run.stderr);
            assert!(run.stderr.contains(said), "{arguments:?}: {}", run.stderr);
        }
        world.ok(&["network", "rm", "-f", "nothing"]);
        world.ok(&["down"]);
        assert!(
            world.ok(&["network", "ls"]).contains("proxy"),
            "an external network stays"
        );
        world.ok(&["network", "rm", "proxy"]);
        assert!(!host_links().contains("br-hand:"));
        world.finish();
    });
}

#[test]
fn stacks_do_not_see_each_other() {
    on_a_lan("isolation of stacks", |_| {
        let Some(world) = World::new("isolation of stacks") else {
            return;
        };
        let stack = |name: &str| {
            format!("name: {name}\nservices:\n  {name}: {{ {WEB}, hostname: {name} }}\n")
        };
        world.busybox().file("compose.yaml", &stack("one"));
        world.file("other.yaml", &stack("two"));
        world.ok(&["up", "-d"]);
        world.ok(&["-f", "other.yaml", "up", "-d"]);
        let other = world.ok(&["-f", "other.yaml", "exec", "-T", "two", "hostname", "-i"]);
        eventually("the server listens", || {
            world.get(&format!("http://{}/", other.trim())).is_some()
        });
        assert_eq!(
            world.inside("one", "nslookup -type=a two"),
            None,
            "names are a stack's own"
        );
        assert_eq!(
            world.wget("one", &format!("http://{}/", other.trim())),
            None,
            "and so are addresses"
        );
        assert_eq!(
            world.inside("one", &format!("ping -c1 -W1 {}", other.trim())),
            None
        );
        world.ok(&["-f", "other.yaml", "down", "-t", "0"]);
        world.finish();
    });
}
