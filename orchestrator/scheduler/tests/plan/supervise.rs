//! What comes back by itself after a crash or a reboot.

use expect_test::expect;
use hoist_object::Health;
use hoist_scheduler::{Desired, State, Stop, Verb};
use hoist_spec::model::{Condition, NetworkMode, RestartPolicy};

use crate::check;
use crate::world::{World, checked, needs, services};

fn stack() -> World {
    let mut world = World::new()
        .with("database", |service| {
            checked(service);
            service.restart = Some(RestartPolicy::UnlessStopped);
        })
        .with("job", |_| {})
        .with("web", |service| {
            service.restart = Some(RestartPolicy::Always);
            needs(service, "database", Condition::Healthy);
        })
        .up();
    // No file is at hand when something crashes.
    world.desired = Desired::unknown("app");
    world
}

fn exit(world: &mut World, name: &str, code: i32) {
    let at = world.now();
    world.observed.containers.get_mut(name).unwrap().state = State::Exited { code, at };
}

#[test]
fn nothing_has_ended_so_nothing_is_done() {
    check(
        &stack().preview(Verb::Supervise),
        expect![[r#"
        nothing to do
    "#]],
    );
}

#[test]
fn a_crash_is_answered_after_its_delay() {
    let mut world = stack();
    exit(&mut world, "app-database-1", 1);
    exit(&mut world, "app-job-1", 0);
    let request = hoist_scheduler::Request::new(world.now(), Verb::Supervise);
    let plan = world.answer(&request);
    check(
        &plan,
        expect![[r#"
        nothing to do
    "#]],
    );
    check(
        &world.preview(Verb::Supervise),
        expect![[r#"
            0   ~ start container app-database-1  (restart policy, attempt 1)
        "#]],
    );
}

#[test]
fn what_was_stopped_stays_down() {
    let mut world = stack();
    world.act(Verb::Stop(Stop {
        services: services(&["web", "database"]),
        timeout: None,
    }));
    check(
        &world.preview(Verb::Supervise),
        expect![[r#"
        nothing to do
    "#]],
    );
}

#[test]
fn conditions_hold_after_a_boot() {
    let mut world = stack();
    for name in ["app-database-1", "app-job-1", "app-web-1"] {
        exit(&mut world, name, 255);
        world
            .observed
            .containers
            .get_mut(name)
            .unwrap()
            .lost_in_reboot = true;
    }
    check(
        &world.preview(Verb::Supervise),
        expect![[r#"
            0   ~ start container app-database-1  (restart policy, attempt 0)
            # app-web-1 waits for database
        "#]],
    );
    let request = world.ask(Verb::Supervise);
    let plan = world.answer(&request);
    world.apply(&plan);
    check(
        &world.preview(Verb::Supervise),
        expect![[r#"
        # app-web-1 waits for database
        nothing to do
    "#]],
    );
    let database = world.observed.containers.get_mut("app-database-1").unwrap();
    database.state = State::Running {
        health: Health::Healthy,
    };
    check(
        &world.preview(Verb::Supervise),
        expect![[r#"
            0   ~ start container app-web-1  (restart policy, attempt 0)
        "#]],
    );
}

#[test]
fn after_a_boot_a_stopped_container_with_always_comes_back_and_unless_stopped_does_not() {
    let mut world = stack();
    world.act(Verb::Stop(Stop::default()));
    for container in world.observed.containers.values_mut() {
        container.lost_in_reboot = true;
    }
    check(
        &world.preview(Verb::Supervise),
        expect![[r#"
            0   ~ start container app-web-1  (restart policy, attempt 0)
        "#]],
    );
}

#[test]
fn namespace_sharers_are_restarted_with_a_crashed_owner() {
    let mut world = World::new()
        .with("proxy", |service| {
            service.restart = Some(RestartPolicy::Always)
        })
        .with("app", |service| {
            service.networks.clear();
            service.network_mode = Some(NetworkMode::Service("proxy".to_owned()));
        })
        .up();
    exit(&mut world, "app-proxy-1", 1);
    check(
        &world.preview(Verb::Supervise),
        expect![[r#"
            0   ~ start container app-proxy-1  (restart policy, attempt 1)
            1   ~ stop container app-app-1 SIGTERM 10s  (proxy is replaced)  after 0
            2   ~ start container app-app-1  (proxy is replaced)  after 1
        "#]],
    );
}
