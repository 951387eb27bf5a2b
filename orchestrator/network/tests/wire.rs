//! Containers on bridges: who reaches whom, and what is left behind.

#![allow(clippy::unwrap_used, reason = "only tests are here")]

mod world;

use std::net::Ipv4Addr;
use std::os::fd::AsFd;

use hoist_network::{
    Endpoint, FirewallEvent, FirewallState, Host, HostConfig, LinkKind, NetworkSpec, new_netns,
};
use world::{
    HOST_ON_LAN, NEIGHBOUR, ask, command, enter, inside, network, nft, publish, read, serve,
};

#[test]
fn containers_of_a_network_talk_and_the_host_reaches_them() {
    let Some(world) = enter("containers_of_a_network_talk_and_the_host_reaches_them") else {
        return;
    };
    let net = network(1);
    world.raise(std::slice::from_ref(&net), Vec::new());
    let (a, b) = (world.container(&net, 2), world.container(&net, 3));
    serve(&b.netns, 80, "b");
    assert_eq!(
        inside(&a.netns, || ask(b.address, 80)).unwrap(),
        "b 10.89.1.2"
    );
    assert_eq!(ask(b.address, 80).unwrap(), "b 10.89.1.1");
}

#[test]
fn namespace_has_docker_s_sysctls_and_the_callers() {
    let Some(_world) = enter("namespace_has_docker_s_sysctls_and_the_callers") else {
        return;
    };
    let netns = new_netns(&[("net.core.somaxconn".to_owned(), "1234".to_owned())]).unwrap();
    inside(&netns, || {
        assert_eq!(
            read("/proc/sys/net/ipv4/ip_unprivileged_port_start").trim(),
            "0"
        );
        assert_eq!(
            read("/proc/sys/net/ipv4/ping_group_range")
                .split_whitespace()
                .collect::<Vec<_>>(),
            ["0", highest_group().as_str()]
        );
        assert_eq!(read("/proc/sys/net/core/somaxconn").trim(), "1234");
        std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 80)).unwrap();
    });
    assert!(new_netns(&[("kernel.hostname".to_owned(), "x".to_owned())]).is_err());
    assert!(new_netns(&[("net/../kernel/hostname".to_owned(), "x".to_owned())]).is_err());
}

/// Less than docker's where the test's user namespace has fewer groups.
fn highest_group() -> String {
    let map = read("/proc/self/gid_map");
    let count: u32 = map.split_whitespace().nth(2).unwrap().parse().unwrap();
    (count - 1).min(2_147_483_647).to_string()
}

#[test]
fn first_packet_after_attach_is_not_lost() {
    let Some(world) = enter("first_packet_after_attach_is_not_lost") else {
        return;
    };
    for number in 1..6 {
        let net = network(number);
        world.raise(std::slice::from_ref(&net), Vec::new());
        let (a, b) = (world.container(&net, 2), world.container(&net, 3));
        serve(&b.netns, 80, "b");
        let start = std::time::Instant::now();
        assert!(inside(&a.netns, || ask(b.address, 80)).is_ok());
        // A lost SYN or ARP request is sent again after a second.
        assert!(start.elapsed().as_millis() < 900, "{:?}", start.elapsed());
    }
}

#[test]
fn interface_has_mac_of_its_address_and_the_bridges_mtu() {
    let Some(world) = enter("interface_has_mac_of_its_address_and_the_bridges_mtu") else {
        return;
    };
    let net = NetworkSpec {
        mtu: Some(1400),
        ..network(1)
    };
    world.raise(std::slice::from_ref(&net), Vec::new());
    let a = world.container(&net, 2);
    let shown = inside(&a.netns, || {
        String::from_utf8(
            std::process::Command::new("ip")
                .args(["link", "show", "eth0"])
                .output()
                .unwrap()
                .stdout,
        )
    });
    let shown = shown.unwrap();
    assert!(
        shown.contains("mtu 1400") && shown.contains("02:42:0a:59:01:02"),
        "{shown}"
    );
}

