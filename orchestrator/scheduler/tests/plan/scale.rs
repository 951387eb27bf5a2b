//! Numbers of containers.

use expect_test::expect;
use hoist_scheduler::{Scale, Up, Verb};

use crate::check;
use crate::world::{World, publish, up, variable};

fn scale(count: u32) -> Verb {
    Verb::Scale(Scale {
        scale: [("web".to_owned(), count)].into(),
        no_deps: false,
    })
}

#[test]
fn up_and_down() {
    let mut world = World::new()
        .with("web", |service| publish(service, (8000, 8010), 80))
        .up();
    check(
        &world.act(scale(3)),
        expect![[r#"
            0   + create container app-web-2 busybox@busybox-1 app_default=172.18.0.3 8001->80/tcp  (missing)
            1   + create container app-web-3 busybox@busybox-1 app_default=172.18.0.4 8002->80/tcp  (missing)
            2   ~ start container app-web-2  (missing)  after 0
            3   ~ start container app-web-3  (missing)  after 1
        "#]],
    );
    check(
        &world.act(scale(1)),
        expect![[r#"
            0   ~ stop container app-web-2 SIGTERM 10s  (scaled down)
            1   ~ stop container app-web-3 SIGTERM 10s  (scaled down)
            2   - remove container app-web-2  (scaled down)  after 0
            3   - remove container app-web-3  (scaled down)  after 1
        "#]],
    );
    check(
        &world.act(scale(0)),
        expect![[r#"
            0   ~ stop container app-web-1 SIGTERM 10s  (scaled down)
            1   - remove container app-web-1  (scaled down)  after 0
        "#]],
    );
}

#[test]
fn plain_up_goes_back_to_the_file() {
    let mut world = World::new().with("web", |_| {}).up();
    world.act(scale(2));
    check(
        &world.preview(up()),
        expect![[r#"
            0   ~ stop container app-web-2 SIGTERM 10s  (scaled down)
            1   - remove container app-web-2  (scaled down)  after 0
        "#]],
    );
}

#[test]
fn lowest_free_numbers_are_used_again() {
    let mut world = World::new()
        .with("web", |service| service.replicas = 3)
        .up();
    world.observed.containers.remove("app-web-2");
    check(
        &world.preview(up()),
        expect![[r#"
            0   + create container app-web-2 busybox@busybox-1 app_default=172.18.0.3  (missing)
            1   ~ start container app-web-2  (missing)  after 0
        "#]],
    );
}

#[test]
fn up_to_date_replicas_are_kept() {
    let mut world = World::new()
        .with("web", |service| service.replicas = 3)
        .up();
    world.edit("web", |service| variable(service, "2"));
    let request = world.ask(up());
    let plan = world.answer(&request);
    // Only the third came to be replaced before the engine died.
    for step in plan
        .steps
        .iter()
        .filter(|step| step.action.object() == "app-web-3")
    {
        world.observed.apply(&step.action);
    }
    world.edit("web", |service| service.replicas = 1);
    check(
        &world.preview(up()),
        expect![[r#"
            0   ~ stop container app-web-1 SIGTERM 10s  (scaled down)
            1   ~ stop container app-web-2 SIGTERM 10s  (scaled down)
            2   - remove container app-web-1  (scaled down)  after 0
            3   - remove container app-web-2  (scaled down)  after 1
        "#]],
    );
}

#[test]
fn replicas_share_a_fixed_port() {
    let mut world = World::new().with("web", |service| {
        publish(service, (8080, 8080), 80);
        service.replicas = 2;
    });
    check(
        &world.preview(up()),
        expect![[r#"
            0   + create network app_default 172.18.0.0/22  (missing)
            1   + create container app-web-1 busybox@busybox-1 app_default=172.18.0.2 8080->80/tcp  (missing)  after 0
            2   + create container app-web-2 busybox@busybox-1 app_default=172.18.0.3 8080->80/tcp  (missing)  after 0
            3   ~ start container app-web-1  (missing)  after 1
            4   ~ start container app-web-2  (missing)  after 2
        "#]],
    );
}

#[test]
fn too_many_for_a_range_of_ports() {
    let mut world = World::new().with("web", |service| publish(service, (8080, 8081), 80));
    let verb = Verb::Up(Up {
        scale: [("web".to_owned(), 3)].into(),
        ..Up::default()
    });
    check(
        &world.preview(verb),
        expect![[r#"
            ! service "web": every host port of 8080-8081/tcp is in use, the first by container "app-web-1" of project "app"; publish another port, or stop what has it
            0   + create network app_default 172.18.0.0/22  (missing)
            1   + create container app-web-1 busybox@busybox-1 app_default=172.18.0.2 8080->80/tcp  (missing)  after 0
            2   + create container app-web-2 busybox@busybox-1 app_default=172.18.0.3 8081->80/tcp  (missing)  after 0
            3   + create container app-web-3 busybox@busybox-1 app_default=172.18.0.4  (missing)  after 0
            4   ~ start container app-web-1  (missing)  after 1
            5   ~ start container app-web-2  (missing)  after 2
            6   ~ start container app-web-3  (missing)  after 3
        "#]],
    );
}
