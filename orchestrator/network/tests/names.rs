//! The name server in its network: who may ask, what is answered, what is forwarded.

#![allow(clippy::unwrap_used, reason = "only tests are here")]

mod world;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hoist_network::NetworkSpec;
use hoist_network::dns::{
    ADDRESS, Asker, DnsConfig, Server, Serving, Sockets, Zone, ZoneEndpoint, ZoneNetwork,
};
use rustix::net::{AddressFamily, SendFlags, SocketType};
use world::{Container, NEIGHBOUR, World, enter, inside, network};

const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

fn start(world: &World, networks: &[NetworkSpec], resolv_conf: &Path) -> Server {
    world.raise(networks, Vec::new());
    Server::start(DnsConfig {
        resolv_conf: resolv_conf.to_owned(),
    })
    .unwrap()
}

/// Answers for as long as the result lives.
fn serve(server: &Server, network: &NetworkSpec, container: &Container) -> Serving {
    let asker = Asker {
        container: container.id.clone(),
        home: vec![network.id.clone()],
    };
    server.serve(asker, Sockets::open(container.netns.as_fd()).unwrap())
}

fn zone(network: &NetworkSpec, members: &[(&Container, &str)]) -> ZoneNetwork {
    let endpoints = members
        .iter()
        .map(|(container, service)| ZoneEndpoint {
            container: container.id.clone(),
            name: format!("shop-{service}-1"),
            aliases: vec![(*service).to_owned()],
            address: container.address,
            healthy: true,
            resolvers: Vec::new(),
            links: BTreeMap::new(),
        })
        .collect();
    ZoneNetwork {
        id: network.id.clone(),
        name: "shop_default".to_owned(),
        subnet: network.subnet,
        internal: network.internal,
        nameless: false,
        endpoints,
        reserved: Vec::new(),
    }
}

fn question(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(4242, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.to_vec().unwrap()
}

fn ask(server: Ipv4Addr, port: u16, name: &str, kind: RecordType) -> std::io::Result<Message> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect((server, port))?;
    socket.set_read_timeout(Some(Duration::from_secs(3)))?;
    socket.send(&question(name, kind))?;
    let mut packet = [0; 4096];
    let length = socket.recv(&mut packet)?;
    Message::from_vec(&packet[..length]).map_err(std::io::Error::other)
}

fn ask_by_tcp(server: Ipv4Addr, name: &str, kind: RecordType) -> std::io::Result<Message> {
    let mut stream = TcpStream::connect((server, 53))?;
    stream.set_read_timeout(Some(Duration::from_secs(3)))?;
    let query = question(name, kind);
    stream.write_all(&u16::try_from(query.len()).unwrap().to_be_bytes())?;
    stream.write_all(&query)?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut packet = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut packet)?;
    Message::from_vec(&packet).map_err(std::io::Error::other)
}

fn addresses(message: &Message) -> Vec<Ipv4Addr> {
    let data = message.answers.iter().map(|record| &record.data);
    data.filter_map(|data| {
        if let RData::A(A(address)) = data {
            Some(*address)
        } else {
            None
        }
    })
    .collect()
}

fn code(message: &Message) -> ResponseCode {
    message.metadata.response_code
}

/// Says OUTSIDE to everything, by datagram and stream.
fn upstream(netns: &OwnedFd) {
    answering(netns, Ipv4Addr::UNSPECIFIED);
}

fn answering(netns: &OwnedFd, at: Ipv4Addr) {
    let answer = |packet: &[u8]| {
        let query = Message::from_vec(packet).unwrap();
        let mut response = Message::response(query.metadata.id, OpCode::Query);
        response.queries.clone_from(&query.queries);
        response.add_answer(Record::from_rdata(
            query.queries[0].name().clone(),
            60,
            RData::A(A(OUTSIDE)),
        ));
        response.to_vec().unwrap()
    };
    let (udp, tcp) = inside(netns, || {
        (
            UdpSocket::bind((at, 53)).unwrap(),
            TcpListener::bind((at, 53)).unwrap(),
        )
    });
    thread::spawn(move || {
        let mut packet = [0; 4096];
        while let Ok((length, from)) = udp.recv_from(&mut packet) {
            let _ = udp.send_to(&answer(&packet[..length]), from);
        }
    });
    thread::spawn(move || {
        for stream in tcp.incoming() {
            let mut stream = stream.unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut packet = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut packet).unwrap();
            let response = answer(&packet);
            stream
                .write_all(&u16::try_from(response.len()).unwrap().to_be_bytes())
                .unwrap();
            stream.write_all(&response).unwrap();
        }
    });
}

