//! What is pulled or built first.

use std::time::Duration;

use expect_test::expect;
use hoist_scheduler::{Build, ImageName, Pull, PullPolicy, Up, Verb};
use hoist_spec::model;

use crate::check;
use crate::world::{World, image, services, up};

fn built() -> World {
    World::new().with("web", |service| {
        service.image = None;
        service.build = Some(model::Build {
            context: "/srv/app".to_owned(),
            ..model::Build::default()
        });
    })
}

fn up_build() -> Verb {
    Verb::Up(Up {
        build: true,
        ..Up::default()
    })
}

#[test]
fn a_missing_image_is_pulled_once_for_all_who_use_it() {
    let mut world = World::new().with("a", |_| {}).with("b", |_| {});
    world.observed.images.clear();
    check(
        &world.preview(up()),
        expect![[r#"
            0   + pull image busybox  (missing)
            1   + create network app_default 172.18.0.0/22  (missing)
            2   + create container app-a-1 busybox app_default=172.18.0.2  (missing)  after 0 1
            3   + create container app-b-1 busybox app_default=172.18.0.3  (missing)  after 0 1
            4   ~ start container app-a-1  (missing)  after 2
            5   ~ start container app-b-1  (missing)  after 3
        "#]],
    );
}

#[test]
fn a_missing_build_is_built() {
    check(
        &built().preview(up()),
        expect![[r#"
            0   + build image app-web  (missing)
            1   + create network app_default 172.18.0.0/22  (missing)
            2   + create container app-web-1 app-web app_default=172.18.0.2  (missing)  after 0 1
            3   ~ start container app-web-1  (missing)  after 2
        "#]],
    );
}

#[test]
fn services_that_name_an_image_which_another_one_builds_wait_for_that_build() {
    let mut world = built().with("worker", |_| {});
    for service in ["web", "worker"] {
        world.desired.stack.services.get_mut(service).unwrap().image = Some("app/image".to_owned());
    }
    check(
        &world.preview(up()),
        expect![[r#"
            0   + build image app/image  (missing)
            1   + create network app_default 172.18.0.0/22  (missing)
            2   + create container app-web-1 app/image app_default=172.18.0.2  (missing)  after 0 1
            3   + create container app-worker-1 app/image app_default=172.18.0.3  (missing)  after 0 1
            4   ~ start container app-web-1  (missing)  after 2
            5   ~ start container app-worker-1  (missing)  after 3
        "#]],
    );
}

#[test]
fn up_build_ends_with_the_build_where_it_decides_what_follows() {
    let mut world = built().with("other", |_| {}).up();
    let request = world.ask(up_build());
    check(
        &world.answer(&request),
        expect![[r#"
            0   + build image app-web  (forced)
            # service "web": app-web-1 replaced if the image changes
        "#]],
    );
    world.rounds(&request);

    let request = world.ask(up_build());
    let first = world.answer(&request);
    world.apply(&first);
    world.observed.images.get_mut(&"app-web".into()).unwrap().id = "sha256:web-2".to_owned();
    check(
        &world.answer(&request),
        expect![[r#"
            0   ~ stop container app-web-1 SIGTERM 10s  (image changed)
            1   - remove container app-web-1  (image changed)  after 0
            2   + create container app-web-1 app-web@web-2 app_default=172.18.0.3  (image changed)  after 1
            3   ~ start container app-web-1  (image changed)  after 2
        "#]],
    );
}

#[test]
fn a_build_that_the_engine_has_done_is_not_repeated() {
    let mut world = built().up();
    let mut request = world.ask(up_build());
    request.refreshed.insert("app-web".into());
    check(
        &world.answer(&request),
        expect![[r#"
        nothing to do
    "#]],
    );
}

#[test]
fn dependents_of_what_is_being_fetched_wait_for_the_next_round() {
    let mut world = built().with("front", |service| {
        crate::world::needs(service, "web", model::Condition::Started);
    });
    world = world.up();
    world.edit("front", |service| crate::world::variable(service, "2"));
    check(
        &world.preview(up_build()),
        expect![[r#"
            0   + build image app-web  (forced)
            # service "web": app-web-1 replaced if the image changes
        "#]],
    );
}

#[test]
fn pull_policies() {
    let mut world = World::new().with("web", |_| {}).up();
    world.edit("web", |service| {
        service.pull_policy = Some(model::PullPolicy::Always)
    });
    check(
        &world.preview(up()),
        expect![[r#"
            0   + pull image busybox  (forced)
            # service "web": app-web-1 replaced if the image changes
        "#]],
    );
    let age = Duration::from_secs(3600);
    world.edit("web", |service| {
        service.pull_policy = Some(model::PullPolicy::Every(age))
    });
    world
        .observed
        .images
        .get_mut(&"busybox".into())
        .unwrap()
        .refreshed = Some(world.now());
    check(
        &world.preview(up()),
        expect![[r#"
        nothing to do
    "#]],
    );
    world.pass(age);
    check(
        &world.preview(up()),
        expect![[r#"
            0   + pull image busybox  (forced)
            # service "web": app-web-1 replaced if the image changes
        "#]],
    );
    let never = Verb::Up(Up {
        pull: Some(PullPolicy::Never),
        ..Up::default()
    });
    check(
        &world.preview(never),
        expect![[r#"
        nothing to do
    "#]],
    );
}

#[test]
fn an_image_that_may_not_be_fetched_is_a_problem() {
    let mut world = built().with("other", |service| service.image = Some("absent".to_owned()));
    let verb = Verb::Up(Up {
        no_build: true,
        pull: Some(PullPolicy::Never),
        ..Up::default()
    });
    check(
        &world.preview(verb),
        expect![[r#"
            ! service "other": image "absent" is not in the store and may not be fetched; `hoist pull` fetches it
            ! service "web": image "app-web" is not in the store and may not be fetched; `hoist pull` fetches it
            0   + create network app_default 172.18.0.0/22  (missing)
            1   + create container app-other-1 absent app_default=172.18.0.2  (missing)  after 0
            2   + create container app-web-1 app-web app_default=172.18.0.3  (missing)  after 0
            3   ~ start container app-other-1  (missing)  after 1
            4   ~ start container app-web-1  (missing)  after 2
        "#]],
    );
}

#[test]
fn pull_and_build_as_verbs() {
    let mut world = built().with("other", |_| {});
    check(
        &world.preview(Verb::Pull(Pull::default())),
        expect![[r#"
            0   + pull image busybox  (requested)
        "#]],
    );
    let missing = Pull {
        policy: Some(PullPolicy::Missing),
        ..Pull::default()
    };
    check(
        &world.preview(Verb::Pull(missing)),
        expect![[r#"
        nothing to do
    "#]],
    );
    check(
        &world.act(Verb::Build(Build::default())),
        expect![[r#"
            0   + build image app-web  (requested)
        "#]],
    );
    check(
        &world.preview(Verb::Build(Build {
            services: services(&["other"]),
            ..Build::default()
        })),
        expect![[r#"
        ! service "other" has no build section
    "#]],
    );
}

#[test]
fn healthcheck_of_the_image_counts() {
    let mut world = World::new()
        .with("database", |service| {
            service.image = Some("postgres".to_owned())
        })
        .with("web", |service| {
            crate::world::needs(service, "database", model::Condition::Healthy)
        });
    world.observed.images.insert(
        "postgres".into(),
        hoist_scheduler::Image {
            has_healthcheck: true,
            ..image("pg")
        },
    );
    check(
        &world.preview(up()),
        expect![[r#"
            0   + create network app_default 172.18.0.0/22  (missing)
            1   + create container app-database-1 postgres@pg app_default=172.18.0.2  (missing)  after 0
            2   + create container app-web-1 busybox@busybox-1 app_default=172.18.0.3  (missing)  after 0
            3   ~ start container app-database-1  (missing)  after 1
            4   ? wait for app-database-1 healthy  (needed by web)  after 3
            5   ~ start container app-web-1  (missing)  after 2 4
        "#]],
    );
}

#[test]
fn an_image_of_another_platform_is_said_where_a_container_is_made_of_it() {
    let mut world = World::new().with("web", |service| {
        service.platform = Some("linux/arm64".to_owned())
    });
    let other = hoist_scheduler::Image {
        other_platform: Some("linux/amd64".into()),
        ..image("busybox-1")
    };
    world.observed.images.insert(
        hoist_scheduler::ImageName::new("busybox", Some("linux/arm64")),
        other,
    );
    let plan = world.act(up());
    let notes: Vec<String> = plan.notes.iter().map(ToString::to_string).collect();
    assert!(
        notes
            .iter()
            .any(|note| note.contains("linux/arm64") && note.contains("linux/amd64")),
        "{notes:?}"
    );
    assert_eq!(world.preview(up()).notes, [], "not again");
}

#[test]
fn a_build_on_the_image_of_a_service_comes_after_that_build() {
    let mut world = built().with("base", |service| {
        service.image = None;
        service.build = Some(model::Build {
            context: "/srv/base".to_owned(),
            ..model::Build::default()
        });
        service.replicas = 0;
    });
    let web = world.desired.stack.services.get_mut("web").unwrap();
    let contexts = [("files".to_owned(), "service:base".to_owned())].into();
    web.build.as_mut().unwrap().additional_contexts = contexts;
    let build = Build {
        services: services(&["web"]),
        ..Build::default()
    };
    check(
        &world.preview(Verb::Build(build)),
        expect![[r#"
        0   + build image app-base  (requested)
        1   + build image app-web  (requested)  after 0
    "#]],
    );
    check(
        &world.preview(up()),
        expect![[r#"
            0   + build image app-base  (missing)
            1   + build image app-web  (missing)  after 0
            2   + create network app_default 172.18.0.0/22  (missing)
            3   + create container app-web-1 app-web app_default=172.18.0.2  (missing)  after 1 2
            4   ~ start container app-web-1  (missing)  after 3
        "#]],
    );
}

#[test]
fn each_platform_of_an_image_is_an_image_of_its_own() {
    let far = |service: &mut model::Service| service.platform = Some("linux/arm64".to_owned());
    let mut world = World::new().with("web", |_| {}).with("far", far);
    check(
        &world.preview(up()),
        expect![[r#"
            0   + pull image busybox  (missing)
            1   + create network app_default 172.18.0.0/22  (missing)
            2   + create container app-far-1 busybox app_default=172.18.0.2  (missing)  after 0 1
            3   + create container app-web-1 busybox@busybox-1 app_default=172.18.0.3  (missing)  after 0 1
            4   ~ start container app-far-1  (missing)  after 2
            5   ~ start container app-web-1  (missing)  after 3
        "#]],
    );
    world.observed.images.insert(
        ImageName::new("busybox", Some("linux/arm64")),
        image("busybox-arm64"),
    );
    check(
        &world.preview(up()),
        expect![[r#"
            0   + create network app_default 172.18.0.0/22  (missing)
            1   + create container app-far-1 busybox@busybox-arm6 app_default=172.18.0.2  (missing)  after 0
            2   + create container app-web-1 busybox@busybox-1 app_default=172.18.0.3  (missing)  after 0
            3   ~ start container app-far-1  (missing)  after 1
            4   ~ start container app-web-1  (missing)  after 2
        "#]],
    );
}

#[test]
fn up_builds_for_the_platform_that_it_runs_and_build_for_all() {
    let mut world = built().with("web", |service| {
        let build = service.build.as_mut().unwrap();
        build.platforms = ["linux/amd64", "linux/arm64"].map(str::to_owned).to_vec();
    });
    let platforms = |plan: hoist_scheduler::Plan| {
        let builds = plan.steps.into_iter().filter_map(|step| match step.action {
            hoist_scheduler::Action::BuildImage { build, .. } => Some(build.platforms),
            _ => None,
        });
        builds.flatten().collect::<Vec<_>>()
    };
    assert_eq!(
        platforms(world.preview(up_build())),
        Vec::<String>::new(),
        "only the host's"
    );
    let all = platforms(world.preview(Verb::Build(Build::default())));
    assert_eq!(all, ["linux/amd64", "linux/arm64"]);
}
