//! One-off containers.

use expect_test::expect;
use hoist_object::{Timestamp, Transport};
use hoist_scheduler::{Action, PullPolicy, Run, RunPort, RunVolume, State, Verb};
use hoist_spec::model::{Condition, RestartPolicy};

use crate::check;
use crate::world::{World, checked, needs, publish, up};

fn stack() -> World {
    World::new()
        .with("database", checked)
        .with("web", |service| {
            needs(service, "database", Condition::Healthy);
            publish(service, (80, 80), 80);
            service.restart = Some(RestartPolicy::Always);
            service.command = Some(vec!["serve".to_owned()]);
        })
}

fn run() -> Run {
    Run {
        service: "web".to_owned(),
        suffix: "a1b2".to_owned(),
        ..Run::default()
    }
}

#[test]
fn one_off_brings_its_dependencies_and_no_ports() {
    let mut world = stack();
    let request = world.ask(Verb::Run(Box::new(run())));
    check(
        &world.answer(&request),
        expect![[r#"
            0   + create network app_default 172.18.0.0/22  (missing)
            1   + create container app-database-1 busybox@busybox-1 app_default=172.18.0.2  (missing)  after 0
            2   + create container app-web-run-a1b2 busybox@busybox-1 app_default=172.18.0.3  (requested)  after 0
            3   ~ start container app-database-1  (missing)  after 1
            4   ? wait for app-database-1 healthy  (needed by web)  after 3
            5   ~ start container app-web-run-a1b2  (requested)  after 2 4
        "#]],
    );
    world.rounds(&request);
    // Its end is an end: nothing starts it again.
    let container = world
        .observed
        .containers
        .get_mut("app-web-run-a1b2")
        .unwrap();
    container.state = State::Exited {
        code: 3,
        at: Timestamp::from_millis(2000),
    };
    check(
        &world.answer(&request),
        expect![[r#"
        nothing to do
    "#]],
    );
    check(
        &world.preview(Verb::Supervise),
        expect![[r#"
        nothing to do
    "#]],
    );
}

#[test]
fn one_off_replaces_nothing_and_up_leaves_it_alone() {
    let mut world = stack().up();
    world.edit("database", |service| crate::world::variable(service, "2"));
    check(
        &world.act(Verb::Run(Box::new(run()))),
        expect![[r#"
            0   + create container app-web-run-a1b2 busybox@busybox-1 app_default=172.18.0.4  (requested)
            1   ~ start container app-web-run-a1b2  (requested)  after 0
        "#]],
    );
    world.edit("web", |service| crate::world::variable(service, "2"));
    check(
        &world.preview(up()),
        expect![[r#"
            0   ~ stop container app-web-1 SIGTERM 10s  (changed: environment)
            1   ~ stop container app-database-1 SIGTERM 10s  (changed: environment)  after 0
            2   - remove container app-database-1  (changed: environment)  after 1
            3   - remove container app-web-1  (changed: environment)  after 0
            4   + create container app-database-1 busybox@busybox-1 app_default=172.18.0.2  (changed: environment)  after 2
            5   + create container app-web-1 busybox@busybox-1 app_default=172.18.0.3 80->80/tcp  (changed: environment)  after 3
            6   ~ start container app-database-1  (changed: environment)  after 4
            7   ? wait for app-database-1 healthy  (needed by web)  after 6
            8   ~ start container app-web-1  (changed: environment)  after 5 7
        "#]],
    );
    check(
        &world.preview(crate::world::down()),
        expect![[r#"
            0   ~ stop container app-web-1 SIGTERM 10s  (requested)
            1   ~ stop container app-web-run-a1b2 SIGTERM 10s  (requested)
            2   ~ stop container app-database-1 SIGTERM 10s  (requested)  after 0 1
            3   - remove container app-database-1  (requested)  after 2
            4   - remove container app-web-1  (requested)  after 0
            5   - remove container app-web-run-a1b2  (requested)  after 1
            6   - remove network app_default  (requested)  after 3 4 5
        "#]],
    );
}

#[test]
fn command_line_changes_the_one_off_only() {
    let mut world = stack().up();
    let run = Run {
        name: Some("shell".to_owned()),
        command: Some(vec!["sh".to_owned()]),
        user: Some("1000".to_owned()),
        tty: true,
        publish: vec![RunPort {
            target: 80,
            published: Some(8080),
            host_ip: None,
            transport: Transport::Tcp,
        }],
        volumes: vec![
            RunVolume {
                source: "/srv".to_owned(),
                target: "/srv".to_owned(),
                read_only: true,
            },
            RunVolume {
                source: "cache".to_owned(),
                target: "/cache".to_owned(),
                read_only: false,
            },
        ],
        no_deps: true,
        ..run()
    };
    let plan = world.preview(Verb::Run(Box::new(run)));
    check(
        &plan,
        expect![[r#"
            0   + create volume cache  (missing)
            1   + create container shell busybox@busybox-1 app_default=172.18.0.4 8080->80/tcp  (requested)  after 0
            2   ~ start container shell  (requested)  after 1
        "#]],
    );
    let Some(Action::CreateContainer(spec)) = plan
        .steps
        .iter()
        .map(|step| &step.action)
        .find(|action| matches!(action, Action::CreateContainer(_)))
    else {
        panic!("{plan}");
    };
    assert_eq!(spec.service.command, Some(vec!["sh".to_owned()]));
    assert_eq!(spec.service.user.as_deref(), Some("1000"));
    assert_eq!(spec.service.restart, None);
    assert_eq!(spec.record.networks[0].aliases, ["shell"]);
    assert_eq!(spec.labels["com.docker.compose.oneoff"], "True");
}

/// Whether each plan of a request is its last, whatever the next look would show.
#[test]
fn the_plan_that_makes_the_one_off_is_the_last() {
    let pulled = Verb::Run(Box::new(Run {
        pull: Some(PullPolicy::Always),
        ..run()
    }));
    let run = || Verb::Run(Box::new(run()));
    let mut unfetched = stack();
    unfetched.observed.images.clear();
    let table: [(&str, World, Verb, &[bool]); 5] = [
        ("everything is there", stack().up(), run(), &[true]),
        ("its dependency is missing", stack(), run(), &[true]),
        ("its image is missing", unfetched, run(), &[true]),
        ("its image is pulled first", stack().up(), pulled, &[true]),
        ("another verb", stack(), up(), &[false]),
    ];
    for (case, mut world, verb, expected) in table {
        let request = world.ask(verb);
        let mut seen = Vec::new();
        loop {
            let plan = world.answer(&request);
            if plan.is_empty() {
                break;
            }
            world.apply(&plan);
            seen.push(plan.concludes);
            // `run --rm` of a command that ends at once.
            world.observed.containers.remove("app-web-run-a1b2");
            if plan.concludes {
                break;
            }
        }
        assert_eq!(seen, expected, "{case}");
    }
}