#[test]
fn mtu_follows_the_default_route() {
    let Some(world) = enter("mtu_follows_the_default_route") else {
        return;
    };
    let _neighbour = world.neighbour();
    command("ip", &["link", "set", "lan", "mtu", "1300"]);
    command("ip", &["route", "add", "default", "via", "192.0.2.2"]);
    let facts = world.host.facts().unwrap();
    assert_eq!(
        (facts.mtu, facts.default_address),
        (1300, Some(HOST_ON_LAN))
    );
    assert_eq!(facts.routes, ["192.0.2.0/24".parse().unwrap()]);
    world.raise(&[network(1)], Vec::new());
    assert_eq!(world.host.facts().unwrap().routes.len(), 2);
    let output = std::process::Command::new("ip")
        .args(["link", "show", &network(1).bridge()])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("mtu 1300"));
}

#[test]
fn networks_are_isolated_but_for_published_ports() {
    let Some(world) = enter("networks_are_isolated_but_for_published_ports") else {
        return;
    };
    let nets = [network(1), network(2)];
    world.raise(&nets, Vec::new());
    let (a, b) = (world.container(&nets[0], 2), world.container(&nets[1], 2));
    serve(&b.netns, 80, "b");
    assert!(inside(&a.netns, || ask(b.address, 80)).is_err());
    world.firewall(&nets, vec![publish(None, 8080, &[(b.address, 80)])]);
    assert!(inside(&a.netns, || ask(b.address, 80)).is_err());
    assert!(inside(&a.netns, || ask(nets[0].gateway, 8080)).is_ok());
}

#[test]
fn container_goes_out_under_the_hosts_address() {
    let Some(world) = enter("container_goes_out_under_the_hosts_address") else {
        return;
    };
    let net = network(1);
    world.raise(std::slice::from_ref(&net), Vec::new());
    let neighbour = world.neighbour();
    serve(&neighbour, 80, "outside");
    let a = world.container(&net, 2);
    assert_eq!(
        inside(&a.netns, || ask(NEIGHBOUR, 80)).unwrap(),
        "outside 192.0.2.1"
    );
}

#[test]
fn internal_network_has_no_outside() {
    let Some(world) = enter("internal_network_has_no_outside") else {
        return;
    };
    let nets = [
        NetworkSpec {
            internal: true,
            ..network(1)
        },
        network(2),
    ];
    world.raise(&nets, Vec::new());
    let neighbour = world.neighbour();
    serve(&neighbour, 80, "outside");
    let (a, b, c) = (
        world.container(&nets[0], 2),
        world.container(&nets[0], 3),
        world.container(&nets[1], 2),
    );
    serve(&b.netns, 80, "b");
    serve(&c.netns, 80, "c");
    world.firewall(
        &nets,
        vec![
            publish(None, 8081, &[(b.address, 80)]),
            publish(None, 8082, &[(c.address, 80)]),
        ],
    );
    assert!(inside(&a.netns, || ask(NEIGHBOUR, 80)).is_err());
    assert!(
        inside(&a.netns, || ask(nets[0].gateway, 8082)).is_err(),
        "not by a port of another network either"
    );
    assert!(
        inside(&neighbour, || ask(HOST_ON_LAN, 8081)).is_err(),
        "nothing comes in by a published port"
    );
    assert!(inside(&a.netns, || ask(b.address, 80)).is_ok());
    assert!(ask(b.address, 80).is_ok(), "the host itself may");
}

#[test]
fn container_on_two_networks_reaches_both() {
    let Some(world) = enter("container_on_two_networks_reaches_both") else {
        return;
    };
    let nets = [network(1), network(2)];
    world.raise(&nets, Vec::new());
    let (a, b) = (world.container(&nets[0], 2), world.container(&nets[1], 2));
    serve(&a.netns, 80, "a");
    serve(&b.netns, 80, "b");
    let netns = new_netns(&[]).unwrap();
    let endpoint = |index: u8, net: &NetworkSpec| Endpoint {
        container: "c".repeat(64),
        index,
        network: net.id.clone(),
        bridge: net.bridge(),
        interface: format!("eth{index}"),
        address: Ipv4Addr::new(10, 89, index + 1, 9),
        prefix: 24,
        gateway: (index == 0).then_some(net.gateway),
        mac: None,
    };
    world
        .host
        .attach(
            netns.as_fd(),
            &[endpoint(0, &nets[0]), endpoint(1, &nets[1])],
        )
        .unwrap();
    assert_eq!(
        inside(&netns, || ask(a.address, 80)).unwrap(),
        "a 10.89.1.9"
    );
    assert_eq!(
        inside(&netns, || ask(b.address, 80)).unwrap(),
        "b 10.89.2.9"
    );
}