fn resolv_conf(server: IpAddr) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("nameserver {server}\n")).unwrap();
    file
}

#[test]
fn names_resolve_on_port_53_although_a_program_of_the_container_holds_it() {
    let Some(world) =
        enter("names_resolve_on_port_53_although_a_program_of_the_container_holds_it")
    else {
        return;
    };
    let net = network(1);
    let server = start(
        &world,
        std::slice::from_ref(&net),
        Path::new("/nonexistent"),
    );
    let (a, b) = (world.container(&net, 2), world.container(&net, 3));
    let _serving = serve(&server, &net, &a);
    server.set_zone(Zone::new(&[zone(&net, &[(&a, "web"), (&b, "db")])]));
    upstream(&a.netns);
    inside(&a.netns, || {
        for own in [Ipv4Addr::LOCALHOST, a.address] {
            assert_eq!(
                addresses(&ask(own, 53, "db.", RecordType::A).unwrap()),
                [OUTSIDE],
                "its own server, at {own}"
            );
            assert_eq!(
                addresses(&ask_by_tcp(own, "db.", RecordType::A).unwrap()),
                [OUTSIDE],
                "its own server, at {own}"
            );
        }
        for name in [
            "db.",
            "DB.",
            "shop-db-1.",
            "010301030103.",
            "db.shop_default.",
        ] {
            let answer = ask(ADDRESS, 53, name, RecordType::A).unwrap();
            assert_eq!(
                (addresses(&answer), answer.metadata.id),
                (vec![b.address], 4242),
                "{name}"
            );
        }
        assert_eq!(
            addresses(&ask_by_tcp(ADDRESS, "db.", RecordType::A).unwrap()),
            [b.address]
        );
        let aaaa = ask(ADDRESS, 53, "db.", RecordType::AAAA).unwrap();
        assert_eq!(
            (code(&aaaa), aaaa.answers.len()),
            (ResponseCode::NoError, 0)
        );
        let ptr = ask(ADDRESS, 53, "3.1.89.10.in-addr.arpa.", RecordType::PTR).unwrap();
        assert_eq!(ptr.answers[0].data.to_string(), "shop-db-1.");
    });
}

#[test]
fn names_resolve_behind_firewalls_of_host_and_container() {
    let Some(world) = enter("names_resolve_behind_firewalls_of_host_and_container") else {
        return;
    };
    let net = network(1);
    world::nft(&[
        "add table ip filter; add chain ip filter INPUT { type filter hook input priority 0; policy drop; }",
    ]);
    let server = start(
        &world,
        std::slice::from_ref(&net),
        Path::new("/nonexistent"),
    );
    let a = world.container(&net, 2);
    let _serving = serve(&server, &net, &a);
    server.set_zone(Zone::new(&[zone(&net, &[(&a, "web")])]));
    assert!(
        world.host.foreign_accepts().is_empty(),
        "nothing of the host is asked"
    );
    inside(&a.netns, || {
        for hook in ["input", "output"] {
            world::nft(&[&format!(
                "add table ip own; add chain ip own {hook} {{ type filter hook {hook} priority 0; policy drop; }}; \
                 add rule ip own {hook} ct state invalid drop; add rule ip own {hook} oifname lo accept; \
                 add rule ip own {hook} iifname lo accept"
            )]);
        }
        assert_eq!(
            addresses(&ask(ADDRESS, 53, "web.", RecordType::A).unwrap()),
            [a.address]
        );
        assert_eq!(
            addresses(&ask_by_tcp(ADDRESS, "web.", RecordType::A).unwrap()),
            [a.address]
        );
    });
}

