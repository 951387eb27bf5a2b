//! When a container is replaced, and why.

use expect_test::expect;
use hoist_scheduler::{Network, Up, Verb};
use hoist_spec::model::{Condition, FileMount, RestartPolicy};

use crate::check;
use crate::world::{World, image, mount, needs, publish, up, up_only, variable};

#[test]
fn changed_attributes_are_named_and_address_and_number_stay() {
    let mut world = World::new()
        .with("other", |_| {})
        .with("web", |service| publish(service, None, 80))
        .up();
    world.edit("web", |service| {
        variable(service, "2");
        service.command = Some(vec!["serve".to_owned()]);
    });
    check(
        &world.preview(up()),
        expect![[r#"
            0   ~ stop container app-web-1 SIGTERM 10s  (changed: command, environment)
            1   - remove container app-web-1  (changed: command, environment)  after 0
            2   + create container app-web-1 busybox@busybox-1 app_default=172.18.0.3 32768->80/tcp  (changed: command, environment)  after 1
            3   ~ start container app-web-1  (changed: command, environment)  after 2
        "#]],
    );
}

#[test]
fn what_does_not_make_a_container_replaces_nothing() {
    let mut world = World::new().with("a", |_| {}).with("b", |_| {}).up();
    world.edit("b", |service| {
        needs(service, "a", Condition::Started);
        service.profiles.push("debug".to_owned());
        service.attach = false;
        service.pull_policy = Some(hoist_spec::model::PullPolicy::Missing);
    });
    check(
        &world.preview(up()),
        expect![[r#"
        nothing to do
    "#]],
    );
}

#[test]
fn content_of_a_secret_counts_not_its_path() {
    let mut world = World::new().with("web", |service| {
        service.secrets.push(FileMount {
            source: "key".to_owned(),
            target: "/run/secrets/key".to_owned(),
            uid: None,
            gid: None,
            mode: None,
        });
    });
    world
        .desired
        .secrets
        .insert("key".to_owned(), "aa".to_owned());
    let mut world = world.up();
    check(
        &world.preview(up()),
        expect![[r#"
        nothing to do
    "#]],
    );
    world
        .desired
        .secrets
        .insert("key".to_owned(), "bb".to_owned());
    check(
        &world.preview(up()),
        expect![[r#"
            0   ~ stop container app-web-1 SIGTERM 10s  (changed: secrets)
            1   - remove container app-web-1  (changed: secrets)  after 0
            2   + create container app-web-1 busybox@busybox-1 app_default=172.18.0.2  (changed: secrets)  after 1
            3   ~ start container app-web-1  (changed: secrets)  after 2
        "#]],
    );
}

#[test]
fn another_image_under_the_same_name_replaces() {
    let mut world = World::new().with("web", |_| {}).up();
    world
        .observed
        .images
        .insert("busybox".into(), image("busybox-2"));
    check(
        &world.preview(up()),
        expect![[r#"
            0   ~ stop container app-web-1 SIGTERM 10s  (image changed)
            1   - remove container app-web-1  (image changed)  after 0
            2   + create container app-web-1 busybox@busybox-2 app_default=172.18.0.2  (image changed)  after 1
            3   ~ start container app-web-1  (image changed)  after 2
        "#]],
    );
    // An image that was removed from the store disturbs nobody.
    world.observed.images.clear();
    check(
        &world.preview(up()),
        expect![[r#"
        nothing to do
    "#]],
    );
}

#[test]
fn force_replaces_what_was_named_once() {
    let mut world = World::new()
        .with("a", |_| {})
        .with("b", |service| needs(service, "a", Condition::Started))
        .up();
    let forced = |always_recreate_deps| {
        let services = crate::world::services(&["b"]);
        Verb::Up(Up {
            services,
            force_recreate: true,
            always_recreate_deps,
            ..Up::default()
        })
    };
    check(
        &world.preview(forced(false)),
        expect![[r#"
            0   ~ stop container app-b-1 SIGTERM 10s  (forced)
            1   - remove container app-b-1  (forced)  after 0
            2   + create container app-b-1 busybox@busybox-1 app_default=172.18.0.3  (forced)  after 1
            3   ~ start container app-b-1  (forced)  after 2
        "#]],
    );
    check(
        &world.preview(forced(true)),
        expect![[r#"
            0   ~ stop container app-b-1 SIGTERM 10s  (forced)
            1   ~ stop container app-a-1 SIGTERM 10s  (forced)  after 0
            2   - remove container app-a-1  (forced)  after 1
            3   - remove container app-b-1  (forced)  after 0
            4   + create container app-a-1 busybox@busybox-1 app_default=172.18.0.2  (forced)  after 2
            5   + create container app-b-1 busybox@busybox-1 app_default=172.18.0.3  (forced)  after 3
            6   ~ start container app-a-1  (forced)  after 4
            7   ~ start container app-b-1  (forced)  after 5 6
        "#]],
    );
    let request = world.ask(forced(true));
    assert_eq!(world.rounds(&request).len(), 1);
}

#[test]
fn no_recreate_leaves_changes_alone() {
    let mut world = World::new().with("web", |_| {}).up();
    world.edit("web", |service| variable(service, "2"));
    check(
        &world.preview(Verb::Up(Up {
            no_recreate: true,
            ..Up::default()
        })),
        expect![[r#"
        nothing to do
    "#]],
    );
}

#[test]
fn dependency_and_dependent_are_stopped_in_reverse_and_started_in_order() {
    let mut world = World::new()
        .with("a", |_| {})
        .with("b", |service| needs(service, "a", Condition::Started))
        .up();
    world.edit("a", |service| variable(service, "2"));
    world.edit("b", |service| variable(service, "2"));
    check(
        &world.preview(up()),
        expect![[r#"
            0   ~ stop container app-b-1 SIGTERM 10s  (changed: environment)
            1   ~ stop container app-a-1 SIGTERM 10s  (changed: environment)  after 0
            2   - remove container app-a-1  (changed: environment)  after 1
            3   - remove container app-b-1  (changed: environment)  after 0
            4   + create container app-a-1 busybox@busybox-1 app_default=172.18.0.2  (changed: environment)  after 2
            5   + create container app-b-1 busybox@busybox-1 app_default=172.18.0.3  (changed: environment)  after 3
            6   ~ start container app-a-1  (changed: environment)  after 4
            7   ~ start container app-b-1  (changed: environment)  after 5 6
        "#]],
    );
}

#[test]
fn restart_policy_is_an_attribute() {
    let mut world = World::new().with("web", |_| {}).up();
    world.edit("web", |service| {
        service.restart = Some(RestartPolicy::Always)
    });
    check(
        &world.preview(up()),
        expect![[r#"
            0   ~ stop container app-web-1 SIGTERM 10s  (changed: restart)
            1   - remove container app-web-1  (changed: restart)  after 0
            2   + create container app-web-1 busybox@busybox-1 app_default=172.18.0.2  (changed: restart)  after 1
            3   ~ start container app-web-1  (changed: restart)  after 2
        "#]],
    );
}

#[test]
fn changed_network_is_made_anew_with_everyone_on_it() {
    let mut world = World::new()
        .with("a", |_| {})
        .with("b", |service| needs(service, "a", Condition::Started))
        .up();
    world
        .desired
        .stack
        .networks
        .get_mut("default")
        .unwrap()
        .internal = true;
    check(
        &world.preview(up()),
        expect![[r#"
            0   ~ stop container app-b-1 SIGTERM 10s  (network app_default changed)
            1   ~ stop container app-a-1 SIGTERM 10s  (network app_default changed)  after 0
            2   - remove container app-a-1  (network app_default changed)  after 1
            3   - remove container app-b-1  (network app_default changed)  after 0
            4   - remove network app_default  (changed)  after 2 3
            5   + create network app_default 172.18.0.0/22 internal  (changed)  after 4
            6   + create container app-a-1 busybox@busybox-1 app_default=172.18.0.2  (network app_default changed)  after 5
            7   + create container app-b-1 busybox@busybox-1 app_default=172.18.0.3  (network app_default changed)  after 5
            8   ~ start container app-a-1  (network app_default changed)  after 6
            9   ~ start container app-b-1  (network app_default changed)  after 7 8
        "#]],
    );
}

#[test]
fn changed_network_stays_for_services_that_were_not_named() {
    let mut world = World::new().with("a", |_| {}).with("b", |_| {}).up();
    world
        .desired
        .stack
        .networks
        .get_mut("default")
        .unwrap()
        .internal = true;
    check(
        &world.preview(up_only(&["a"])),
        expect![[r##"
        # network "app_default" has changed; it stays as it is for app-b-1
        nothing to do
    "##]],
    );
}

#[test]
fn changed_network_in_use_by_others_is_refused() {
    let mut world = World::new().with("a", |_| {}).up();
    world
        .desired
        .stack
        .networks
        .get_mut("default")
        .unwrap()
        .internal = true;
    let network = world.observed.networks.get_mut("app_default").unwrap();
    network
        .foreign
        .insert([172, 18, 0, 9].into(), "other-web-1".to_owned());
    check(
        &world.preview(up()),
        expect![[r#"
            ! network "app_default" has changed and cannot be recreated while other-web-1 is using it
            0   ~ stop container app-a-1 SIGTERM 10s  (network app_default changed)
            1   - remove container app-a-1  (network app_default changed)  after 0
            2   - remove network app_default  (changed)  after 1
            3   + create network app_default 172.18.0.0/22 internal  (changed)  after 2
            4   + create container app-a-1 busybox@busybox-1 app_default=172.18.0.2  (network app_default changed)  after 3
            5   ~ start container app-a-1  (network app_default changed)  after 4
        "#]],
    );
}

#[test]
fn renamed_service_with_the_same_container_name() {
    let named =
        |service: &mut hoist_spec::model::Service| service.container_name = Some("site".to_owned());
    let mut world = World::new().with("old", named).up();
    world.desired.stack.services.clear();
    world.edit("new", named);
    check(
        &world.preview(up()),
        expect![[r#"
            ! service "new": container name "site" is in use by project "app"; choose another `container_name`, or remove the container that has it
            # left alone, no service of this stack owns: site (--remove-orphans removes)
        "#]],
    );
    check(
        &world.preview(Verb::Up(Up {
            remove_orphans: true,
            ..Up::default()
        })),
        expect![[r#"
            0   ~ stop container site SIGTERM 10s  (orphan)
            1   - remove container site  (orphan)  after 0
            2   + create container site busybox@busybox-1 app_default=172.18.0.2  (orphan)  after 1
            3   ~ start container site  (orphan)  after 2
        "#]],
    );
}

#[test]
fn a_lost_network_comes_back_before_what_is_on_it_starts() {
    let mut world = World::new()
        .with_volume("data")
        .with("a", |service| mount(service, Some("data"), "/data"))
        .up();
    world.act(Verb::Stop(Default::default()));
    let network = world.observed.networks.remove("app_default").unwrap();
    world.observed.volumes.clear();
    check(
        &world.preview(up()),
        expect![[r#"
            0   + create network app_default 172.18.0.0/22  (missing)
            1   + create volume app_data  (missing)
            2   ~ start container app-a-1  (not running)  after 0 1
        "#]],
    );
    // Another project has taken its subnet: what hangs on the address goes, too.
    let foreign = Network {
        name: "other_default".to_owned(),
        project: "other".to_owned(),
        ..network
    };
    world
        .observed
        .networks
        .insert("other_default".to_owned(), foreign);
    check(
        &world.preview(up()),
        expect![[r#"
            0   - remove container app-a-1  (network app_default changed)
            1   + create network app_default 172.18.4.0/22  (missing)
            2   + create volume app_data  (missing)
            3   + create container app-a-1 busybox@busybox-1 app_default=172.18.4.2  (network app_default changed)  after 0 1 2
            4   ~ start container app-a-1  (network app_default changed)  after 3
        "#]],
    );
}

#[test]
fn what_runs_without_its_network_is_replaced() {
    let mut world = World::new().with("a", |_| {}).up();
    world.observed.networks.clear();
    check(
        &world.preview(up()),
        expect![[r#"
            0   ~ stop container app-a-1 SIGTERM 10s  (network app_default changed)
            1   - remove container app-a-1  (network app_default changed)  after 0
            2   + create network app_default 172.18.0.0/22  (missing)
            3   + create container app-a-1 busybox@busybox-1 app_default=172.18.0.2  (network app_default changed)  after 1 2
            4   ~ start container app-a-1  (network app_default changed)  after 3
        "#]],
    );
}