#[test]
fn a_running_container_joins_and_leaves_networks() {
    let Some(world) = enter("a_running_container_joins_and_leaves_networks") else {
        return;
    };
    let nets = [
        network(1),
        NetworkSpec {
            bridge: Some("br-second".to_owned()),
            ..network(2)
        },
    ];
    world.raise(&nets, Vec::new());
    let (a, b) = (world.container(&nets[0], 2), world.container(&nets[1], 2));
    serve(&b.netns, 80, "b");
    assert!(inside(&a.netns, || ask(b.address, 80)).is_err());
    let index = world.host.free_index(&a.id).unwrap().unwrap();
    let second = Endpoint {
        container: a.id.clone(),
        index,
        network: nets[1].id.clone(),
        bridge: nets[1].bridge(),
        interface: "eth1".to_owned(),
        address: Ipv4Addr::new(10, 89, 2, 9),
        prefix: 24,
        gateway: None,
        mac: None,
    };
    world.host.attach(a.netns.as_fd(), &[second]).unwrap();
    assert_eq!(
        inside(&a.netns, || ask(b.address, 80)).unwrap(),
        "b 10.89.2.9"
    );
    world.host.leave(&a.id, &nets[0].bridge()).unwrap();
    world
        .host
        .set_default_route(a.netns.as_fd(), nets[1].gateway)
        .unwrap();
    let routes = inside(&a.netns, || {
        std::fs::read_to_string("/proc/thread-self/net/route").unwrap()
    });
    assert!(
        !routes.contains("eth0") && routes.contains("eth1\t00000000"),
        "{routes}"
    );
    assert_eq!(
        inside(&a.netns, || ask(b.address, 80)).unwrap(),
        "b 10.89.2.9"
    );
}

#[test]
fn a_bridge_may_have_a_name_of_its_own_but_not_anothers() {
    let Some(world) = enter("a_bridge_may_have_a_name_of_its_own_but_not_anothers") else {
        return;
    };
    let named = |name: &str| NetworkSpec {
        bridge: Some(name.to_owned()),
        ..network(1)
    };
    world::command("ip", &["link", "add", "br-taken", "type", "bridge"]);
    let error = world.host.create_network(&named("br-taken")).unwrap_err();
    assert_eq!(error.to_string(), "make bridge br-taken");
    world.host.remove_network("br-taken").unwrap();
    world::command("ip", &["link", "show", "br-taken"]);
    let net = named("br-own");
    world.raise(std::slice::from_ref(&net), Vec::new());
    let (a, b) = (world.container(&net, 2), world.container(&net, 3));
    serve(&b.netns, 80, "b");
    assert_eq!(
        inside(&a.netns, || ask(b.address, 80)).unwrap(),
        "b 10.89.1.2"
    );
    assert_eq!(world.host.networks().unwrap(), ["br-own"]);
    drop((a, b));
    assert!(
        world
            .host
            .sweep(&[], &[])
            .unwrap()
            .contains(&"br-own".to_owned())
    );
}

#[test]
fn failed_attach_leaves_nothing() {
    let Some(world) = enter("failed_attach_leaves_nothing") else {
        return;
    };
    let net = network(1);
    world.raise(std::slice::from_ref(&net), Vec::new());
    let netns = new_netns(&[]).unwrap();
    let good = Endpoint {
        container: "c".repeat(64),
        index: 0,
        network: net.id.clone(),
        bridge: net.bridge(),
        interface: "eth0".to_owned(),
        address: Ipv4Addr::new(10, 89, 1, 2),
        prefix: 24,
        gateway: None,
        mac: None,
    };
    let bad = Endpoint {
        index: 1,
        bridge: "hb-ffffffffffff".to_owned(),
        interface: "eth1".to_owned(),
        ..good.clone()
    };
    let error = world.host.attach(netns.as_fd(), &[good, bad]).unwrap_err();
    assert_eq!(error.to_string(), "find bridge hb-ffffffffffff");
    assert!(
        world
            .host
            .links()
            .unwrap()
            .iter()
            .all(|link| link.kind == LinkKind::Bridge)
    );
}

