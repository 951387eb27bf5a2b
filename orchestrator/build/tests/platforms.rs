//! Builds for several platforms at once.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and says why it is skipped"
)]

mod world;

use hoist_image::{Platform, Reference};

const CROSS: &str = "FROM --platform=$BUILDPLATFORM scratch AS tools\nCOPY busybox /bin/busybox\n\
    RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\nRUN echo shared >/shared\n\
    FROM tools AS cross\nARG TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT\n\
    ARG BUILDPLATFORM BUILDOS BUILDARCH BUILDVARIANT\n\
    RUN echo \"$TARGETPLATFORM=$TARGETOS-$TARGETARCH-$TARGETVARIANT on $BUILDPLATFORM=$BUILDOS-$BUILDARCH\" >/args\n\
    FROM scratch\nCOPY --from=cross /args /args\nCOPY --from=tools /shared /shared\nCOPY busybox /bin/busybox\n";

const WANTED: [&str; 3] = ["linux/amd64", "linux/arm64", "linux/arm/v7"];

fn request(world: &world::World) -> hoist_build::BuildRequest {
    std::fs::copy(world::BUSYBOX, world.path("busybox")).unwrap();
    let mut request = world.request(CROSS);
    request.platforms = WANTED.map(str::to_owned).to_vec();
    request.args.insert(
        "SOURCE_DATE_EPOCH".to_owned(),
        Some("1700000000".to_owned()),
    );
    request.tags = vec!["app:1".to_owned(), "app:2".to_owned()];
    request
}

#[tokio::test]
async fn every_platform_has_its_image_and_what_they_share_runs_once() {
    let world = world_or_skip!();
    let request = request(&world);
    let built = world.build_request(&request).await;
    assert_eq!(world.runs(), 2 + WANTED.len(), "{}", world.log());
    let host = Platform::host();
    for (image, wanted) in built.images.iter().zip(WANTED) {
        assert_eq!(image.config.platform(), wanted.parse().unwrap());
        let Platform {
            os,
            architecture,
            variant,
        } = wanted.parse().unwrap();
        let expected = format!(
            "{wanted}={os}-{architecture}-{} on {host}={}-{}\nshared\n",
            variant.unwrap_or_default(),
            host.os,
            host.architecture
        );
        assert_eq!(
            world.inside(image, "/bin/busybox cat /args /shared").await,
            expected
        );
        for tag in ["app:1", "app:2"] {
            let found = world
                .store
                .find_for(&Reference::parse(tag).unwrap(), &wanted.parse().unwrap());
            assert_eq!(found.unwrap().id, image.id);
        }
    }
    assert!(
        world
            .log()
            .contains("[linux/arm/v7 stage-2 2/4] COPY --from=cross"),
        "{}",
        world.log()
    );
    world.runs();
    let again = world.build_request(&request).await;
    assert_eq!(
        (again.id, again.ran, world.runs()),
        (built.id, 0, 0),
        "and then all of it is there"
    );
}

#[tokio::test]
async fn an_index_can_be_made_again() {
    let (one, other) = (world_or_skip!(), world_or_skip!());
    let first = one.build_request(&request(&one)).await;
    let mut fresh = request(&one);
    fresh.no_cache = true;
    assert_eq!(
        one.build_request(&fresh).await.id,
        first.id,
        "when every step runs again"
    );
    let mut turned = request(&other);
    turned.platforms.reverse();
    assert_eq!(
        other.build_request(&turned).await.id,
        first.id,
        "elsewhere, and in another order"
    );
}

#[tokio::test]
async fn what_cannot_be_run_is_refused_before_anything_is_done() {
    let world = world_or_skip!();
    let mut request = world.request("FROM nowhere/base\nCOPY . /\nRUN make\nRUN make install\n");
    request.platforms = vec!["linux/s390x".to_owned()];
    let error = world.try_build(&request).await.unwrap_err().to_string();
    assert!(
        error.contains("nothing here runs programs for linux/s390x")
            && error.contains("Dockerfile:3:1"),
        "{error}"
    );
    assert_eq!((world.runs(), world.log().as_str()), (0, ""));
    let mut native = world.request("FROM scratch\nCOPY file /\n");
    world.write("file", "");
    native.platforms = vec!["linux/s390x".to_owned()];
    assert_eq!(
        world.build_request(&native).await.images[0]
            .config
            .architecture,
        "s390x",
        "without RUN nothing is run"
    );
}
