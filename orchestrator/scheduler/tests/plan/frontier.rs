//! Which steps may run when, and what a failure leaves out.

use expect_test::expect;
use hoist_spec::model::{Condition, Dependency};

use crate::world::{World, checked, drive, needs, up, variable};

#[test]
fn dependents_of_a_failed_step_are_skipped_and_nothing_else() {
    let mut world = World::new()
        .with("database", checked)
        .with("web", |service| {
            needs(service, "database", Condition::Healthy)
        })
        .with("other", |_| {});
    let plan = world.preview(up());
    expect![[r#"
        done    create network app_default 172.18.0.0/22
        done    create container app-database-1 busybox@busybox-1 app_default=172.18.0.2
        done    create container app-other-1 busybox@busybox-1 app_default=172.18.0.3
        done    create container app-web-1 busybox@busybox-1 app_default=172.18.0.4
        done    start container app-database-1
        done    start container app-other-1
        failed  wait for app-database-1 healthy
        skipped start container app-web-1
    "#]]
    .assert_eq(&drive(&plan, |step| step.starts_with("wait for")));
}

#[test]
fn an_optional_wait_that_fails_holds_nobody_back() {
    let optional = Dependency {
        condition: Condition::Healthy,
        restart: false,
        required: false,
    };
    let mut world = World::new().with("cache", checked).with("web", |service| {
        service.depends_on.insert("cache".to_owned(), optional);
    });
    let plan = world.preview(up());
    expect![[r#"
        done    create network app_default 172.18.0.0/22
        done    create container app-cache-1 busybox@busybox-1 app_default=172.18.0.2
        done    create container app-web-1 busybox@busybox-1 app_default=172.18.0.3
        done    start container app-cache-1
        failed  wait for app-cache-1 healthy (optional)
        done    start container app-web-1
    "#]]
    .assert_eq(&drive(&plan, |step| step.starts_with("wait for")));
}

#[test]
fn nothing_that_runs_is_touched_for_an_image_that_cannot_be_had() {
    let mut world = World::new().with("web", |_| {}).up();
    world.edit("web", |service| {
        service.image = Some("absent".to_owned());
        variable(service, "2");
    });
    let plan = world.preview(up());
    expect![[r#"
        failed  pull image absent
        skipped stop container app-web-1 SIGTERM 10s
        skipped remove container app-web-1
        skipped create container app-web-1 absent app_default=172.18.0.2
        skipped start container app-web-1
    "#]]
    .assert_eq(&drive(&plan, |step| step.starts_with("pull")));
}