#[test]
fn container_starts_again_while_its_old_namespace_lives() {
    let Some(world) = enter("container_starts_again_while_its_old_namespace_lives") else {
        return;
    };
    let net = network(1);
    world.raise(std::slice::from_ref(&net), Vec::new());
    let old = world.container(&net, 2);
    let new = world.container(&net, 2);
    serve(&new.netns, 80, "new");
    assert_eq!(ask(old.address, 80).unwrap(), "new 10.89.1.1");
}

#[test]
fn creating_a_network_again_changes_nothing() {
    let Some(world) = enter("creating_a_network_again_changes_nothing") else {
        return;
    };
    let net = network(1);
    world.raise(std::slice::from_ref(&net), Vec::new());
    let a = world.container(&net, 2);
    serve(&a.netns, 80, "a");
    world.raise(std::slice::from_ref(&net), Vec::new());
    assert!(ask(a.address, 80).is_ok());
    assert_eq!(world.host.networks().unwrap(), [net.bridge()]);
}

#[test]
fn bridge_deleted_under_us_is_made_again() {
    let Some(world) = enter("bridge_deleted_under_us_is_made_again") else {
        return;
    };
    let net = network(1);
    world.raise(std::slice::from_ref(&net), Vec::new());
    command("ip", &["link", "delete", &net.bridge()]);
    world.host.create_network(&net).unwrap();
    let a = world.container(&net, 2);
    serve(&a.netns, 80, "a");
    world.firewall(
        std::slice::from_ref(&net),
        vec![publish(None, 8080, &[(a.address, 80)])],
    );
    assert!(ask(Ipv4Addr::LOCALHOST, 8080).is_ok());
}

#[test]
fn table_of_another_make_is_made_anew() {
    let Some(world) = enter("table_of_another_make_is_made_anew") else {
        return;
    };
    let net = network(1);
    nft(&[
        "add table inet hoist; add set inet hoist bridges { type mark; }; \
           add chain inet hoist raw { type filter hook input priority 7; }",
    ]);
    world.raise(std::slice::from_ref(&net), Vec::new());
    assert!(nft(&["list", "set", "inet", "hoist", "bridges"]).contains(&net.bridge()));
}

#[test]
fn next_life_of_the_engine_takes_the_table_over() {
    let Some(world) = enter("next_life_of_the_engine_takes_the_table_over") else {
        return;
    };
    let net = network(1);
    world.raise(std::slice::from_ref(&net), Vec::new());
    let a = world.container(&net, 2);
    serve(&a.netns, 80, "a");
    let ports = vec![publish(None, 8080, &[(a.address, 80)])];
    world.firewall(std::slice::from_ref(&net), ports.clone());
    let before = nft(&["list", "ruleset"]);
    let next = world::World {
        host: hoist_network::Host::open(Default::default()).unwrap(),
    };
    drop(world);
    next.raise(std::slice::from_ref(&net), ports);
    assert_eq!(nft(&["list", "ruleset"]), before);
    assert!(ask(Ipv4Addr::LOCALHOST, 8080).is_ok());
    next.host.set_firewall(&FirewallState::default()).unwrap();
    assert_eq!(nft(&["list", "ruleset"]), "");
}

#[test]
fn host_may_be_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<hoist_network::Host>();
    shared::<hoist_network::FlushWatch>();
    shared::<hoist_network::dns::Server>();
}

