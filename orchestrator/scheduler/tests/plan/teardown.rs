//! The plan of a `down`.

use expect_test::expect;
use hoist_scheduler::{Desired, Down, ImageRemoval, Remove, Verb};
use hoist_spec::model::{self, Condition};

use crate::check;
use crate::world::{World, down, mount, needs, services};

fn stack() -> World {
    World::new()
        .with_volume("data")
        .with("database", |service| {
            mount(service, Some("data"), "/data");
            mount(service, None, "/scratch");
        })
        .with("web", |service| {
            needs(service, "database", Condition::Started)
        })
}

#[test]
fn down_stops_in_reverse_and_leaves_volumes() {
    check(
        &stack().up().preview(down()),
        expect![[r#"
            0   ~ stop container app-web-1 SIGTERM 10s  (requested)
            1   ~ stop container app-database-1 SIGTERM 10s  (requested)  after 0
            2   - remove container app-database-1  (requested)  after 1
            3   - remove container app-web-1  (requested)  after 0
            4   - remove network app_default  (requested)  after 2 3
        "#]],
    );
}

#[test]
fn down_of_nothing_is_nothing() {
    check(
        &stack().preview(down()),
        expect![[r#"
        nothing to do
    "#]],
    );
}

#[test]
fn down_with_volumes_and_images() {
    let mut world = stack().with("built", |service| {
        service.image = None;
        service.build = Some(model::Build::default());
    });
    world = world.up();
    let verb = |images| {
        Verb::Down(Down {
            volumes: true,
            images,
            ..Down::default()
        })
    };
    check(
        &world.preview(verb(ImageRemoval::Local)),
        expect![[r#"
            0   ~ stop container app-built-1 SIGTERM 10s  (requested)
            1   ~ stop container app-web-1 SIGTERM 10s  (requested)
            2   ~ stop container app-database-1 SIGTERM 10s  (requested)  after 1
            3   - remove container app-built-1  (requested)  after 0
            4   - remove container app-database-1 with volumes anonymous-app-database-1-scratch  (requested)  after 2
            5   - remove container app-web-1  (requested)  after 1
            6   - remove network app_default  (requested)  after 3 4 5
            7   - remove volume app_data  (requested)  after 4
            8   - remove image app-built  (requested)  after 3
        "#]],
    );
    check(
        &world.act(verb(ImageRemoval::All)),
        expect![[r#"
            0   ~ stop container app-built-1 SIGTERM 10s  (requested)
            1   ~ stop container app-web-1 SIGTERM 10s  (requested)
            2   ~ stop container app-database-1 SIGTERM 10s  (requested)  after 1
            3   - remove container app-built-1  (requested)  after 0
            4   - remove container app-database-1 with volumes anonymous-app-database-1-scratch  (requested)  after 2
            5   - remove container app-web-1  (requested)  after 1
            6   - remove network app_default  (requested)  after 3 4 5
            7   - remove volume app_data  (requested)  after 4
            8   - remove image app-built  (requested)  after 3
            9   - remove image busybox  (requested)  after 4 5
        "#]],
    );
    assert!(world.observed.containers.is_empty() && world.observed.networks.is_empty());
    assert!(world.observed.volumes.is_empty() && world.observed.images.is_empty());
}

#[test]
fn down_without_the_file_takes_everything_in_the_recorded_order() {
    let mut world = stack().up();
    world.desired = Desired::unknown("app");
    check(
        &world.preview(Verb::Down(Down {
            volumes: true,
            ..Down::default()
        })),
        expect![[r#"
            0   ~ stop container app-web-1 SIGTERM 10s  (requested)
            1   ~ stop container app-database-1 SIGTERM 10s  (requested)  after 0
            2   - remove container app-database-1 with volumes anonymous-app-database-1-scratch  (requested)  after 1
            3   - remove container app-web-1  (requested)  after 0
            4   - remove network app_default  (requested)  after 2 3
            5   - remove volume app_data  (requested)  after 2
        "#]],
    );
}

#[test]
fn orphans_and_what_they_hold_stay() {
    let mut world = stack().with("old", |_| {}).up();
    world.desired.stack.services.remove("old");
    check(
        &world.preview(down()),
        expect![[r#"
            0   ~ stop container app-web-1 SIGTERM 10s  (requested)
            1   ~ stop container app-database-1 SIGTERM 10s  (requested)  after 0
            2   - remove container app-database-1  (requested)  after 1
            3   - remove container app-web-1  (requested)  after 0
            # left alone, no service of this stack owns: app-old-1 (--remove-orphans removes)
            # network "app_default" stays, in use by app-old-1
        "#]],
    );
    check(
        &world.preview(Verb::Down(Down {
            remove_orphans: true,
            ..Down::default()
        })),
        expect![[r#"
            0   ~ stop container app-old-1 SIGTERM 10s  (orphan)
            1   ~ stop container app-web-1 SIGTERM 10s  (requested)
            2   ~ stop container app-database-1 SIGTERM 10s  (requested)  after 1
            3   - remove container app-database-1  (requested)  after 2
            4   - remove container app-old-1  (orphan)  after 0
            5   - remove container app-web-1  (requested)  after 1
            6   - remove network app_default  (requested)  after 3 4 5
        "#]],
    );
}

#[test]
fn external_things_stay() {
    let mut world = stack().up();
    world
        .desired
        .stack
        .volumes
        .get_mut("data")
        .unwrap()
        .external = true;
    let network = world.observed.networks.get_mut("app_default").unwrap();
    network
        .foreign
        .insert([172, 18, 0, 9].into(), "other-web-1".to_owned());
    check(
        &world.preview(Verb::Down(Down {
            volumes: true,
            ..Down::default()
        })),
        expect![[r#"
            0   ~ stop container app-web-1 SIGTERM 10s  (requested)
            1   ~ stop container app-database-1 SIGTERM 10s  (requested)  after 0
            2   - remove container app-database-1 with volumes anonymous-app-database-1-scratch  (requested)  after 1
            3   - remove container app-web-1  (requested)  after 0
            # network "app_default" stays, in use by other-web-1
        "#]],
    );
}

#[test]
fn down_of_one_service() {
    let mut world = stack().up();
    check(
        &world.preview(Verb::Down(Down {
            services: services(&["web"]),
            ..Down::default()
        })),
        expect![[r#"
            0   ~ stop container app-web-1 SIGTERM 10s  (requested)
            1   - remove container app-web-1  (requested)  after 0
        "#]],
    );
}

#[test]
fn rm_takes_stopped_containers_only() {
    let mut world = stack().up();
    check(
        &world.preview(Verb::Remove(Remove::default())),
        expect![[r#"
        nothing to do
    "#]],
    );
    check(
        &world.preview(Verb::Remove(Remove {
            stop: true,
            volumes: true,
            ..Remove::default()
        })),
        expect![[r#"
            0   ~ stop container app-web-1 SIGTERM 10s  (requested)
            1   ~ stop container app-database-1 SIGTERM 10s  (requested)  after 0
            2   - remove container app-database-1 with volumes anonymous-app-database-1-scratch  (requested)  after 1
            3   - remove container app-web-1  (requested)  after 0
        "#]],
    );
    world.act(Verb::Stop(hoist_scheduler::Stop {
        services: services(&["web"]),
        timeout: None,
    }));
    check(
        &world.preview(Verb::Remove(Remove::default())),
        expect![[r#"
            0   - remove container app-web-1  (requested)
        "#]],
    );
}