#[test]
fn a_swapped_table_is_right_for_the_next_query() {
    let Some(world) = enter("a_swapped_table_is_right_for_the_next_query") else {
        return;
    };
    let net = network(1);
    let server = start(
        &world,
        std::slice::from_ref(&net),
        Path::new("/nonexistent"),
    );
    let (a, b) = (world.container(&net, 2), world.container(&net, 3));
    let _serving = serve(&server, &net, &a);
    for round in 0..100 {
        let holder = if round % 2 == 0 { &a } else { &b };
        server.set_zone(Zone::new(&[zone(&net, &[(holder, "web")])]));
        let answer = inside(&a.netns, || ask(ADDRESS, 53, "web.", RecordType::A)).unwrap();
        assert_eq!(addresses(&answer), [holder.address]);
    }
}

#[test]
fn other_names_are_forwarded_by_datagram_and_stream() {
    let Some(world) = enter("other_names_are_forwarded_by_datagram_and_stream") else {
        return;
    };
    let net = network(1);
    let neighbour = world.neighbour();
    upstream(&neighbour);
    let conf = resolv_conf(Ipv4Addr::new(192, 0, 2, 99).into());
    let server = start(&world, std::slice::from_ref(&net), conf.path());
    let a = world.container(&net, 2);
    let _serving = serve(&server, &net, &a);
    server.set_zone(Zone::new(&[zone(&net, &[(&a, "web")])]));
    // The file changes after the start.
    std::fs::write(conf.path(), format!("nameserver {NEIGHBOUR}\n")).unwrap();
    inside(&a.netns, || {
        let answer = ask(ADDRESS, 53, "example.org.", RecordType::A).unwrap();
        assert_eq!(
            (addresses(&answer), answer.metadata.id),
            (vec![OUTSIDE], 4242)
        );
        assert_eq!(
            addresses(&ask_by_tcp(ADDRESS, "example.org.", RecordType::A).unwrap()),
            [OUTSIDE]
        );
    });
}

#[test]
fn next_resolver_is_asked_when_the_first_is_not_there() {
    let Some(world) = enter("next_resolver_is_asked_when_the_first_is_not_there") else {
        return;
    };
    let net = network(1);
    let neighbour = world.neighbour();
    upstream(&neighbour);
    let conf = tempfile::NamedTempFile::new().unwrap();
    // Nobody listens on the host's own loopback, which says so at once.
    std::fs::write(
        conf.path(),
        format!("nameserver 127.0.0.1\nnameserver {NEIGHBOUR}\n"),
    )
    .unwrap();
    let server = start(&world, std::slice::from_ref(&net), conf.path());
    let a = world.container(&net, 2);
    let _serving = serve(&server, &net, &a);
    server.set_zone(Zone::new(&[zone(&net, &[(&a, "web")])]));
    let answer = inside(&a.netns, || ask(ADDRESS, 53, "example.org.", RecordType::A)).unwrap();
    assert_eq!(addresses(&answer), [OUTSIDE]);
}

#[test]
fn local_names_do_not_wait_for_a_dead_upstream() {
    let Some(world) = enter("local_names_do_not_wait_for_a_dead_upstream") else {
        return;
    };
    let net = network(1);
    let _neighbour = world.neighbour();
    let conf = resolv_conf(NEIGHBOUR.into());
    world::command(
        "ip",
        &[
            "neighbour",
            "add",
            "192.0.2.2",
            "lladdr",
            "02:00:00:00:00:99",
            "dev",
            "lan",
        ],
    );
    let server = start(&world, std::slice::from_ref(&net), conf.path());
    let a = world.container(&net, 2);
    let _serving = serve(&server, &net, &a);
    server.set_zone(Zone::new(&[zone(&net, &[(&a, "web")])]));
    inside(&a.netns, || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        for number in 0..50 {
            let packet = question(&format!("n{number}.example.org."), RecordType::A);
            socket.send_to(&packet, (ADDRESS, 53)).unwrap();
        }
        let start = Instant::now();
        assert_eq!(
            addresses(&ask(ADDRESS, 53, "web.", RecordType::A).unwrap()),
            [a.address]
        );
        assert!(
            start.elapsed() < Duration::from_millis(500),
            "{:?}",
            start.elapsed()
        );
    });
}