#[test]
fn sweep_takes_strangers_and_spares_the_known() {
    let Some(world) = enter("sweep_takes_strangers_and_spares_the_known") else {
        return;
    };
    let nets = [network(1), network(2)];
    world.raise(&nets, Vec::new());
    let known = world.container(&nets[0], 2);
    let _stray = (world.container(&nets[0], 3), world.container(&nets[0], 4));
    let other = hoist_network::Host::open(hoist_network::HostConfig {
        instance: "0badcafe".to_owned(),
    })
    .unwrap();
    let others_net = network(3);
    other.create_network(&others_net).unwrap();

    let mut swept = world
        .host
        .sweep(&[nets[0].bridge()], std::slice::from_ref(&known.id))
        .unwrap();
    swept.sort();
    assert_eq!(
        swept,
        ["hb-020202020202", "hv0103010301030", "hv0104010401040"]
    );
    let left: Vec<_> = world
        .host
        .links()
        .unwrap()
        .into_iter()
        .map(|link| link.name)
        .collect();
    assert_eq!(left, ["hb-010101010101", "hv0102010201020"]);
    assert_eq!(other.networks().unwrap(), ["hb-030303030303"]);
    world.host.detach(&known.id).unwrap();
    world.host.remove_network(&nets[0].bridge()).unwrap();
    world.host.remove_network(&nets[0].bridge()).unwrap();
    assert!(world.host.links().unwrap().is_empty());
}

/// The rules that a running Docker engine has, written by iptables-nft.
const DOCKER: &str = "
    table ip filter {
        chain DOCKER-USER { counter return; }
        chain FORWARD { type filter hook forward priority filter; policy drop; counter jump DOCKER-USER; }
    }";

#[test]
fn traffic_passes_beside_docker_s_forward_policy_drop() {
    let Some(world) = enter("traffic_passes_beside_docker_s_forward_policy_drop") else {
        return;
    };
    let net = network(1);
    let script = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(script.path(), DOCKER).unwrap();
    nft(&["-f", script.path().to_str().unwrap()]);
    let before = nft(&["list", "ruleset"]);
    let neighbour = world.neighbour();
    serve(&neighbour, 80, "outside");
    world.raise(std::slice::from_ref(&net), Vec::new());
    let (a, b) = (world.container(&net, 2), world.container(&net, 3));
    serve(&b.netns, 80, "b");
    world.firewall(
        std::slice::from_ref(&net),
        vec![publish(None, 8080, &[(b.address, 80)])],
    );
    assert!(inside(&a.netns, || ask(NEIGHBOUR, 80)).is_ok());
    assert!(inside(&a.netns, || ask(b.address, 80)).is_ok());
    assert!(inside(&neighbour, || ask(HOST_ON_LAN, 8080)).is_ok());
    assert!(
        inside(&a.netns, || ask(HOST_ON_LAN, 8080)).is_ok(),
        "hairpin under br_netfilter"
    );
    assert!(
        inside(&b.netns, || ask(HOST_ON_LAN, 8080)).is_ok(),
        "to itself under br_netfilter"
    );
    let accepts = world.host.foreign_accepts();
    assert_eq!(
        (accepts[0].table.as_str(), accepts[0].chain.as_str()),
        ("ip filter", "DOCKER-USER")
    );
    let shown = without_counters(&nft(&["list", "chain", "ip", "filter", "DOCKER-USER"]));
    for side in ["iifname", "oifname"] {
        let rule = format!("{side} \"hb-*\" counter packets bytes accept comment \"hoist\"");
        assert!(shown.contains(&rule), "{shown}");
    }
    world.host.set_firewall(&FirewallState::default()).unwrap();
    assert_eq!(
        without_counters(&nft(&["list", "ruleset"])),
        without_counters(&before)
    );
    assert!(world.host.foreign_accepts().is_empty());
}

