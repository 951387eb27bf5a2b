//! The plan of an `up`.

use expect_test::expect;
use hoist_scheduler::{Down, State, Up, Verb};
use hoist_spec::model::Condition;

use crate::check;
use crate::world::{World, checked, mount, needs, publish, up, up_only};

fn example() -> World {
    World::new()
        .with_volume("data")
        .with("database", |service| {
            checked(service);
            mount(service, Some("data"), "/var/lib/postgresql");
        })
        .with("queue", checked)
        .with("backend", |service| {
            needs(service, "database", Condition::Healthy);
            needs(service, "queue", Condition::Healthy);
            publish(service, (8080, 8080), 80);
        })
}

#[test]
fn first_up_makes_everything_at_once_and_starts_by_condition() {
    check(
        &example().preview(up()),
        expect![[r#"
            0   + create network app_default 172.18.0.0/22  (missing)
            1   + create volume app_data  (missing)
            2   + create container app-backend-1 busybox@busybox-1 app_default=172.18.0.2 8080->80/tcp  (missing)  after 0
            3   + create container app-database-1 busybox@busybox-1 app_default=172.18.0.3  (missing)  after 0 1
            4   + create container app-queue-1 busybox@busybox-1 app_default=172.18.0.4  (missing)  after 0
            5   ~ start container app-database-1  (missing)  after 3
            6   ~ start container app-queue-1  (missing)  after 4
            7   ? wait for app-database-1 healthy  (needed by backend)  after 5
            8   ? wait for app-queue-1 healthy  (needed by backend)  after 6
            9   ~ start container app-backend-1  (missing)  after 2 7 8
        "#]],
    );
}

#[test]
fn unchanged_stack_has_no_steps() {
    check(
        &example().up().preview(up()),
        expect![[r#"
        nothing to do
    "#]],
    );
}

#[test]
fn what_is_stopped_is_started_in_order() {
    let mut world = example().up();
    world.act(Verb::Stop(Default::default()));
    check(
        &world.preview(up()),
        expect![[r#"
            0   ~ start container app-database-1  (not running)
            1   ~ start container app-queue-1  (not running)
            2   ? wait for app-database-1 healthy  (needed by backend)  after 0
            3   ? wait for app-queue-1 healthy  (needed by backend)  after 1
            4   ~ start container app-backend-1  (not running)  after 2 3
        "#]],
    );
}

#[test]
fn a_removed_container_alone_is_made_again() {
    let mut world = example().up();
    world.observed.containers.remove("app-queue-1");
    check(
        &world.preview(up()),
        expect![[r#"
            0   + create container app-queue-1 busybox@busybox-1 app_default=172.18.0.4  (missing)
            1   ~ start container app-queue-1  (missing)  after 0
        "#]],
    );
}

#[test]
fn named_services_bring_their_dependencies() {
    let mut world = example().with("other", |_| {});
    check(
        &world.preview(up_only(&["backend"])),
        expect![[r#"
            0   + create network app_default 172.18.0.0/22  (missing)
            1   + create volume app_data  (missing)
            2   + create container app-backend-1 busybox@busybox-1 app_default=172.18.0.2 8080->80/tcp  (missing)  after 0
            3   + create container app-database-1 busybox@busybox-1 app_default=172.18.0.3  (missing)  after 0 1
            4   + create container app-queue-1 busybox@busybox-1 app_default=172.18.0.4  (missing)  after 0
            5   ~ start container app-database-1  (missing)  after 3
            6   ~ start container app-queue-1  (missing)  after 4
            7   ? wait for app-database-1 healthy  (needed by backend)  after 5
            8   ? wait for app-queue-1 healthy  (needed by backend)  after 6
            9   ~ start container app-backend-1  (missing)  after 2 7 8
        "#]],
    );
}

#[test]
fn no_deps_leaves_them_out() {
    let mut world = example();
    let services = crate::world::services(&["backend"]);
    let verb = Verb::Up(Up {
        services,
        no_deps: true,
        ..Up::default()
    });
    check(
        &world.preview(verb),
        expect![[r#"
            0   + create network app_default 172.18.0.0/22  (missing)
            1   + create container app-backend-1 busybox@busybox-1 app_default=172.18.0.2 8080->80/tcp  (missing)  after 0
            2   ~ start container app-backend-1  (missing)  after 1
        "#]],
    );
}

#[test]
fn no_start_only_makes() {
    let mut world = example();
    check(
        &world.preview(Verb::Up(Up {
            no_start: true,
            ..Up::default()
        })),
        expect![[r#"
            0   + create network app_default 172.18.0.0/22  (missing)
            1   + create volume app_data  (missing)
            2   + create container app-backend-1 busybox@busybox-1 app_default=172.18.0.2 8080->80/tcp  (missing)  after 0
            3   + create container app-database-1 busybox@busybox-1 app_default=172.18.0.3  (missing)  after 0 1
            4   + create container app-queue-1 busybox@busybox-1 app_default=172.18.0.4  (missing)  after 0
        "#]],
    );
}

#[test]
fn wait_ends_with_readiness_of_all_that_is_not_ready() {
    let mut world = example().up();
    world.act(Verb::Stop(Default::default()));
    check(
        &world.preview(Verb::Up(Up {
            wait: true,
            ..Up::default()
        })),
        expect![[r#"
            0   ~ start container app-database-1  (not running)
            1   ~ start container app-queue-1  (not running)
            2   ? wait for app-database-1 healthy  (needed by backend)  after 0
            3   ? wait for app-database-1 ready  (requested)  after 0
            4   ? wait for app-queue-1 healthy  (needed by backend)  after 1
            5   ~ start container app-backend-1  (not running)  after 2 4
            6   ? wait for app-backend-1 ready  (requested)  after 5
            7   ? wait for app-queue-1 ready  (requested)  after 1
        "#]],
    );
}

#[test]
fn orphans_are_named_and_left_alone() {
    let mut world = example().with("old", |_| {}).up();
    world.desired.stack.services.remove("old");
    check(
        &world.preview(up()),
        expect![[r#"
        # left alone, no service of this stack owns: app-old-1 (--remove-orphans removes)
        nothing to do
    "#]],
    );
}

#[test]
fn orphans_are_removed_on_request_with_networks_nobody_wants() {
    let mut world = example()
        .with_network("side", |_| {})
        .with("old", |service| {
            service.networks = [("side".to_owned(), Default::default())].into()
        })
        .up();
    world.desired.stack.services.remove("old");
    world.desired.stack.networks.remove("side");
    check(
        &world.preview(Verb::Up(Up {
            remove_orphans: true,
            ..Up::default()
        })),
        expect![[r#"
            0   ~ stop container app-old-1 SIGTERM 10s  (orphan)
            1   - remove container app-old-1  (orphan)  after 0
            2   - remove network app_side  (orphan)  after 1
        "#]],
    );
}

#[test]
fn orphans_of_another_folder_are_never_removed() {
    let mut world = example().with("old", |_| {}).up();
    world.desired.stack.services.remove("old");
    world
        .observed
        .containers
        .get_mut("app-old-1")
        .unwrap()
        .record
        .working_dir = "/home/other/app".to_owned();
    check(
        &world.preview(Verb::Up(Up {
            remove_orphans: true,
            ..Up::default()
        })),
        expect![[r#"
        # left alone, made from /home/other/app under the same project name: app-old-1
        nothing to do
    "#]],
    );
}

#[test]
fn inactive_services_are_no_orphans() {
    let mut world = example().with("debug", |_| {}).up();
    world.desired.stack.services.remove("debug");
    world.desired.stack.inactive.push("debug".to_owned());
    check(
        &world.preview(Verb::Up(Up {
            remove_orphans: true,
            ..Up::default()
        })),
        expect![[r#"
        nothing to do
    "#]],
    );
    let plan = world.preview(Verb::Down(Down::default()));
    assert!(
        plan.to_string().contains("remove container app-debug-1"),
        "{plan}"
    );
}

#[test]
fn half_made_container_is_made_anew() {
    let mut world = example().up();
    world
        .observed
        .containers
        .get_mut("app-queue-1")
        .unwrap()
        .state = State::Dead;
    check(
        &world.preview(up()),
        expect![[r#"
            0   - remove container app-queue-1  (broken)
            1   + create container app-queue-1 busybox@busybox-1 app_default=172.18.0.4  (broken)  after 0
            2   ~ start container app-queue-1  (broken)  after 1
        "#]],
    );
}

#[test]
fn all_problems_are_found_at_once() {
    let mut world = example().with("worker", |service| {
        service.container_name = Some("worker".to_owned());
        service.replicas = 2;
    });
    world.observed.images.clear();
    world.observed.host.pools.clear();
    world
        .observed
        .foreign_containers
        .insert("app-queue-1".to_owned(), "other".to_owned());
    world.edit("database", |service| {
        service.pull_policy = Some(hoist_spec::model::PullPolicy::Never)
    });
    let verb = Verb::Up(Up {
        services: crate::world::services(&["backend", "worker", "nobody"]),
        ..Up::default()
    });
    check(
        &world.preview(verb),
        expect![[r#"
            ! no such service: nobody
            ! service "worker": 2 replicas cannot share container_name "worker"
            ! network "app_default": no free subnet left in the address pools
            ! service "database": image "busybox" is not in the store and may not be fetched; `hoist pull` fetches it
            ! service "queue": container name "app-queue-1" is in use by project "other"; choose another `container_name`, or remove the container that has it
            0   + pull image busybox  (missing)
            1   + create volume app_data  (missing)
            2   + create container app-backend-1 busybox 8080->80/tcp  (missing)  after 0
            3   + create container app-database-1 busybox  (missing)  after 0 1
            4   + create container app-queue-1 busybox  (missing)  after 0
            5   ~ start container app-database-1  (missing)  after 3
            6   ~ start container app-queue-1  (missing)  after 4
            7   ? wait for app-database-1 healthy  (needed by backend)  after 5
            8   ? wait for app-queue-1 healthy  (needed by backend)  after 6
            9   ~ start container app-backend-1  (missing)  after 2 7 8
        "#]],
    );
}