#[test]
fn one_asker_cannot_fill_the_server_with_questions() {
    let Some(world) = enter("one_asker_cannot_fill_the_server_with_questions") else {
        return;
    };
    let net = network(1);
    let _neighbour = world.neighbour();
    let conf = resolv_conf(NEIGHBOUR.into());
    world::command(
        "ip",
        &[
            "neighbour",
            "add",
            "192.0.2.2",
            "lladdr",
            "02:00:00:00:00:99",
            "dev",
            "lan",
        ],
    );
    let server = start(&world, std::slice::from_ref(&net), conf.path());
    let a = world.container(&net, 2);
    let _serving = serve(&server, &net, &a);
    server.set_zone(Zone::new(&[zone(&net, &[(&a, "web")])]));
    inside(&a.netns, || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(1)))
            .unwrap();
        for number in 0..150 {
            let packet = question(&format!("n{number}.example.org."), RecordType::A);
            socket.send_to(&packet, (ADDRESS, 53)).unwrap();
        }
        let mut packet = [0; 512];
        for _ in 0..50 {
            let length = socket.recv(&mut packet).unwrap();
            assert_eq!(
                code(&Message::from_vec(&packet[..length]).unwrap()),
                ResponseCode::ServFail
            );
        }
    });
}

#[test]
fn internal_network_is_answered_but_nothing_is_forwarded() {
    let Some(world) = enter("internal_network_is_answered_but_nothing_is_forwarded") else {
        return;
    };
    let net = NetworkSpec {
        internal: true,
        ..network(1)
    };
    let neighbour = world.neighbour();
    upstream(&neighbour);
    let conf = resolv_conf(NEIGHBOUR.into());
    let server = start(&world, std::slice::from_ref(&net), conf.path());
    let a = world.container(&net, 2);
    let _serving = serve(&server, &net, &a);
    server.set_zone(Zone::new(&[zone(&net, &[(&a, "web")])]));
    inside(&a.netns, || {
        assert_eq!(
            addresses(&ask(ADDRESS, 53, "web.", RecordType::A).unwrap()),
            [a.address]
        );
        let outside = ask(ADDRESS, 53, "example.org.", RecordType::A).unwrap();
        assert_eq!(
            (code(&outside), outside.answers.len()),
            (ResponseCode::ServFail, 0)
        );
    });
}

#[test]
fn nobody_else_can_ask_what_a_container_asks() {
    let Some(world) = enter("nobody_else_can_ask_what_a_container_asks") else {
        return;
    };
    let nets = [network(1), network(2)];
    let server = start(&world, &nets, Path::new("/nonexistent"));
    let (a, b) = (world.container(&nets[0], 2), world.container(&nets[1], 2));
    let _serving = [serve(&server, &nets[0], &a), serve(&server, &nets[1], &b)];
    server.set_zone(Zone::new(&[
        zone(&nets[0], &[(&a, "web")]),
        zone(&nets[1], &[(&b, "web")]),
    ]));
    let asked = |container: &Container| {
        let answer = inside(&container.netns, || ask(ADDRESS, 53, "web.", RecordType::A)).unwrap();
        addresses(&answer)
    };
    assert_eq!(
        (asked(&a), asked(&b)),
        (vec![a.address], vec![b.address]),
        "each its own network"
    );
    let neighbour = world.container(&nets[0], 3);
    inside(&neighbour.netns, || {
        for address in [ADDRESS, a.address, nets[0].gateway] {
            assert!(
                ask(address, 53, "web.", RecordType::A).is_err(),
                "{address}"
            );
        }
    });
}

#[test]
fn a_new_server_serves_namespaces_of_the_one_before() {
    let Some(world) = enter("a_new_server_serves_namespaces_of_the_one_before") else {
        return;
    };
    let net = network(1);
    let server = start(
        &world,
        std::slice::from_ref(&net),
        Path::new("/nonexistent"),
    );
    let a = world.container(&net, 2);
    let asked = || inside(&a.netns, || ask(ADDRESS, 53, "web.", RecordType::A));
    for server in [
        server,
        Server::start(DnsConfig {
            resolv_conf: "/nonexistent".into(),
        })
        .unwrap(),
    ] {
        server.set_zone(Zone::new(&[zone(&net, &[(&a, "web")])]));
        let serving = serve(&server, &net, &a);
        assert_eq!(addresses(&asked().unwrap()), [a.address]);
        drop(serving);
        drop(server);
        assert!(asked().is_err(), "nobody is there");
    }
    let tables = inside(&a.netns, || world::nft(&["list", "ruleset"]));
    assert_eq!(tables.matches("table").count(), 1, "{tables}");
    assert_eq!(tables.matches("dport set").count(), 2, "{tables}");
}

