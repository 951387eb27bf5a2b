//! Subnets and addresses.

use expect_test::expect;
use hoist_scheduler::{Network, Pool};
use hoist_spec::model::{self, Attachment, IpamPool};

use crate::check;
use crate::world::{World, up};

fn fixed(service: &mut model::Service, address: [u8; 4]) {
    service.networks.get_mut("default").unwrap().ipv4_address = Some(address.into());
}

fn subnet(network: &mut model::Network, subnet: &str) {
    network.ipam.push(IpamPool {
        subnet: Some(subnet.parse().unwrap()),
        ..IpamPool::default()
    });
}

fn foreign(name: &str, subnet: &str) -> Network {
    let subnet: ipnet::Ipv4Net = subnet.parse().unwrap();
    Network {
        id: name.to_owned(),
        name: name.to_owned(),
        project: "other".to_owned(),
        key: "default".to_owned(),
        config_hash: String::new(),
        subnet,
        gateway: subnet.hosts().next().unwrap(),
        range: subnet,
        internal: false,
        foreign: Default::default(),
        reserved: Default::default(),
    }
}

#[test]
fn fixed_addresses_come_first_and_the_rest_goes_around_them() {
    let mut world = World::new()
        .with("a", |_| {})
        .with("b", |service| fixed(service, [172, 18, 0, 2]))
        .with("c", |_| {});
    check(
        &world.preview(up()),
        expect![[r#"
            0   + create network app_default 172.18.0.0/22  (missing)
            1   + create container app-a-1 busybox@busybox-1 app_default=172.18.0.3  (missing)  after 0
            2   + create container app-b-1 busybox@busybox-1 app_default=172.18.0.2  (missing)  after 0
            3   + create container app-c-1 busybox@busybox-1 app_default=172.18.0.4  (missing)  after 0
            4   ~ start container app-a-1  (missing)  after 1
            5   ~ start container app-b-1  (missing)  after 2
            6   ~ start container app-c-1  (missing)  after 3
        "#]],
    );
}

#[test]
fn subnets_avoid_routes_and_other_stacks() {
    let mut world = World::new()
        .with_network("back", |network| network.internal = true)
        .with("a", |service| {
            service
                .networks
                .insert("back".to_owned(), Attachment::default());
        });
    world
        .observed
        .host
        .routes
        .push("172.18.0.0/23".parse().unwrap());
    world.observed.networks.insert(
        "other_default".to_owned(),
        foreign("other_default", "172.18.2.0/24"),
    );
    check(
        &world.preview(up()),
        expect![[r#"
            0   + create network app_back 172.18.4.0/22 internal  (missing)
            1   + create network app_default 172.18.8.0/22  (missing)
            2   + create container app-a-1 busybox@busybox-1 app_back=172.18.4.2 app_default=172.18.8.2  (missing)  after 0 1
            3   ~ start container app-a-1  (missing)  after 2
        "#]],
    );
}

#[test]
fn used_up_pool_is_a_problem() {
    let mut world = World::new().with("a", |_| {});
    world.observed.host.pools = vec![Pool {
        net: "10.0.0.0/24".parse().unwrap(),
        size: 24,
    }];
    world.observed.networks.insert(
        "other_default".to_owned(),
        foreign("other_default", "10.0.0.0/24"),
    );
    check(
        &world.preview(up()),
        expect![[r#"
            ! network "app_default": no free subnet left in the address pools
            0   + create container app-a-1 busybox@busybox-1  (missing)
            1   ~ start container app-a-1  (missing)  after 0
        "#]],
    );
}

#[test]
fn used_up_subnet_is_a_problem() {
    let mut world = World::new().with("a", |service| service.replicas = 2);
    subnet(
        world.desired.stack.networks.get_mut("default").unwrap(),
        "10.9.0.0/30",
    );
    check(
        &world.preview(up()),
        expect![[r#"
            ! service "a": no free address left in network "app_default" (10.9.0.0/30)
            0   + create network app_default 10.9.0.0/30  (missing)
            1   + create container app-a-1 busybox@busybox-1 app_default=10.9.0.2  (missing)  after 0
            2   + create container app-a-2 busybox@busybox-1  (missing)
            3   ~ start container app-a-1  (missing)  after 1
            4   ~ start container app-a-2  (missing)  after 2
        "#]],
    );
}

#[test]
fn subnet_of_another_network_is_refused() {
    let mut world = World::new().with("a", |_| {});
    subnet(
        world.desired.stack.networks.get_mut("default").unwrap(),
        "10.9.0.0/16",
    );
    world.observed.networks.insert(
        "other_default".to_owned(),
        foreign("other_default", "10.9.4.0/24"),
    );
    check(
        &world.preview(up()),
        expect![[r#"
            ! network "app_default": subnet 10.9.0.0/16 overlaps with network "other_default" (10.9.4.0/24)
            0   + create container app-a-1 busybox@busybox-1  (missing)
            1   ~ start container app-a-1  (missing)  after 0
        "#]],
    );
}

#[test]
fn address_outside_of_the_subnet_or_given_twice_is_refused() {
    let mut world = World::new()
        .with("a", |service| fixed(service, [10, 0, 0, 1]))
        .with("b", |service| fixed(service, [172, 18, 0, 7]))
        .with("c", |service| fixed(service, [172, 18, 0, 7]))
        .with("d", |service| fixed(service, [172, 18, 0, 1]));
    check(
        &world.preview(up()),
        expect![[r#"
            ! service "a": address 10.0.0.1 is not usable in network "app_default" (172.18.0.0/22)
            ! service "c": address 172.18.0.7 in network "app_default" is held by app-b-1
            ! service "d": address 172.18.0.1 in network "app_default" is held by the gateway
            0   + create network app_default 172.18.0.0/22  (missing)
            1   + create container app-a-1 busybox@busybox-1  (missing)
            2   + create container app-b-1 busybox@busybox-1 app_default=172.18.0.7  (missing)  after 0
            3   + create container app-c-1 busybox@busybox-1  (missing)
            4   + create container app-d-1 busybox@busybox-1  (missing)
            5   ~ start container app-a-1  (missing)  after 1
            6   ~ start container app-b-1  (missing)  after 2
            7   ~ start container app-c-1  (missing)  after 3
            8   ~ start container app-d-1  (missing)  after 4
        "#]],
    );
}

#[test]
fn an_address_that_became_fixed_is_taken_from_who_has_it_by_chance() {
    let mut world = World::new().with("a", |_| {}).up();
    world.edit("b", |service| fixed(service, [172, 18, 0, 2]));
    check(
        &world.preview(up()),
        expect![[r#"
            0   ~ stop container app-a-1 SIGTERM 10s  (its address in app_default is needed)
            1   - remove container app-a-1  (its address in app_default is needed)  after 0
            2   + create container app-a-1 busybox@busybox-1 app_default=172.18.0.3  (its address in app_default is needed)  after 1
            3   + create container app-b-1 busybox@busybox-1 app_default=172.18.0.2  (missing)  after 1
            4   ~ start container app-a-1  (its address in app_default is needed)  after 2
            5   ~ start container app-b-1  (missing)  after 3
        "#]],
    );
}

#[test]
fn two_services_can_swap_addresses() {
    let mut world = World::new()
        .with("a", |service| fixed(service, [172, 18, 0, 10]))
        .with("b", |service| fixed(service, [172, 18, 0, 11]))
        .up();
    world.edit("a", |service| fixed(service, [172, 18, 0, 11]));
    world.edit("b", |service| fixed(service, [172, 18, 0, 10]));
    check(
        &world.preview(up()),
        expect![[r#"
            0   ~ stop container app-a-1 SIGTERM 10s  (changed: networks)
            1   ~ stop container app-b-1 SIGTERM 10s  (changed: networks)
            2   - remove container app-a-1  (changed: networks)  after 0
            3   - remove container app-b-1  (changed: networks)  after 1
            4   + create container app-a-1 busybox@busybox-1 app_default=172.18.0.11  (changed: networks)  after 2 3
            5   + create container app-b-1 busybox@busybox-1 app_default=172.18.0.10  (changed: networks)  after 2 3
            6   ~ start container app-a-1  (changed: networks)  after 4
            7   ~ start container app-b-1  (changed: networks)  after 5
        "#]],
    );
}

#[test]
fn ranges_gateways_and_reserved_addresses() {
    let mut world = World::new().with("a", |_| {});
    world
        .desired
        .stack
        .networks
        .get_mut("default")
        .unwrap()
        .ipam
        .push(IpamPool {
            subnet: Some("10.9.0.0/24".parse().unwrap()),
            ip_range: Some("10.9.0.128/25".parse().unwrap()),
            gateway: Some("10.9.0.254".parse().unwrap()),
            aux_addresses: [("router".to_owned(), "10.9.0.128".parse().unwrap())].into(),
        });
    check(
        &world.preview(up()),
        expect![[r#"
            0   + create network app_default 10.9.0.0/24  (missing)
            1   + create container app-a-1 busybox@busybox-1 app_default=10.9.0.129  (missing)  after 0
            2   ~ start container app-a-1  (missing)  after 1
        "#]],
    );
}

#[test]
fn external_networks_must_exist_and_belong_to_whom_they_belong() {
    let mut world = World::new()
        .with_network("shared", |network| {
            network.name = "shared".to_owned();
            network.external = true;
        })
        .with_network("theirs", |network| {
            network.name = "other_default".to_owned()
        })
        .with("a", |service| {
            service
                .networks
                .insert("shared".to_owned(), Attachment::default());
        })
        .with("b", |service| {
            service
                .networks
                .insert("theirs".to_owned(), Attachment::default());
        });
    world.observed.networks.insert(
        "other_default".to_owned(),
        foreign("other_default", "172.18.2.0/24"),
    );
    check(
        &world.preview(up()),
        expect![[r#"
            ! external network "shared" does not exist; make it with `hoist network create shared`
            ! network "other_default" belongs to project "other"; declare it external to share it
            0   + create network app_default 172.18.4.0/22  (missing)
            1   + create container app-a-1 busybox@busybox-1 app_default=172.18.4.2  (missing)  after 0
            2   + create container app-b-1 busybox@busybox-1 app_default=172.18.4.3  (missing)  after 0
            3   ~ start container app-a-1  (missing)  after 1
            4   ~ start container app-b-1  (missing)  after 2
        "#]],
    );
    world.desired.stack.services.remove("b");
    let mut shared = foreign("shared", "172.20.0.0/24");
    shared
        .foreign
        .insert([172, 20, 0, 2].into(), "other-web-1".to_owned());
    world.observed.networks.insert("shared".to_owned(), shared);
    check(
        &world.preview(up()),
        expect![[r#"
            0   + create network app_default 172.18.4.0/22  (missing)
            1   + create container app-a-1 busybox@busybox-1 app_default=172.18.4.2 shared=172.20.0.3  (missing)  after 0
            2   ~ start container app-a-1  (missing)  after 1
        "#]],
    );
}
