//! Conditions as steps.

use expect_test::expect;
use hoist_object::{Health, Timestamp};
use hoist_scheduler::{Restart, Run, Scale, State, Up, Verb};
use hoist_spec::model::{Condition, Dependency, NetworkMode};

use crate::check;
use crate::world::{World, checked, needs, needs_with_restart, services, up, up_only, variable};

#[test]
fn a_job_is_waited_for() {
    let mut world = World::new().with("migrate", |_| {}).with("web", |service| {
        needs(service, "migrate", Condition::CompletedSuccessfully);
    });
    check(
        &world.preview(up()),
        expect![[r#"
            0   + create network app_default 172.18.0.0/22  (missing)
            1   + create container app-migrate-1 busybox@busybox-1 app_default=172.18.0.2  (missing)  after 0
            2   + create container app-web-1 busybox@busybox-1 app_default=172.18.0.3  (missing)  after 0
            3   ~ start container app-migrate-1  (missing)  after 1
            4   ? wait for app-migrate-1 completed  (needed by web)  after 3
            5   ~ start container app-web-1  (missing)  after 2 4
        "#]],
    );
}

#[test]
fn a_job_that_this_request_has_run_is_not_run_again() {
    let mut world = World::new().with("migrate", |_| {}).with("web", |service| {
        needs(service, "migrate", Condition::CompletedSuccessfully);
    });
    let request = world.ask(up());
    let first = world.answer(&request);
    for step in first
        .steps
        .iter()
        .filter(|step| !step.action.to_string().contains("container app-web-1"))
    {
        world.observed.apply(&step.action);
    }
    check(
        &world.answer(&request),
        expect![[r#"
            0   + create container app-web-1 busybox@busybox-1 app_default=172.18.0.3  (missing)
            1   ~ start container app-web-1  (missing)  after 0
        "#]],
    );
}

#[test]
fn a_condition_that_holds_is_not_waited_for() {
    let mut world = World::new()
        .with("database", checked)
        .with("web", |service| {
            needs(service, "database", Condition::Healthy)
        })
        .up();
    world.edit("web", |service| variable(service, "2"));
    check(
        &world.preview(up()),
        expect![[r#"
            0   ~ stop container app-web-1 SIGTERM 10s  (changed: environment)
            1   - remove container app-web-1  (changed: environment)  after 0
            2   + create container app-web-1 busybox@busybox-1 app_default=172.18.0.3  (changed: environment)  after 1
            3   ~ start container app-web-1  (changed: environment)  after 2
        "#]],
    );
    world
        .observed
        .containers
        .get_mut("app-database-1")
        .unwrap()
        .state = State::Running {
        health: Health::Unhealthy,
    };
    // What runs is not stopped before the dependency is well again.
    check(
        &world.preview(up()),
        expect![[r#"
            0   ? wait for app-database-1 healthy  (needed by web)
            1   ~ stop container app-web-1 SIGTERM 10s  (changed: environment)  after 0
            2   - remove container app-web-1  (changed: environment)  after 1
            3   + create container app-web-1 busybox@busybox-1 app_default=172.18.0.3  (changed: environment)  after 2
            4   ~ start container app-web-1  (changed: environment)  after 3
        "#]],
    );
}

#[test]
fn optional_dependency_may_be_absent_and_may_fail() {
    let optional = Dependency {
        condition: Condition::Healthy,
        restart: false,
        required: false,
    };
    let mut world = World::new().with("cache", checked).with("web", |service| {
        service.depends_on.insert("cache".to_owned(), optional);
        service.depends_on.insert("metrics".to_owned(), optional);
    });
    check(
        &world.preview(up()),
        expect![[r#"
            0   + create network app_default 172.18.0.0/22  (missing)
            1   + create container app-cache-1 busybox@busybox-1 app_default=172.18.0.2  (missing)  after 0
            2   + create container app-web-1 busybox@busybox-1 app_default=172.18.0.3  (missing)  after 0
            3   ~ start container app-cache-1  (missing)  after 1
            4   ? wait for app-cache-1 healthy (optional)  (needed by web)  after 3
            5   ~ start container app-web-1  (missing)  after 2 4
            # service "web": optional dependency "metrics" is not part of this stack
        "#]],
    );
}

#[test]
fn healthy_without_healthcheck_is_refused() {
    let mut world = World::new()
        .with("database", |_| {})
        .with("web", |service| {
            needs(service, "database", Condition::Healthy);
        });
    check(
        &world.preview(up()),
        expect![[r#"
            ! service "web" waits for "database" to be healthy, but it has no healthcheck
            0   + create network app_default 172.18.0.0/22  (missing)
            1   + create container app-database-1 busybox@busybox-1 app_default=172.18.0.2  (missing)  after 0
            2   + create container app-web-1 busybox@busybox-1 app_default=172.18.0.3  (missing)  after 0
            3   ~ start container app-database-1  (missing)  after 1
            4   ? wait for app-database-1 healthy  (needed by web)  after 3
            5   ~ start container app-web-1  (missing)  after 2 4
        "#]],
    );
}

#[test]
fn dependents_that_ask_for_it_are_restarted_with_a_replaced_dependency() {
    let mut world = World::new()
        .with("database", |_| {})
        .with("asks", |service| needs_with_restart(service, "database"))
        .with("does-not", |service| {
            needs(service, "database", Condition::Started)
        })
        .up();
    world.edit("database", |service| variable(service, "2"));
    check(
        &world.preview(up()),
        expect![[r#"
            0   ~ stop container app-asks-1 SIGTERM 10s  (database is replaced)
            1   ~ stop container app-database-1 SIGTERM 10s  (changed: environment)  after 0
            2   - remove container app-database-1  (changed: environment)  after 1
            3   + create container app-database-1 busybox@busybox-1 app_default=172.18.0.3  (changed: environment)  after 2
            4   ~ start container app-database-1  (changed: environment)  after 3
            5   ~ start container app-asks-1  (database is replaced)  after 4
        "#]],
    );
    // Also where only the dependency was named.
    check(
        &world.preview(up_only(&["database"])),
        expect![[r#"
            0   ~ stop container app-asks-1 SIGTERM 10s  (database is replaced)
            1   ~ stop container app-database-1 SIGTERM 10s  (changed: environment)  after 0
            2   - remove container app-database-1  (changed: environment)  after 1
            3   + create container app-database-1 busybox@busybox-1 app_default=172.18.0.3  (changed: environment)  after 2
            4   ~ start container app-database-1  (changed: environment)  after 3
            5   ~ start container app-asks-1  (database is replaced)  after 4
        "#]],
    );
}

#[test]
fn a_dependent_stopped_halfway_is_started_by_the_next_round() {
    let mut world = World::new()
        .with("database", |_| {})
        .with("asks", |service| needs_with_restart(service, "database"))
        .up();
    let request = world.ask(Verb::Restart(hoist_scheduler::Restart {
        services: services(&["database"]),
        ..Default::default()
    }));
    let first = world.answer(&request);
    check(
        &first,
        expect![[r#"
            0   ~ stop container app-asks-1 SIGTERM 10s  (database is replaced)
            1   ~ stop container app-database-1 SIGTERM 10s  (requested)  after 0
            2   ~ start container app-database-1  (requested)  after 1
            3   ~ start container app-asks-1  (database is replaced)  after 2
        "#]],
    );
    world.observed.apply(&first.steps[0].action);
    check(
        &world.answer(&request),
        expect![[r#"
            0   ~ stop container app-database-1 SIGTERM 10s  (requested)
            1   ~ start container app-database-1  (requested)  after 0
            2   ~ start container app-asks-1  (database is replaced)  after 1
        "#]],
    );
}

#[test]
fn namespace_sharers_follow_their_owner() {
    let mut world = World::new().with("proxy", |_| {}).with("app", |service| {
        service.networks.clear();
        service.network_mode = Some(NetworkMode::Service("proxy".to_owned()));
    });
    check(
        &world.preview(up()),
        expect![[r#"
            0   + create network app_default 172.18.0.0/22  (missing)
            1   + create container app-app-1 busybox@busybox-1  (missing)
            2   + create container app-proxy-1 busybox@busybox-1 app_default=172.18.0.2  (missing)  after 0
            3   ~ start container app-proxy-1  (missing)  after 2
            4   ~ start container app-app-1  (missing)  after 1 3
        "#]],
    );
    let mut world = world.up();
    world.edit("proxy", |service| variable(service, "2"));
    check(
        &world.preview(up()),
        expect![[r#"
            0   ~ stop container app-app-1 SIGTERM 10s  (proxy is replaced)
            1   ~ stop container app-proxy-1 SIGTERM 10s  (changed: environment)  after 0
            2   - remove container app-proxy-1  (changed: environment)  after 1
            3   + create container app-proxy-1 busybox@busybox-1 app_default=172.18.0.2  (changed: environment)  after 2
            4   ~ start container app-proxy-1  (changed: environment)  after 3
            5   ~ start container app-app-1  (proxy is replaced)  after 4
        "#]],
    );
}

#[test]
fn namespace_owner_must_exist() {
    let mut world = World::new().with("app", |service| {
        service.networks.clear();
        service.network_mode = Some(NetworkMode::Container("gone".to_owned()));
    });
    check(
        &world.preview(up()),
        expect![[r#"
            ! service "app": no container "gone" to share namespaces with
            0   + create container app-app-1 busybox@busybox-1  (missing)
            1   ~ start container app-app-1  (missing)  after 0
        "#]],
    );
}

#[test]
fn stop_order_reaches_across_what_is_already_stopped() {
    let mut world = World::new()
        .with("a", |_| {})
        .with("b", |service| needs(service, "a", Condition::Started))
        .with("c", |service| needs(service, "b", Condition::Started))
        .up();
    world.observed.containers.get_mut("app-b-1").unwrap().state = State::Exited {
        code: 0,
        at: Timestamp(1),
    };
    check(
        &world.preview(Verb::Stop(Default::default())),
        expect![[r#"
            0   ~ stop container app-c-1 SIGTERM 10s  (requested)
            1   ~ stop container app-a-1 SIGTERM 10s  (requested)  after 0
        "#]],
    );
}

#[test]
fn a_cycle_is_a_problem_and_still_a_plan() {
    let mut world = World::new()
        .with("a", |service| needs(service, "c", Condition::Started))
        .with("b", |service| needs(service, "a", Condition::Started))
        .with("c", |service| needs(service, "b", Condition::Started));
    check(
        &world.preview(up()),
        expect![[r#"
            ! services wait for each other: b -> a -> c -> b
            0   + create network app_default 172.18.0.0/22  (missing)
            1   + create container app-a-1 busybox@busybox-1 app_default=172.18.0.2  (missing)  after 0
            2   + create container app-b-1 busybox@busybox-1 app_default=172.18.0.3  (missing)  after 0
            3   + create container app-c-1 busybox@busybox-1 app_default=172.18.0.4  (missing)  after 0
            4   ~ start container app-c-1  (missing)  after 3
            5   ~ start container app-a-1  (missing)  after 1 4
            6   ~ start container app-b-1  (missing)  after 2 5
        "#]],
    );
}

#[test]
fn without_dependencies_none_is_waited_for_but_those_that_were_named() {
    let mut world = World::new()
        .with("database", checked)
        .with("queue", checked)
        .with("web", |service| {
            needs(service, "database", Condition::Healthy);
            needs(service, "queue", Condition::Healthy);
        })
        .up();
    for name in ["app-database-1", "app-queue-1"] {
        world.observed.containers.get_mut(name).unwrap().state = State::Running {
            health: Health::Unhealthy,
        };
    }
    let named = |names: &[&str]| Up {
        services: services(names),
        no_deps: true,
        force_recreate: true,
        ..Up::default()
    };
    let waits = |world: &mut World, verb: Verb| {
        let plan = world.preview(verb);
        assert!(plan.to_string().contains("start container"), "{plan}");
        let waits = plan
            .steps
            .iter()
            .map(|step| step.action.to_string())
            .filter(|text| text.contains("wait for"));
        waits.collect::<Vec<_>>()
    };
    assert!(waits(&mut world, Verb::Up(named(&["web"]))).is_empty());
    assert_eq!(
        waits(&mut world, Verb::Up(named(&["web", "database"]))),
        ["wait for app-database-1 healthy"]
    );
    let restart = Restart {
        services: services(&["web"]),
        no_deps: true,
        ..Restart::default()
    };
    assert!(waits(&mut world, Verb::Restart(restart)).is_empty());
    let run = Run {
        service: "web".to_owned(),
        no_deps: true,
        suffix: "1".to_owned(),
        ..Run::default()
    };
    assert!(waits(&mut world, Verb::Run(Box::new(run))).is_empty());
    let scale = Scale {
        scale: [("web".to_owned(), 2)].into(),
        no_deps: true,
    };
    assert!(waits(&mut world, Verb::Scale(scale)).is_empty());
}
