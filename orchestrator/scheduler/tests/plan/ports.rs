//! Published ports, fixed and drawn.

use expect_test::expect;
use hoist_object::Transport;
use hoist_scheduler::{HeldPort, PortHolder, Start, Up, Verb};

use crate::check;
use crate::world::{World, publish, services, up, up_only};

#[test]
fn a_port_of_the_host_or_of_another_stack_is_refused() {
    let mut world = World::new()
        .with("a", |service| publish(service, (80, 80), 80))
        .with("b", |service| publish(service, (81, 81), 80));
    let held = |port, holder| HeldPort {
        ip: None,
        port,
        transport: Transport::Tcp,
        holder,
    };
    world.observed.host.ports = vec![
        held(80, PortHolder::Host),
        held(
            81,
            PortHolder::Container {
                project: "other".to_owned(),
                name: "other-web-1".to_owned(),
            },
        ),
    ];
    check(
        &world.preview(up()),
        expect![[r#"
            ! service "a": host port 80/tcp is in use by a process on the host; publish another port, or stop what has it
            ! service "b": host port 81/tcp is in use by container "other-web-1" of project "other"; publish another port, or stop what has it
            0   + create network app_default 172.18.0.0/22  (missing)
            1   + create container app-a-1 busybox@busybox-1 app_default=172.18.0.2  (missing)  after 0
            2   + create container app-b-1 busybox@busybox-1 app_default=172.18.0.3  (missing)  after 0
            3   ~ start container app-a-1  (missing)  after 1
            4   ~ start container app-b-1  (missing)  after 2
        "#]],
    );
}

#[test]
fn host_addresses_of_ipv6_are_refused() {
    let mut world = World::new().with("a", |service| {
        publish(service, (80, 80), 80);
        service.ports[0].host_ip = Some("::1".parse().unwrap());
    });
    let problems: Vec<_> = world
        .preview(up())
        .problems
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        problems,
        ["service \"a\": the IPv6 host address ::1 is not supported yet; use one of IPv4"]
    );
}

#[test]
fn loopback_and_another_address_do_not_clash() {
    let mut world = World::new()
        .with("a", |service| {
            publish(service, (80, 80), 80);
            service.ports[0].host_ip = Some("127.0.0.1".parse().unwrap());
        })
        .with("b", |service| {
            publish(service, (80, 80), 80);
            service.ports[0].host_ip = Some("10.0.0.1".parse().unwrap());
        })
        .with("c", |service| {
            publish(service, (80, 80), 80);
            service.ports[0].protocol = hoist_spec::model::Protocol::Udp;
        });
    check(
        &world.preview(up()),
        expect![[r#"
            0   + create network app_default 172.18.0.0/22  (missing)
            1   + create container app-a-1 busybox@busybox-1 app_default=172.18.0.2 127.0.0.1:80->80/tcp  (missing)  after 0
            2   + create container app-b-1 busybox@busybox-1 app_default=172.18.0.3 10.0.0.1:80->80/tcp  (missing)  after 0
            3   + create container app-c-1 busybox@busybox-1 app_default=172.18.0.4 80->80/udp  (missing)  after 0
            4   ~ start container app-a-1  (missing)  after 1
            5   ~ start container app-b-1  (missing)  after 2
            6   ~ start container app-c-1  (missing)  after 3
        "#]],
    );
}

#[test]
fn two_services_on_one_port_are_refused() {
    let mut world = World::new()
        .with("a", |service| publish(service, (80, 80), 80))
        .with("b", |service| publish(service, (80, 80), 80));
    check(
        &world.preview(up()),
        expect![[r#"
            ! service "b": host port 80/tcp is in use by container "app-a-1" of project "app"; publish another port, or stop what has it
            0   + create network app_default 172.18.0.0/22  (missing)
            1   + create container app-a-1 busybox@busybox-1 app_default=172.18.0.2 80->80/tcp  (missing)  after 0
            2   + create container app-b-1 busybox@busybox-1 app_default=172.18.0.3  (missing)  after 0
            3   ~ start container app-a-1  (missing)  after 1
            4   ~ start container app-b-1  (missing)  after 2
        "#]],
    );
}

#[test]
fn a_stopped_service_does_not_hold_its_port_until_it_is_started() {
    let mut world = World::new()
        .with("a", |service| publish(service, (80, 80), 80))
        .with("b", |service| publish(service, (80, 80), 80));
    world.act(up_only(&["a"]));
    world.act(Verb::Stop(Default::default()));
    check(
        &world.act(up_only(&["b"])),
        expect![[r#"
            0   + create container app-b-1 busybox@busybox-1 app_default=172.18.0.3 80->80/tcp  (missing)
            1   ~ start container app-b-1  (missing)  after 0
        "#]],
    );
    check(
        &world.preview(Verb::Start(Start {
            services: services(&["a"]),
            wait: false,
        })),
        expect![[r#"
            ! service "a": host port 80/tcp is in use by container "app-b-1" of project "app"; publish another port, or stop what has it
            0   ~ start container app-a-1  (requested)
        "#]],
    );
}

#[test]
fn a_port_passes_on_when_its_holder_goes() {
    let mut world = World::new()
        .with("old", |service| publish(service, (80, 80), 80))
        .up();
    world.desired.stack.services.clear();
    world.edit("new", |service| publish(service, (80, 80), 80));
    check(
        &world.preview(up()),
        expect![[r#"
            ! service "new": host port 80/tcp is in use by container "app-old-1" of project "app"; publish another port, or stop what has it
            0   + create container app-new-1 busybox@busybox-1 app_default=172.18.0.3  (missing)
            1   ~ start container app-new-1  (missing)  after 0
            # left alone, no service of this stack owns: app-old-1 (--remove-orphans removes)
        "#]],
    );
    check(
        &world.preview(Verb::Up(Up {
            remove_orphans: true,
            ..Up::default()
        })),
        expect![[r#"
            0   ~ stop container app-old-1 SIGTERM 10s  (orphan)
            1   - remove container app-old-1  (orphan)  after 0
            2   + create container app-new-1 busybox@busybox-1 app_default=172.18.0.3 80->80/tcp  (missing)
            3   ~ start container app-new-1  (missing)  after 0 2
        "#]],
    );
}

#[test]
fn free_choice_is_the_lowest_and_stays() {
    let mut world = World::new()
        .with("a", |service| publish(service, None, 80))
        .with("b", |service| {
            publish(service, (32768, 32768), 80);
        });
    check(
        &world.preview(up()),
        expect![[r#"
            0   + create network app_default 172.18.0.0/22  (missing)
            1   + create container app-a-1 busybox@busybox-1 app_default=172.18.0.2 32769->80/tcp  (missing)  after 0
            2   + create container app-b-1 busybox@busybox-1 app_default=172.18.0.3 32768->80/tcp  (missing)  after 0
            3   ~ start container app-a-1  (missing)  after 1
            4   ~ start container app-b-1  (missing)  after 2
        "#]],
    );
}
