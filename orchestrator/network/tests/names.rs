//! The name server in its network: who may ask, what is answered, what is forwarded.

#![allow(clippy::unwrap_used, reason = "only tests are here")]

mod world;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hoist_network::dns::{DnsConfig, DnsNetwork, Server, Zone, ZoneEndpoint, ZoneNetwork};
use hoist_network::{FirewallState, NetworkSpec};
use world::{Container, NEIGHBOUR, World, enter, inside, network};

const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

fn start(world: &World, networks: &[NetworkSpec], resolv_conf: &Path) -> Server {
    let server = Server::start(DnsConfig { resolv_conf: resolv_conf.to_owned() }).unwrap();
    for network in networks {
        world.host.create_network(network).unwrap();
    }
    let state = FirewallState { networks: networks.to_vec(), published: Vec::new(), dns_port: Some(server.port()) };
    world.host.set_firewall(&state).unwrap();
    let listen: Vec<_> = networks.iter().map(|net| DnsNetwork { id: net.id.clone(), gateway: net.gateway }).collect();
    assert!(server.listen(&listen).is_empty());
    server
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
        })
        .collect();
    ZoneNetwork {
        id: network.id.clone(),
        name: "shop_default".to_owned(),
        subnet: network.subnet,
        internal: network.internal,
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
    data.filter_map(|data| if let RData::A(A(address)) = data { Some(*address) } else { None }).collect()
}

fn code(message: &Message) -> ResponseCode {
    message.metadata.response_code
}

/// Says OUTSIDE to everything, by datagram and stream.
fn upstream(netns: &OwnedFd) {
    let answer = |packet: &[u8]| {
        let query = Message::from_vec(packet).unwrap();
        let mut response = Message::response(query.metadata.id, OpCode::Query);
        response.queries.clone_from(&query.queries);
        response.add_answer(Record::from_rdata(query.queries[0].name().clone(), 60, RData::A(A(OUTSIDE))));
        response.to_vec().unwrap()
    };
    let (udp, tcp) = inside(netns, || {
        (UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 53)).unwrap(), TcpListener::bind((Ipv4Addr::UNSPECIFIED, 53)).unwrap())
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
            stream.write_all(&u16::try_from(response.len()).unwrap().to_be_bytes()).unwrap();
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
fn names_resolve_on_port_53_although_a_resolver_of_the_host_holds_it() {
    let Some(world) = enter("names_resolve_on_port_53_although_a_resolver_of_the_host_holds_it") else { return };
    let _udp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 53)).unwrap();
    let _tcp = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 53)).unwrap();
    let net = network(1);
    let server = start(&world, std::slice::from_ref(&net), Path::new("/nonexistent"));
    let (a, b) = (world.container(&net, 2), world.container(&net, 3));
    server.set_zone(Zone::new(&[zone(&net, &[(&a, "web"), (&b, "db")])]));
    inside(&a.netns, || {
        for name in ["db.", "DB.", "shop-db-1.", "010301030103.", "db.shop_default."] {
            let answer = ask(net.gateway, 53, name, RecordType::A).unwrap();
            assert_eq!((addresses(&answer), answer.metadata.id), (vec![b.address], 4242), "{name}");
        }
        assert_eq!(addresses(&ask_by_tcp(net.gateway, "db.", RecordType::A).unwrap()), [b.address]);
        let aaaa = ask(net.gateway, 53, "db.", RecordType::AAAA).unwrap();
        assert_eq!((code(&aaaa), aaaa.answers.len()), (ResponseCode::NoError, 0));
        let ptr = ask(net.gateway, 53, "3.1.89.10.in-addr.arpa.", RecordType::PTR).unwrap();
        assert_eq!(ptr.answers[0].data.to_string(), "shop-db-1.");
    });
}

#[test]
fn names_resolve_behind_an_input_policy_drop() {
    let Some(world) = enter("names_resolve_behind_an_input_policy_drop") else { return };
    let net = network(1);
    world::nft(&["add table ip filter; add chain ip filter INPUT { type filter hook input priority 0; policy drop; }"]);
    let server = start(&world, std::slice::from_ref(&net), Path::new("/nonexistent"));
    let a = world.container(&net, 2);
    server.set_zone(Zone::new(&[zone(&net, &[(&a, "web")])]));
    let answer = inside(&a.netns, || ask(net.gateway, 53, "web.", RecordType::A)).unwrap();
    assert_eq!(addresses(&answer), [a.address]);
    assert_eq!(world.host.foreign_accepts()[0].chain, "INPUT");
}

