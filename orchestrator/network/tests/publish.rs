//! Published ports: who reaches them, from where, and who must not.

mod world;

use std::net::Ipv4Addr;

use hoist_network::{FirewallState, Protocol};
use world::{HOST_ON_LAN, ask, ask_udp, enter, inside, network, publish, serve, serve_udp};

const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

#[test]
fn published_port_answers_on_loopback_host_address_and_hairpin() {
    let Some(world) = enter("published_port_answers_on_loopback_host_address_and_hairpin") else {
        return;
    };
    let net = network(1);
    world.raise(std::slice::from_ref(&net), Vec::new());
    let neighbour = world.neighbour();
    let (web, client) = (world.container(&net, 2), world.container(&net, 3));
    serve(&web.netns, 80, "web");
    world.firewall(
        std::slice::from_ref(&net),
        vec![publish(None, 8080, &[(web.address, 80)])],
    );

    assert_eq!(ask(LOCALHOST, 8080).unwrap(), "web 10.89.1.1");
    assert_eq!(ask(HOST_ON_LAN, 8080).unwrap(), "web 192.0.2.1");
    assert_eq!(ask(net.gateway, 8080).unwrap(), "web 10.89.1.1");
    assert_eq!(
        inside(&neighbour, || ask(HOST_ON_LAN, 8080)).unwrap(),
        "web 192.0.2.2"
    );
    assert_eq!(
        inside(&client.netns, || ask(HOST_ON_LAN, 8080)).unwrap(),
        "web 10.89.1.1"
    );
    assert_eq!(
        inside(&client.netns, || ask(net.gateway, 8080)).unwrap(),
        "web 10.89.1.1"
    );
    assert_eq!(
        inside(&web.netns, || ask(HOST_ON_LAN, 8080)).unwrap(),
        "web 10.89.1.1",
        "to itself"
    );
}

#[test]
fn udp_is_published_too() {
    let Some(world) = enter("udp_is_published_too") else {
        return;
    };
    let net = network(1);
    world.raise(std::slice::from_ref(&net), Vec::new());
    let neighbour = world.neighbour();
    let server = world.container(&net, 2);
    serve_udp(&server.netns, 514, "log");
    let mut port = publish(None, 5514, &[(server.address, 514)]);
    port.protocol = Protocol::Udp;
    world.firewall(std::slice::from_ref(&net), vec![port]);
    assert_eq!(ask_udp(LOCALHOST, 5514).unwrap(), "log hello");
    assert_eq!(
        inside(&neighbour, || ask_udp(HOST_ON_LAN, 5514)).unwrap(),
        "log hello"
    );
}

#[test]
fn udp_flow_that_never_pauses_follows_the_port() {
    let Some(world) = enter("udp_flow_that_never_pauses_follows_the_port") else {
        return;
    };
    let net = network(1);
    world.raise(std::slice::from_ref(&net), Vec::new());
    let neighbour = world.neighbour();
    let (old, new) = (world.container(&net, 2), world.container(&net, 3));
    serve_udp(&old.netns, 514, "old");
    serve_udp(&new.netns, 514, "new");
    let port = |target: &world::Container| {
        let port = publish(None, 5514, &[(target.address, 514)]);
        vec![hoist_network::Published {
            protocol: Protocol::Udp,
            ..port
        }]
    };
    let sender = inside(&neighbour, || world::udp_to(HOST_ON_LAN, 5514)).unwrap();
    assert!(
        world::exchange(&sender).is_err(),
        "begun before the port was published"
    );
    world.firewall(std::slice::from_ref(&net), port(&old));
    assert_eq!(world::exchange(&sender).unwrap(), "old hello");
    world.firewall(std::slice::from_ref(&net), port(&new));
    assert_eq!(world::exchange(&sender).unwrap(), "new hello");
}

