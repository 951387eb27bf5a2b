//! Named and anonymous volumes.

use expect_test::expect;
use hoist_scheduler::{Action, Image, Plan, Up, Verb, Volume};

use crate::check;
use crate::world::{World, image, mount, up, variable};

fn carried(plan: &Plan) -> String {
    let specs = plan.steps.iter().filter_map(|step| match &step.action {
        Action::CreateContainer(spec) => Some(format!("{:?} {:?}", spec.carried, spec.mounts)),
        _ => None,
    });
    specs.collect()
}

#[test]
fn anonymous_volumes_pass_to_the_new_container() {
    let mut world = World::new().with("web", |service| mount(service, None, "/scratch"));
    world.observed.images.insert(
        "busybox".into(),
        Image {
            volumes: ["/data".to_owned()].into(),
            ..image("busybox-1")
        },
    );
    let mut world = world.up();
    let before = world.observed.containers["app-web-1"].anonymous.clone();
    assert_eq!(before.len(), 2);
    world.edit("web", |service| variable(service, "2"));
    expect![[r#"{"/data": "anonymous-app-web-1-data"} [MountPoint { target: "/scratch", read_only: false, source: Anonymous { volume: Carried { volume: "anonymous-app-web-1-scratch" }, nocopy: false } }]"#]].assert_eq(&carried(&world.preview(up())));
    world.act(up());
    assert_eq!(world.observed.containers["app-web-1"].anonymous, before);

    let renew = Verb::Up(Up {
        renew_anon_volumes: true,
        ..Up::default()
    });
    expect![[
        r#"{} [MountPoint { target: "/scratch", read_only: false, source: Anonymous { volume: New, nocopy: false } }]"#
    ]]
    .assert_eq(&carried(&world.preview(renew)));
}

#[test]
fn a_changed_volume_keeps_its_data() {
    let mut world = World::new()
        .with_volume("data")
        .with("web", |service| mount(service, Some("data"), "/data"))
        .up();
    let options = &mut world
        .desired
        .stack
        .volumes
        .get_mut("data")
        .unwrap()
        .driver_opts;
    options.insert("type".to_owned(), "tmpfs".to_owned());
    check(
        &world.preview(up()),
        expect![[r##"
        # volume "app_data" has changed in the stack; it keeps its settings and its data
        nothing to do
    "##]],
    );
}

#[test]
fn external_volumes_must_exist_and_others_are_shared_with_a_note() {
    let mut world = World::new()
        .with_volume("data")
        .with_volume("theirs")
        .with("web", |service| mount(service, Some("data"), "/data"))
        .with("other", |service| mount(service, Some("theirs"), "/data"));
    world
        .desired
        .stack
        .volumes
        .get_mut("data")
        .unwrap()
        .external = true;
    let volume = Volume {
        name: "app_theirs".to_owned(),
        project: "other".to_owned(),
        key: "data".to_owned(),
        config_hash: String::new(),
        foreign_users: Default::default(),
    };
    world
        .observed
        .volumes
        .insert("app_theirs".to_owned(), volume);
    check(
        &world.preview(up()),
        expect![[r#"
            ! external volume "app_data" does not exist; make it with `hoist volume create app_data`
            0   + create network app_default 172.18.0.0/22  (missing)
            1   + create container app-other-1 busybox@busybox-1 app_default=172.18.0.2  (missing)  after 0
            2   + create container app-web-1 busybox@busybox-1 app_default=172.18.0.3  (missing)  after 0
            3   ~ start container app-other-1  (missing)  after 1
            4   ~ start container app-web-1  (missing)  after 2
            # volume "app_theirs" was made by project "other"; declare it external to say so
        "#]],
    );
}