#[test]
fn a_swapped_table_is_right_for_the_next_query() {
    let Some(world) = enter("a_swapped_table_is_right_for_the_next_query") else { return };
    let net = network(1);
    let server = start(&world, std::slice::from_ref(&net), Path::new("/nonexistent"));
    let (a, b) = (world.container(&net, 2), world.container(&net, 3));
    for round in 0..100 {
        let holder = if round % 2 == 0 { &a } else { &b };
        server.set_zone(Zone::new(&[zone(&net, &[(holder, "web")])]));
        let answer = inside(&a.netns, || ask(net.gateway, 53, "web.", RecordType::A)).unwrap();
        assert_eq!(addresses(&answer), [holder.address]);
    }
}

#[test]
fn other_names_are_forwarded_by_datagram_and_stream() {
    let Some(world) = enter("other_names_are_forwarded_by_datagram_and_stream") else { return };
    let net = network(1);
    let neighbour = world.neighbour();
    upstream(&neighbour);
    let conf = resolv_conf(Ipv4Addr::new(192, 0, 2, 99).into());
    let server = start(&world, std::slice::from_ref(&net), conf.path());
    let a = world.container(&net, 2);
    server.set_zone(Zone::new(&[zone(&net, &[(&a, "web")])]));
    // The file changes after the start.
    std::fs::write(conf.path(), format!("nameserver {NEIGHBOUR}\n")).unwrap();
    inside(&a.netns, || {
        let answer = ask(net.gateway, 53, "example.org.", RecordType::A).unwrap();
        assert_eq!((addresses(&answer), answer.metadata.id), (vec![OUTSIDE], 4242));
        assert_eq!(addresses(&ask_by_tcp(net.gateway, "example.org.", RecordType::A).unwrap()), [OUTSIDE]);
    });
}

#[test]
fn next_resolver_is_asked_when_the_first_is_not_there() {
    let Some(world) = enter("next_resolver_is_asked_when_the_first_is_not_there") else { return };
    let net = network(1);
    let neighbour = world.neighbour();
    upstream(&neighbour);
    let conf = tempfile::NamedTempFile::new().unwrap();
    // Nobody listens on the host's own loopback, which says so at once.
    std::fs::write(conf.path(), format!("nameserver 127.0.0.1\nnameserver {NEIGHBOUR}\n")).unwrap();
    let server = start(&world, std::slice::from_ref(&net), conf.path());
    let a = world.container(&net, 2);
    server.set_zone(Zone::new(&[zone(&net, &[(&a, "web")])]));
    let answer = inside(&a.netns, || ask(net.gateway, 53, "example.org.", RecordType::A)).unwrap();
    assert_eq!(addresses(&answer), [OUTSIDE]);
}

#[test]
fn local_names_do_not_wait_for_a_dead_upstream() {
    let Some(world) = enter("local_names_do_not_wait_for_a_dead_upstream") else { return };
    let net = network(1);
    let _neighbour = world.neighbour();
    let conf = resolv_conf(NEIGHBOUR.into());
    world::command("ip", &["neighbour", "add", "192.0.2.2", "lladdr", "02:00:00:00:00:99", "dev", "lan"]);
    let server = start(&world, std::slice::from_ref(&net), conf.path());
    let a = world.container(&net, 2);
    server.set_zone(Zone::new(&[zone(&net, &[(&a, "web")])]));
    inside(&a.netns, || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        for number in 0..50 {
            let packet = question(&format!("n{number}.example.org."), RecordType::A);
            socket.send_to(&packet, (net.gateway, 53)).unwrap();
        }
        let start = Instant::now();
        assert_eq!(addresses(&ask(net.gateway, 53, "web.", RecordType::A).unwrap()), [a.address]);
        assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    });
}

