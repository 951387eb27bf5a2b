//! What askers on each network see.

use super::*;

const ALICE: &str = "alice";

fn id(name: &str) -> String {
    format!("{name:0<64}")
}

fn asker(name: &str) -> Asker {
    Asker {
        container: id(name),
        home: vec!["front".to_owned()],
    }
}

fn endpoint(name: &str, alias: &str, address: &str, healthy: bool) -> ZoneEndpoint {
    ZoneEndpoint {
        container: id(name),
        name: name.to_owned(),
        aliases: vec![alias.to_owned()],
        address: address.parse().unwrap(),
        healthy,
        resolvers: Vec::new(),
        links: BTreeMap::new(),
    }
}

fn network(id: &str, third: u8, internal: bool, endpoints: Vec<ZoneEndpoint>) -> ZoneNetwork {
    ZoneNetwork {
        id: id.to_owned(),
        name: format!("shop_{id}"),
        subnet: format!("10.89.{third}.0/24").parse().unwrap(),
        internal,
        nameless: false,
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
            vec![
                endpoint("alice", "web", "10.89.1.2", true),
                endpoint("bob", "Web", "10.89.1.3", false),
            ],
        ),
        network(
            "back",
            2,
            true,
            vec![
                endpoint("alice", "web", "10.89.2.2", true),
                endpoint("dora", "db", "10.89.2.3", true),
            ],
        ),
    ])
}

fn addresses(answer: &Answer) -> Vec<String> {
    let Answer::Addresses(addresses) = answer else {
        panic!("{answer:?}")
    };
    addresses.iter().map(Ipv4Addr::to_string).collect()
}

fn resolve(zone: &Zone, of: &str, name: &str) -> Answer {
    zone.answer(&asker(of), Question::Addresses(name), 0)
}

#[test]
fn service_container_name_and_short_id_resolve() {
    let zone = zone();
    for name in ["alice", "alice0000000", "web", "web.shop_front"] {
        assert_eq!(
            addresses(&resolve(&zone, "bob", name)),
            ["10.89.1.2"],
            "{name}"
        );
    }
}

#[test]
fn unhealthy_replica_is_answered_only_while_there_is_no_other() {
    let replicas = |alice, bob| {
        let zone = Zone::new(&[network(
            "front",
            1,
            false,
            vec![
                endpoint("alice", "web", "10.89.1.2", alice),
                endpoint("bob", "web", "10.89.1.3", bob),
            ],
        )]);
        addresses(&resolve(&zone, "alice", "web"))
    };
    assert_eq!(replicas(true, false), ["10.89.1.2"]);
    assert_eq!(replicas(false, false), ["10.89.1.2", "10.89.1.3"]);
}

#[test]
fn answers_take_turns() {
    let endpoints = vec![
        endpoint("a", "web", "10.89.1.2", true),
        endpoint("b", "web", "10.89.1.3", true),
    ];
    let zone = Zone::new(&[network("front", 1, false, endpoints)]);
    let first =
        |turn| addresses(&zone.answer(&asker(ALICE), Question::Addresses("web"), turn))[0].clone();
    assert_ne!(first(0), first(1));
    assert_eq!(first(0), first(2));
}

#[test]
fn names_of_every_network_of_the_asker_and_of_no_other() {
    let zone = zone();
    assert_eq!(
        addresses(&resolve(&zone, "alice", "db")),
        ["10.89.2.3"],
        "alice is in both"
    );
    assert_eq!(
        resolve(&zone, "bob", "db"),
        Answer::Forward(Vec::new()),
        "bob is not in back"
    );
}

#[test]
fn internal_network_has_no_way_out_unless_the_asker_has_another() {
    let zone = zone();
    assert_eq!(resolve(&zone, "dora", "example.org"), Answer::NoWayOut);
    assert_eq!(
        resolve(&zone, "alice", "example.org"),
        Answer::Forward(Vec::new())
    );
}

#[test]
fn other_types_of_a_known_name_are_empty_and_not_forwarded() {
    assert_eq!(
        zone().answer(&asker(ALICE), Question::Other("web"), 0),
        Answer::Nothing
    );
}

