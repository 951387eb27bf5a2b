//! Start, stop, restart, kill, pause, remove.

use std::time::Duration;

use expect_test::expect;
use hoist_scheduler::{Kill, Restart, Start, Stop, Verb};
use hoist_spec::model::Condition;

use crate::check;
use crate::world::{World, checked, needs, services, variable};

fn stack() -> World {
    World::new()
        .with("database", checked)
        .with("web", |service| {
            needs(service, "database", Condition::Healthy);
            service.stop_signal = Some("SIGINT".to_owned());
            service.stop_grace_period = Some(Duration::from_secs(30));
        })
}

#[test]
fn stop_and_start() {
    let mut world = stack().up();
    check(
        &world.act(Verb::Stop(Stop::default())),
        expect![[r#"
            0   ~ stop container app-web-1 SIGINT 30s  (requested)
            1   ~ stop container app-database-1 SIGTERM 10s  (requested)  after 0
        "#]],
    );
    check(
        &world.preview(Verb::Stop(Stop::default())),
        expect![[r#"
        nothing to do
    "#]],
    );
    check(
        &world.act(Verb::Start(Start::default())),
        expect![[r#"
            0   ~ start container app-database-1  (requested)
            1   ? wait for app-database-1 healthy  (needed by web)  after 0
            2   ~ start container app-web-1  (requested)  after 1
        "#]],
    );
    check(
        &world.preview(Verb::Start(Start {
            wait: true,
            ..Start::default()
        })),
        expect![[r#"
        nothing to do
    "#]],
    );
}

#[test]
fn start_of_one_service_brings_what_it_needs() {
    let mut world = stack().up();
    world.act(Verb::Stop(Stop::default()));
    check(
        &world.preview(Verb::Start(Start {
            services: services(&["web"]),
            wait: false,
        })),
        expect![[r#"
            0   ~ start container app-database-1  (requested)
            1   ? wait for app-database-1 healthy  (needed by web)  after 0
            2   ~ start container app-web-1  (requested)  after 1
        "#]],
    );
}

#[test]
fn stop_with_another_grace_period() {
    let mut world = stack().up();
    let verb = Verb::Stop(Stop {
        services: services(&["web"]),
        timeout: Some(Duration::ZERO),
    });
    check(
        &world.preview(verb),
        expect![[r#"
            0   ~ stop container app-web-1 SIGINT 0ns  (requested)
        "#]],
    );
}

#[test]
fn restart_is_done_once_and_says_what_it_does_not_apply() {
    let mut world = stack().up();
    world.edit("web", |service| variable(service, "2"));
    let request = world.ask(Verb::Restart(Restart::default()));
    check(
        &world.answer(&request),
        expect![[r#"
            0   ~ stop container app-web-1 SIGINT 30s  (requested)
            1   ~ stop container app-database-1 SIGTERM 10s  (requested)  after 0
            2   ~ start container app-database-1  (requested)  after 1
            3   ? wait for app-database-1 healthy  (needed by web)  after 2
            4   ~ start container app-web-1  (requested)  after 3
            # service "web" has changed (environment); `up` applies it
        "#]],
    );
    assert_eq!(world.rounds(&request).len(), 1);
}

#[test]
fn kill_sends_once() {
    let mut world = stack().up();
    let request = world.ask(Verb::Kill(Kill {
        signal: "SIGHUP".to_owned(),
        ..Kill::default()
    }));
    check(
        &world.answer(&request),
        expect![[r#"
            0   ~ kill container app-database-1 SIGHUP  (requested)
            1   ~ kill container app-web-1 SIGHUP  (requested)
        "#]],
    );
    assert_eq!(world.rounds(&request).len(), 1);
    world.act(Verb::Kill(Kill::default()));
    check(
        &world.preview(Verb::Kill(Kill::default())),
        expect![[r#"
        nothing to do
    "#]],
    );
}

#[test]
fn pause_and_unpause() {
    let mut world = stack().up();
    check(
        &world.act(Verb::Pause(services(&["web"]))),
        expect![[r#"
            0   ~ pause container app-web-1  (requested)
        "#]],
    );
    check(
        &world.act(Verb::Unpause(services(&[]))),
        expect![[r#"
            0   ~ unpause container app-web-1  (requested)
        "#]],
    );
}

#[test]
fn services_without_containers_and_unknown_ones() {
    let mut world = stack();
    check(
        &world.preview(Verb::Start(Start {
            services: services(&["web", "nobody"]),
            wait: false,
        })),
        expect![[r#"
            ! no such service: nobody
            ! service "web" has no container; `hoist up` makes it
        "#]],
    );
}

#[test]
fn start_has_something_to_start() {
    let problems = |world: &mut World, start: Start| {
        let plan = world.preview(Verb::Start(start));
        plan.problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    let mut world = stack();
    let none = ["stack \"app\" has no container; `hoist up` makes them"];
    assert_eq!(problems(&mut world, Start::default()), none);
    // One of both is enough, as with docker compose; by name, each must be there.
    world.act(Verb::Up(hoist_scheduler::Up {
        services: services(&["database"]),
        ..hoist_scheduler::Up::default()
    }));
    assert!(problems(&mut world, Start::default()).is_empty());
    assert_eq!(
        problems(
            &mut world,
            Start {
                services: services(&["web"]),
                wait: false
            }
        )
        .len(),
        1
    );
    // One that is to have none needs none.
    let mut world = World::new().with("idle", |service| service.replicas = 0);
    assert!(problems(&mut world, Start::default()).is_empty());
}

#[test]
fn what_runs_as_wanted_is_named() {
    let mut world = stack().up();
    assert_eq!(
        world
            .preview(Verb::Up(hoist_scheduler::Up::default()))
            .running,
        ["app-database-1", "app-web-1"]
    );
    let database = hoist_scheduler::Up {
        services: services(&["database"]),
        ..hoist_scheduler::Up::default()
    };
    assert_eq!(
        world.preview(Verb::Up(database)).running,
        ["app-database-1"]
    );
    let forced = hoist_scheduler::Up {
        force_recreate: true,
        ..hoist_scheduler::Up::default()
    };
    assert!(world.preview(Verb::Up(forced)).running.is_empty());
    assert!(
        world
            .preview(Verb::Stop(Stop::default()))
            .running
            .is_empty()
    );
}