#[test]
fn one_asker_cannot_fill_the_server_with_questions() {
    let Some(world) = enter("one_asker_cannot_fill_the_server_with_questions") else { return };
    let net = network(1);
    let _neighbour = world.neighbour();
    let conf = resolv_conf(NEIGHBOUR.into());
    world::command("ip", &["neighbour", "add", "192.0.2.2", "lladdr", "02:00:00:00:00:99", "dev", "lan"]);
    let server = start(&world, std::slice::from_ref(&net), conf.path());
    let a = world.container(&net, 2);
    server.set_zone(Zone::new(&[zone(&net, &[(&a, "web")])]));
    inside(&a.netns, || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        for number in 0..150 {
            let packet = question(&format!("n{number}.example.org."), RecordType::A);
            socket.send_to(&packet, (net.gateway, 53)).unwrap();
        }
        let mut packet = [0; 512];
        for _ in 0..50 {
            let length = socket.recv(&mut packet).unwrap();
            assert_eq!(code(&Message::from_vec(&packet[..length]).unwrap()), ResponseCode::ServFail);
        }
    });
}

#[test]
fn internal_network_is_answered_but_nothing_is_forwarded() {
    let Some(world) = enter("internal_network_is_answered_but_nothing_is_forwarded") else { return };
    let net = NetworkSpec { internal: true, ..network(1) };
    let neighbour = world.neighbour();
    upstream(&neighbour);
    let conf = resolv_conf(NEIGHBOUR.into());
    let server = start(&world, std::slice::from_ref(&net), conf.path());
    let a = world.container(&net, 2);
    server.set_zone(Zone::new(&[zone(&net, &[(&a, "web")])]));
    inside(&a.netns, || {
        assert_eq!(addresses(&ask(net.gateway, 53, "web.", RecordType::A).unwrap()), [a.address]);
        let outside = ask(net.gateway, 53, "example.org.", RecordType::A).unwrap();
        assert_eq!((code(&outside), outside.answers.len()), (ResponseCode::ServFail, 0));
    });
}

#[test]
fn nobody_but_the_bridges_own_containers_can_ask() {
    let Some(world) = enter("nobody_but_the_bridges_own_containers_can_ask") else { return };
    let nets = [network(1), network(2)];
    let neighbour = world.neighbour();
    let server = start(&world, &nets, Path::new("/nonexistent"));
    let (a, b) = (world.container(&nets[0], 2), world.container(&nets[1], 2));
    server.set_zone(Zone::new(&[zone(&nets[0], &[(&a, "web")]), zone(&nets[1], &[(&b, "web")])]));
    inside(&neighbour, || {
        world::command("ip", &["route", "add", "10.89.0.0/16", "via", "192.0.2.1"]);
        for (address, port) in
            [(nets[0].gateway, 53), (nets[0].gateway, server.port()), (world::HOST_ON_LAN, server.port())]
        {
            assert!(ask(address, port, "web.", RecordType::A).is_err(), "{address}:{port}");
        }
    });
    inside(&b.netns, || {
        assert_eq!(addresses(&ask(nets[1].gateway, 53, "web.", RecordType::A).unwrap()), [b.address]);
        assert!(ask(nets[0].gateway, 53, "web.", RecordType::A).is_err());
        assert!(ask(nets[0].gateway, server.port(), "web.", RecordType::A).is_err());
    });
}

#[test]
fn listening_follows_the_networks() {
    let Some(world) = enter("listening_follows_the_networks") else { return };
    let net = network(1);
    let server = start(&world, std::slice::from_ref(&net), Path::new("/nonexistent"));
    let listen = [DnsNetwork { id: net.id.clone(), gateway: net.gateway }];
    let a = world.container(&net, 2);
    server.set_zone(Zone::new(&[zone(&net, &[(&a, "web")])]));
    assert!(server.listen(&[]).is_empty());
    // The thread closes the sockets; then their place is free again.
    let deadline = Instant::now() + Duration::from_secs(5);
    while !server.listen(&listen).is_empty() {
        assert!(Instant::now() < deadline);
        thread::yield_now();
    }
    let answer = inside(&a.netns, || ask(net.gateway, 53, "web.", RecordType::A)).unwrap();
    assert_eq!(addresses(&answer), [a.address]);

    world.host.remove_network(&net.id).unwrap();
    world.host.create_network(&net).unwrap();
    assert!(server.listen(&listen).is_empty());
    let again = world.container(&net, 2);
    let answer = inside(&again.netns, || ask(net.gateway, 53, "web.", RecordType::A)).unwrap();
    assert_eq!(addresses(&answer), [a.address], "on a bridge that was made anew");

    drop(server);
    assert!(inside(&again.netns, || ask(net.gateway, 53, "web.", RecordType::A)).is_err());
}