#[test]
fn stopped_services_names_do_not_leak() {
    assert_eq!(resolve(&zone(), "alice", "mail"), Answer::NoSuchName);
    assert_eq!(
        resolve(&zone(), "alice", "mail.shop_front"),
        Answer::NoSuchName
    );
}

#[test]
fn reverse_lookup_gives_the_container_name() {
    let reverse = |last| {
        zone().answer(
            &asker(ALICE),
            Question::Reverse(Ipv4Addr::new(10, 89, 1, last)),
            0,
        )
    };
    assert_eq!(reverse(3), Answer::Name("bob".to_owned()));
    assert_eq!(reverse(99), Answer::NoSuchName, "not forwarded");
    let elsewhere = Question::Reverse(Ipv4Addr::new(192, 0, 2, 1));
    assert_eq!(
        zone().answer(&asker(ALICE), elsewhere, 0),
        Answer::Forward(Vec::new())
    );
}

#[test]
fn newcomers_see_their_first_network_only() {
    let zone = zone();
    assert_eq!(addresses(&resolve(&zone, "newcomer", "web")), ["10.89.1.2"]);
    assert_eq!(
        resolve(&zone, "newcomer", "db"),
        Answer::Forward(Vec::new())
    );
    let nowhere = Asker {
        container: id("newcomer"),
        home: vec!["gone".to_owned()],
    };
    assert_eq!(
        zone.answer(&nowhere, Question::Addresses("web"), 0),
        Answer::NoWayOut
    );
}

#[test]
fn a_link_is_a_name_of_its_container_alone() {
    let mut alice = endpoint("alice", "web", "10.89.1.2", true);
    let target = Candidate {
        address: "10.89.1.3".parse().unwrap(),
        healthy: true,
    };
    alice.links = BTreeMap::from([
        ("Database".to_owned(), vec![target]),
        ("stopped".to_owned(), Vec::new()),
    ]);
    let zone = Zone::new(&[network(
        "front",
        1,
        false,
        vec![alice, endpoint("bob", "db", "10.89.1.3", true)],
    )]);
    assert_eq!(
        addresses(&resolve(&zone, "alice", "database")),
        ["10.89.1.3"]
    );
    assert_eq!(resolve(&zone, "alice", "stopped"), Answer::NoSuchName);
    assert_eq!(
        resolve(&zone, "bob", "database"),
        Answer::Forward(Vec::new())
    );
}

#[test]
fn a_nameless_network_answers_links_and_the_outside_only() {
    let mut alice = endpoint("alice", "web", "10.89.1.2", true);
    let target = Candidate {
        address: "10.89.1.3".parse().unwrap(),
        healthy: true,
    };
    alice.links = BTreeMap::from([("db".to_owned(), vec![target])]);
    let endpoints = vec![alice, endpoint("bob", "db", "10.89.1.3", true)];
    let zone = Zone::new(&[ZoneNetwork {
        nameless: true,
        ..network("front", 1, false, endpoints)
    }]);
    assert_eq!(addresses(&resolve(&zone, "alice", "db")), ["10.89.1.3"]);
    assert_eq!(resolve(&zone, "bob", "web"), Answer::Forward(Vec::new()));
}

#[test]
fn a_final_dot_of_an_alias_does_not_matter() {
    let zone = Zone::new(&[network(
        "front",
        1,
        false,
        vec![endpoint("alice", "db.internal.", "10.89.1.2", true)],
    )]);
    assert_eq!(
        addresses(&resolve(&zone, "alice", "db.internal")),
        ["10.89.1.2"]
    );
}

#[test]
fn own_resolvers_of_a_container_are_used() {
    let mut alice = endpoint("alice", "web", "10.89.1.2", true);
    alice.resolvers = vec!["1.1.1.1".parse().unwrap()];
    let zone = Zone::new(&[network("front", 1, false, vec![alice])]);
    assert_eq!(
        resolve(&zone, "alice", "x.org"),
        Answer::Forward(vec!["1.1.1.1".parse().unwrap()])
    );
}