#[test]
fn udp_replicas_take_turns() {
    let Some(world) = enter("udp_replicas_take_turns") else {
        return;
    };
    let net = network(1);
    world.raise(std::slice::from_ref(&net), Vec::new());
    let replicas = [world.container(&net, 2), world.container(&net, 3)];
    serve_udp(&replicas[0].netns, 514, "a");
    serve_udp(&replicas[1].netns, 514, "b");
    let targets = replicas.each_ref().map(|replica| (replica.address, 514));
    let port = publish(None, 5514, &targets);
    world.firewall(
        std::slice::from_ref(&net),
        vec![hoist_network::Published {
            protocol: Protocol::Udp,
            ..port
        }],
    );
    let mut answers = [
        ask_udp(LOCALHOST, 5514).unwrap(),
        ask_udp(LOCALHOST, 5514).unwrap(),
    ];
    answers.sort();
    assert_eq!(answers, ["a hello", "b hello"]);
}

#[test]
fn port_without_targets_refuses_at_once() {
    let Some(world) = enter("port_without_targets_refuses_at_once") else {
        return;
    };
    let net = network(1);
    world.raise(std::slice::from_ref(&net), vec![publish(None, 8080, &[])]);
    assert_eq!(
        ask(LOCALHOST, 8080).unwrap_err().kind(),
        std::io::ErrorKind::ConnectionRefused
    );
}

#[test]
fn replicas_take_turns() {
    let Some(world) = enter("replicas_take_turns") else {
        return;
    };
    let net = network(1);
    world.raise(std::slice::from_ref(&net), Vec::new());
    let neighbour = world.neighbour();
    let replicas: Vec<_> = (2..5).map(|last| world.container(&net, last)).collect();
    for (replica, name) in replicas.iter().zip(["a", "b", "c"]) {
        serve(&replica.netns, 80, name);
    }
    let targets: Vec<_> = replicas
        .iter()
        .map(|replica| (replica.address, 80))
        .collect();
    for host_ip in [None, Some(HOST_ON_LAN)] {
        world.firewall(
            std::slice::from_ref(&net),
            vec![publish(host_ip, 8080, &targets)],
        );
        let mut counts = std::collections::BTreeMap::new();
        for _ in 0..12 {
            let answer = inside(&neighbour, || ask(HOST_ON_LAN, 8080)).unwrap();
            *counts.entry(answer.chars().next().unwrap()).or_insert(0) += 1;
        }
        assert_eq!(
            counts.into_iter().collect::<Vec<_>>(),
            [('a', 4), ('b', 4), ('c', 4)]
        );
    }
    world.firewall(
        std::slice::from_ref(&net),
        vec![publish(None, 8080, &targets[1..2])],
    );
    assert_eq!(
        inside(&neighbour, || ask(HOST_ON_LAN, 8080)).unwrap(),
        "b 192.0.2.2"
    );
}

#[test]
fn port_on_loopback_is_out_of_the_neighbours_reach() {
    let Some(world) = enter("port_on_loopback_is_out_of_the_neighbours_reach") else {
        return;
    };
    let net = network(1);
    world.raise(std::slice::from_ref(&net), Vec::new());
    let neighbour = world.neighbour();
    let web = world.container(&net, 2);
    serve(&web.netns, 80, "web");
    world.firewall(
        std::slice::from_ref(&net),
        vec![publish(Some(LOCALHOST), 8080, &[(web.address, 80)])],
    );
    assert!(ask(LOCALHOST, 8080).is_ok());
    assert!(ask(HOST_ON_LAN, 8080).is_err());
    inside(&neighbour, || {
        // The attack on route_localnet: the victim's loopback, routed to it from outside.
        world::command(
            "ip",
            &[
                "route",
                "add",
                "127.0.0.0/8",
                "via",
                "192.0.2.1",
                "dev",
                "lan-peer",
                "table",
                "7",
            ],
        );
        world::command(
            "ip",
            &[
                "rule",
                "add",
                "pref",
                "0",
                "to",
                "127.0.0.0/8",
                "lookup",
                "7",
            ],
        );
        world::command("ip", &["rule", "del", "pref", "0", "lookup", "local"]);
        std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").unwrap();
        assert!(ask(HOST_ON_LAN, 8080).is_err());
        assert!(ask(LOCALHOST, 8080).is_err());
    });
}