/// Datagrams with source addresses and ports of their own, as only raw sockets send them.
fn spoof(to: Ipv4Addr, count: u16) {
    let socket =
        rustix::net::socket(AddressFamily::INET, SocketType::RAW, Some(RAW_PROTOCOL)).unwrap();
    let payload = question("flood.example.org.", RecordType::A);
    for number in 0..count {
        let [high, low] = number.to_be_bytes();
        // Another address of the network, and of its loopback, in turn.
        let source = if number % 2 == 0 {
            [10, 89, 1, low.max(4)]
        } else {
            [127, high, low, 9]
        };
        let total = u16::try_from(28 + payload.len()).unwrap().to_be_bytes();
        let length = u16::try_from(8 + payload.len()).unwrap().to_be_bytes();
        let mut packet = vec![0x45, 0, total[0], total[1], high, low, 0, 0, 64, 17, 0, 0];
        packet.extend(source);
        packet.extend(to.octets());
        let mut datagram = vec![high | 0x80, low, 0, 53, length[0], length[1], 0, 0];
        datagram.extend(&payload);
        let pseudo = [&source[..], &to.octets(), &[0, 17], &length, &datagram].concat();
        datagram[6..8].copy_from_slice(&checksum(&pseudo).to_be_bytes());
        packet.extend(&datagram);
        let _ = rustix::net::sendto(
            &socket,
            &packet,
            SendFlags::empty(),
            &SocketAddrV4::new(to, 53),
        );
    }
}

fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)));
    let sum = words.sum::<u32>();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap()
}

const RAW_PROTOCOL: rustix::net::Protocol = rustix::net::ipproto::RAW;

#[test]
fn a_flood_of_forged_questions_costs_nobody_else() {
    let Some(world) = enter("a_flood_of_forged_questions_costs_nobody_else") else {
        return;
    };
    let net = network(1);
    let neighbour = world.neighbour();
    // The first resolver never answers, so queries forwarded to it stay open; the other serves the victims.
    let conf = resolv_conf(NEIGHBOUR.into());
    let second = Ipv4Addr::new(192, 0, 2, 3);
    inside(&neighbour, || {
        world::command("ip", &["address", "add", "192.0.2.3/24", "dev", "lan-peer"])
    });
    let silent = inside(&neighbour, || UdpSocket::bind((NEIGHBOUR, 53)).unwrap());
    answering(&neighbour, second);
    let server = start(&world, std::slice::from_ref(&net), conf.path());
    let attackers: Vec<_> = (100..112).map(|last| world.container(&net, last)).collect();
    let victim = world.container(&net, 2);
    let mut table = zone(&net, &[(&victim, "web")]);
    table.endpoints[0].resolvers = vec![second.into()];
    server.set_zone(Zone::new(&[table]));
    let _serving: Vec<_> = attackers
        .iter()
        .chain([&victim])
        .map(|container| serve(&server, &net, container))
        .collect();
    thread::scope(|scope| {
        for attacker in &attackers {
            scope.spawn(|| {
                inside(&attacker.netns, || {
                    for to in [ADDRESS, net.gateway, victim.address] {
                        spoof(to, 4000);
                    }
                });
            });
        }
        inside(&victim.netns, || {
            for round in 0..20 {
                let own = ask(ADDRESS, 53, "web.", RecordType::A).unwrap();
                assert_eq!(addresses(&own), [victim.address], "round {round}");
                let outside = ask(
                    ADDRESS,
                    53,
                    &format!("n{round}.example.org."),
                    RecordType::A,
                )
                .unwrap();
                assert_eq!(addresses(&outside), [OUTSIDE], "round {round}");
            }
        });
    });
    // All of the attackers together have filled the server, and the victim still gets its share.
    let outside = inside(&victim.netns, || {
        ask(ADDRESS, 53, "after.example.org.", RecordType::A)
    })
    .unwrap();
    assert_eq!(addresses(&outside), [OUTSIDE]);
    drop(silent);
}
