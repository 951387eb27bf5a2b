//! Networks that are not the stack's own, and full ones.

use expect_test::expect;
use hoist_scheduler::{Down, Network, Verb};
use hoist_spec::model::{self, IpamPool, NetworkMode};

use crate::check;
use crate::world::{World, up};

fn on(network: &str) -> impl FnOnce(&mut model::Service) + use<'_> {
    move |service| {
        service.networks.clear();
        service.network_mode = Some(NetworkMode::Network(network.to_owned()));
    }
}

fn down() -> Verb {
    Verb::Down(Down::default())
}

fn network(name: &str, project: &str) -> Network {
    Network {
        id: name.to_owned(),
        name: name.to_owned(),
        project: project.to_owned(),
        key: String::new(),
        config_hash: String::new(),
        subnet: "172.20.0.0/22".parse().unwrap(),
        gateway: [172, 20, 0, 1].into(),
        range: "172.20.0.0/22".parse().unwrap(),
        internal: false,
        foreign: Default::default(),
        reserved: Default::default(),
    }
}

#[test]
fn the_bridge_network_is_made_by_who_needs_it_first_and_goes_with_the_last() {
    let mut world = World::new()
        .with("a", on("bridge"))
        .with("b", on("default"))
        .with_network("own", |network| {
            (network.name, network.external) = ("bridge".to_owned(), true)
        })
        .with("c", |service| {
            service.networks = [("own".to_owned(), model::Attachment::default())].into()
        });
    check(
        &world.preview(up()),
        expect![[r#"
            0   + create network bridge 172.18.0.0/22  (missing)
            1   + create container app-a-1 busybox@busybox-1 bridge=172.18.0.2  (missing)  after 0
            2   + create container app-b-1 busybox@busybox-1 bridge=172.18.0.3  (missing)  after 0
            3   + create container app-c-1 busybox@busybox-1 bridge=172.18.0.4  (missing)  after 0
            4   ~ start container app-a-1  (missing)  after 1
            5   ~ start container app-b-1  (missing)  after 2
            6   ~ start container app-c-1  (missing)  after 3
        "#]],
    );
    let mut world = world.up();
    check(
        &world.preview(up()),
        expect![[r#"
        nothing to do
    "#]],
    );
    check(
        &world.preview(down()),
        expect![[r#"
            0   ~ stop container app-a-1 SIGTERM 10s  (requested)
            1   ~ stop container app-b-1 SIGTERM 10s  (requested)
            2   ~ stop container app-c-1 SIGTERM 10s  (requested)
            3   - remove container app-a-1  (requested)  after 0
            4   - remove container app-b-1  (requested)  after 1
            5   - remove container app-c-1  (requested)  after 2
            6   - remove network bridge  (requested)  after 3 4 5
        "#]],
    );
    let bridge = world.observed.networks.get_mut("bridge").unwrap();
    bridge
        .foreign
        .insert([172, 18, 0, 9].into(), "other-web-1".to_owned());
    check(
        &world.preview(down()),
        expect![[r#"
            0   ~ stop container app-a-1 SIGTERM 10s  (requested)
            1   ~ stop container app-b-1 SIGTERM 10s  (requested)
            2   ~ stop container app-c-1 SIGTERM 10s  (requested)
            3   - remove container app-a-1  (requested)  after 0
            4   - remove container app-b-1  (requested)  after 1
            5   - remove container app-c-1  (requested)  after 2
        "#]],
    );
}

#[test]
fn the_bridge_network_of_another_plan_is_asked_for_again() {
    let mut world = World::new().with("a", on("bridge"));
    world.observed.networks.insert(
        "bridge".to_owned(),
        Network {
            id: String::new(),
            ..network("bridge", "")
        },
    );
    check(
        &world.preview(up()),
        expect![[r#"
        0   + create network bridge 172.20.0.0/22  (missing)
        1   + create container app-a-1 busybox@busybox-1 bridge=172.20.0.2  (missing)  after 0
        2   ~ start container app-a-1  (missing)  after 1
    "#]],
    );
}

#[test]
fn a_mode_that_names_a_network_joins_it() {
    let mut world = World::new().with("a", on("proxy"));
    check(
        &world.preview(up()),
        expect![[r#"
        ! external network "proxy" does not exist; make it with `hoist network create proxy`
        0   + create container app-a-1 busybox@busybox-1  (missing)
        1   ~ start container app-a-1  (missing)  after 0
    "#]],
    );
    world
        .observed
        .networks
        .insert("proxy".to_owned(), network("proxy", "edge"));
    check(
        &world.preview(up()),
        expect![[r#"
        0   + create container app-a-1 busybox@busybox-1 proxy=172.20.0.2  (missing)
        1   ~ start container app-a-1  (missing)  after 0
    "#]],
    );
    let mut world = world.up();
    check(
        &world.preview(down()),
        expect![[r#"
        0   ~ stop container app-a-1 SIGTERM 10s  (requested)
        1   - remove container app-a-1  (requested)  after 0
    "#]],
    );
}

#[test]
fn a_stack_cannot_own_the_bridge_network() {
    let mut world = World::new().with("a", |_| {});
    world
        .desired
        .stack
        .networks
        .get_mut("default")
        .unwrap()
        .name = "bridge".to_owned();
    check(
        &world.preview(up()),
        expect![[r#"
        ! network "bridge" is the engine's own and belongs to no stack; give this one another `name`, or declare it external to join the engine's
        0   + create container app-a-1 busybox@busybox-1  (missing)
        1   ~ start container app-a-1  (missing)  after 0
    "#]],
    );
}

#[test]
fn three_hundred_replicas_fit_a_default_network() {
    let mut world = World::new().with("a", |service| service.replicas = 300);
    let plan = world.preview(up());
    assert!(plan.problems.is_empty(), "{:?}", plan.problems);
}

#[test]
fn more_containers_than_a_bridge_holds_are_one_problem() {
    let mut world = World::new().with("a", |service| service.replicas = 1100);
    let pool = IpamPool {
        subnet: Some("10.0.0.0/16".parse().unwrap()),
        ..IpamPool::default()
    };
    world
        .desired
        .stack
        .networks
        .get_mut("default")
        .unwrap()
        .ipam
        .push(pool);
    let plan = world.preview(up());
    let problems: Vec<_> = plan.problems.iter().map(ToString::to_string).collect();
    expect![[r#"service "a": network "app_default" is full: a bridge holds 1023 containers; put some services on another network"#]].assert_eq(&problems.join("\n"));
    let full = World::new()
        .with("a", |service| service.replicas = 1100)
        .preview(up());
    let problems: Vec<_> = full.problems.iter().map(ToString::to_string).collect();
    expect![[r#"service "a": no free address left in network "app_default" (172.18.0.0/22)"#]]
        .assert_eq(&problems.join("\n"));
}