fn without_counters(ruleset: &str) -> String {
    let words = ruleset.split_whitespace();
    words
        .filter(|word| word.parse::<u64>().is_err())
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn accept_goes_to_the_head_of_a_dropping_chain_without_docker() {
    let Some(world) = enter("accept_goes_to_the_head_of_a_dropping_chain_without_docker") else {
        return;
    };
    let net = network(1);
    nft(&[
        "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }",
    ]);
    let neighbour = world.neighbour();
    serve(&neighbour, 80, "outside");
    world.raise(std::slice::from_ref(&net), Vec::new());
    let a = world.container(&net, 2);
    assert!(inside(&a.netns, || ask(NEIGHBOUR, 80)).is_ok());
    assert_eq!(world.host.foreign_accepts()[0].chain, "FORWARD");
}

#[test]
fn flushed_ruleset_is_noticed_and_put_back() {
    let Some(world) = enter("flushed_ruleset_is_noticed_and_put_back") else {
        return;
    };
    let net = network(1);
    world.raise(std::slice::from_ref(&net), Vec::new());
    let a = world.container(&net, 2);
    serve(&a.netns, 80, "a");
    let watch = world.host.watch_flush().unwrap();
    world.firewall(
        std::slice::from_ref(&net),
        vec![publish(None, 8080, &[(a.address, 80)])],
    );
    assert_eq!(
        watch.try_next_event().unwrap(),
        None,
        "our own changes are no news"
    );
    let before = nft(&["list", "ruleset"]);
    nft(&["flush", "ruleset"]);
    assert_eq!(watch.next_event().unwrap(), FirewallEvent::Changed);
    world.host.reassert_firewall().unwrap();
    assert_eq!(nft(&["list", "ruleset"]), before);
    assert!(ask(Ipv4Addr::LOCALHOST, 8080).is_ok());
    assert_eq!(watch.try_next_event().unwrap(), None);
}

#[test]
fn engines_side_by_side_do_not_answer_each_other() {
    let Some(world) = enter("engines_side_by_side_do_not_answer_each_other") else {
        return;
    };
    let (ours, theirs) = (network(1), network(2));
    let other = Host::open(HostConfig {
        instance: "0123abcd".to_owned(),
    })
    .unwrap();
    world.raise(std::slice::from_ref(&ours), Vec::new());
    let watch = world.host.watch_flush().unwrap();
    other.create_network(&theirs).unwrap();
    other
        .set_firewall(&FirewallState {
            networks: vec![theirs],
            ..FirewallState::default()
        })
        .unwrap();
    other.reassert_firewall().unwrap();
    assert_eq!(watch.try_next_event().unwrap(), None);
    other.set_firewall(&FirewallState::default()).unwrap();
    assert_eq!(watch.try_next_event().unwrap(), None);
}

#[test]
fn docker_that_starts_later_is_noticed() {
    let Some(world) = enter("docker_that_starts_later_is_noticed") else {
        return;
    };
    let net = network(1);
    world.raise(std::slice::from_ref(&net), Vec::new());
    let (a, b) = (world.container(&net, 2), world.container(&net, 3));
    serve(&b.netns, 80, "b");
    let watch = world.host.watch_flush().unwrap();
    let script = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(script.path(), DOCKER).unwrap();
    nft(&["-f", script.path().to_str().unwrap()]);
    assert_eq!(watch.next_event().unwrap(), FirewallEvent::Changed);
    world.host.reassert_firewall().unwrap();
    assert!(inside(&a.netns, || ask(b.address, 80)).is_ok());
}

#[test]
fn the_users_chain_comes_first_and_survives_changes() {
    let Some(world) = enter("the_users_chain_comes_first_and_survives_changes") else {
        return;
    };
    let nets = [network(1), network(2)];
    world.raise(&nets[..1], Vec::new());
    let neighbour = world.neighbour();
    serve(&neighbour, 80, "outside");
    let a = world.container(&nets[0], 2);
    let watch = world.host.watch_flush().unwrap();
    nft(&[
        "add",
        "rule",
        "inet",
        "hoist",
        "user",
        "ip",
        "daddr",
        "192.0.2.2",
        "drop",
    ]);
    assert!(inside(&a.netns, || ask(NEIGHBOUR, 80)).is_err());
    world.raise(&nets, Vec::new());
    world.host.reassert_firewall().unwrap();
    assert!(inside(&a.netns, || ask(NEIGHBOUR, 80)).is_err());
    nft(&["flush", "chain", "inet", "hoist", "user"]);
    assert!(inside(&a.netns, || ask(NEIGHBOUR, 80)).is_ok());
    assert_eq!(
        watch.try_next_event().unwrap(),
        None,
        "the user's chain is the user's"
    );
}
