//! What askers on each network see.

use super::*;

const ALICE: Ipv4Addr = Ipv4Addr::new(10, 89, 1, 2);

fn endpoint(name: &str, alias: &str, address: &str, healthy: bool) -> ZoneEndpoint {
    ZoneEndpoint {
        container: format!("{name:0<64}"),
        name: name.to_owned(),
        aliases: vec![alias.to_owned()],
        address: address.parse().unwrap(),
        healthy,
        resolvers: Vec::new(),
    }
}

fn network(id: &str, third: u8, internal: bool, endpoints: Vec<ZoneEndpoint>) -> ZoneNetwork {
    ZoneNetwork {
        id: id.to_owned(),
        name: format!("shop_{id}"),
        subnet: format!("10.89.{third}.0/24").parse().unwrap(),
        internal,
        endpoints,
        reserved: vec!["mail".to_owned()],
    }
}

fn zone() -> Zone {
    Zone::new(&[
        network(
            "front",
            1,
            false,
            vec![endpoint("alice", "web", "10.89.1.2", true), endpoint("bob", "Web", "10.89.1.3", false)],
        ),
        network(
            "back",
            2,
            true,
            vec![endpoint("alice", "web", "10.89.2.2", true), endpoint("dora", "db", "10.89.2.3", true)],
        ),
    ])
}

fn addresses(answer: &Answer) -> Vec<String> {
    let Answer::Addresses(addresses) = answer else { panic!("{answer:?}") };
    addresses.iter().map(Ipv4Addr::to_string).collect()
}

fn resolve(zone: &Zone, network: &str, asker: &str, name: &str) -> Answer {
    zone.answer(network, asker.parse().unwrap(), Question::Addresses(name), 0)
}

#[test]
fn service_container_name_and_short_id_resolve() {
    let zone = zone();
    for name in ["alice", "alice0000000", "web", "web.shop_front"] {
        assert_eq!(addresses(&resolve(&zone, "front", "10.89.1.3", name)), ["10.89.1.2"], "{name}");
    }
}

#[test]
fn unhealthy_replica_is_answered_only_while_there_is_no_other() {
    let replicas = |alice, bob| {
        let zone = Zone::new(&[network(
            "front",
            1,
            false,
            vec![endpoint("alice", "web", "10.89.1.2", alice), endpoint("bob", "web", "10.89.1.3", bob)],
        )]);
        addresses(&resolve(&zone, "front", "10.89.1.2", "web"))
    };
    assert_eq!(replicas(true, false), ["10.89.1.2"]);
    assert_eq!(replicas(false, false), ["10.89.1.2", "10.89.1.3"]);
}

#[test]
fn answers_take_turns() {
    let endpoints = vec![endpoint("a", "web", "10.89.1.2", true), endpoint("b", "web", "10.89.1.3", true)];
    let zone = Zone::new(&[network("front", 1, false, endpoints)]);
    let first = |turn| addresses(&zone.answer("front", ALICE, Question::Addresses("web"), turn))[0].clone();
    assert_ne!(first(0), first(1));
    assert_eq!(first(0), first(2));
}

#[test]
fn names_of_every_network_of_the_asker_and_of_no_other() {
    let zone = zone();
    assert_eq!(addresses(&resolve(&zone, "front", "10.89.1.2", "db")), ["10.89.2.3"], "alice is in both");
    assert_eq!(resolve(&zone, "front", "10.89.1.3", "db"), Answer::Forward(Vec::new()), "bob is not in back");
}

#[test]
fn internal_network_has_no_way_out_unless_the_asker_has_another() {
    let zone = zone();
    assert_eq!(resolve(&zone, "back", "10.89.2.3", "example.org"), Answer::NoWayOut);
    assert_eq!(resolve(&zone, "back", "10.89.2.2", "example.org"), Answer::Forward(Vec::new()));
}

#[test]
fn other_types_of_a_known_name_are_empty_and_not_forwarded() {
    assert_eq!(zone().answer("front", ALICE, Question::Other("web"), 0), Answer::Nothing);
}

#[test]
fn stopped_services_names_do_not_leak() {
    assert_eq!(resolve(&zone(), "front", "10.89.1.2", "mail"), Answer::NoSuchName);
    assert_eq!(resolve(&zone(), "front", "10.89.1.2", "mail.shop_front"), Answer::NoSuchName);
}

#[test]
fn reverse_lookup_gives_the_container_name() {
    let reverse = |last| zone().answer("front", ALICE, Question::Reverse(Ipv4Addr::new(10, 89, 1, last)), 0);
    assert_eq!(reverse(3), Answer::Name("bob".to_owned()));
    assert_eq!(reverse(99), Answer::NoSuchName, "not forwarded");
    let elsewhere = Question::Reverse(Ipv4Addr::new(192, 0, 2, 1));
    assert_eq!(zone().answer("front", ALICE, elsewhere, 0), Answer::Forward(Vec::new()));
}

#[test]
fn strangers_are_refused_and_newcomers_see_their_bridge_only() {
    let zone = zone();
    assert_eq!(resolve(&zone, "front", "192.0.2.7", "web"), Answer::Refused);
    assert_eq!(resolve(&zone, "nowhere", "10.89.1.2", "web"), Answer::Refused);
    assert_eq!(addresses(&resolve(&zone, "front", "10.89.1.77", "web")), ["10.89.1.2"]);
    assert_eq!(resolve(&zone, "front", "10.89.1.77", "db"), Answer::Forward(Vec::new()));
}

#[test]
fn own_resolvers_of_a_container_are_used() {
    let mut alice = endpoint("alice", "web", "10.89.1.2", true);
    alice.resolvers = vec!["1.1.1.1".parse().unwrap()];
    let zone = Zone::new(&[network("front", 1, false, vec![alice])]);
    assert_eq!(resolve(&zone, "front", "10.89.1.2", "x.org"), Answer::Forward(vec!["1.1.1.1".parse().unwrap()]));
}