#[test]
fn container_cannot_pose_as_the_hosts_loopback() {
    let Some(world) = enter("container_cannot_pose_as_the_hosts_loopback") else {
        return;
    };
    let net = network(1);
    world.raise(std::slice::from_ref(&net), Vec::new());
    let a = world.container(&net, 2);
    let victim = std::net::UdpSocket::bind((net.gateway, 7777)).unwrap();
    victim
        .set_read_timeout(Some(std::time::Duration::from_millis(500)))
        .unwrap();
    let send_from = |source: Ipv4Addr| {
        inside(&a.netns, || {
            std::fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1").unwrap();
            let socket = std::net::UdpSocket::bind((source, 0)).unwrap();
            let _ = socket.send_to(b"trust me", (net.gateway, 7777));
        });
        victim.recv_from(&mut [0; 20])
    };
    assert!(send_from(a.address).is_ok());
    assert!(send_from(Ipv4Addr::new(127, 0, 0, 2)).is_err());
}

#[test]
fn unpublished_port_is_out_of_reach_by_direct_routing() {
    let Some(world) = enter("unpublished_port_is_out_of_reach_by_direct_routing") else {
        return;
    };
    let net = network(1);
    world.raise(std::slice::from_ref(&net), Vec::new());
    let neighbour = world.neighbour();
    let web = world.container(&net, 2);
    serve(&web.netns, 80, "web");
    inside(&neighbour, || {
        world::command("ip", &["route", "add", "10.89.1.0/24", "via", "192.0.2.1"])
    });
    assert!(inside(&neighbour, || ask(web.address, 80)).is_err());
    world.firewall(
        std::slice::from_ref(&net),
        vec![publish(None, 8080, &[(web.address, 80)])],
    );
    assert!(
        inside(&neighbour, || ask(web.address, 80)).is_err(),
        "still only by the published port"
    );
    assert!(inside(&neighbour, || ask(HOST_ON_LAN, 8080)).is_ok());
}

#[test]
fn published_port_is_reserved_until_it_is_withdrawn() {
    let Some(world) = enter("published_port_is_reserved_until_it_is_withdrawn") else {
        return;
    };
    let net = network(1);
    world.raise(
        std::slice::from_ref(&net),
        vec![publish(None, 8080, &[(Ipv4Addr::new(10, 89, 1, 2), 80)])],
    );
    assert!(std::net::TcpListener::bind((LOCALHOST, 8080)).is_err());
    assert!(
        world.host.port_free(None, 8080, Protocol::Tcp).is_ok(),
        "held by ourselves"
    );
    world.firewall(std::slice::from_ref(&net), Vec::new());
    let listener = std::net::TcpListener::bind((LOCALHOST, 8080)).unwrap();
    let taken = world.host.port_free(None, 8080, Protocol::Tcp).unwrap_err();
    assert!(
        taken
            .to_string()
            .contains(&format!("(pid {})", std::process::id())),
        "{taken}"
    );
    drop(listener);
    assert!(world.host.port_free(None, 8080, Protocol::Tcp).is_ok());
}

#[test]
fn nothing_is_left_after_the_last_network() {
    let Some(world) = enter("nothing_is_left_after_the_last_network") else {
        return;
    };
    let net = network(1);
    world.raise(
        std::slice::from_ref(&net),
        vec![publish(None, 8080, &[(Ipv4Addr::new(10, 89, 1, 2), 80)])],
    );
    world.host.set_firewall(&FirewallState::default()).unwrap();
    world.host.remove_network(&net.bridge()).unwrap();
    assert_eq!(world::nft(&["list", "ruleset"]), "");
    assert!(world.host.links().unwrap().is_empty());
}
