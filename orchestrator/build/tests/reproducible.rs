//! SOURCE_DATE_EPOCH: equal digests from equal inputs, whenever and wherever they are built.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and says why it is skipped"
)]

mod world;

const DOCKERFILE: &str = "FROM scratch\nCOPY busybox /bin/busybox\n\
    RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n\
    RUN mkdir -p /made/below && echo x >/made/below/file && ln /made/below/file /made/hard && ln -s file /made/below/link\n\
    WORKDIR /work\nCOPY old new ./\nCOPY many /many\nRUN cp -r /many /again && rm /again/3\nCOPY <<inline /inline\ntext\ninline\nENV A=1\n\
    RUN --mount=type=tmpfs,target=/scratch touch /scratch/x && rm /made/hard\n";

/// 2023-11-14.
const EPOCH: u64 = 1_700_000_000;

async fn build(world: &world::World, epoch: &str, order: &[u8]) -> hoist_build::Built {
    std::fs::copy(world::BUSYBOX, world.path("busybox")).unwrap();
    world.write("old", "older than the epoch");
    world.write("new", "younger than the epoch");
    order
        .iter()
        .for_each(|number| world.write(&format!("many/{number}"), "x"));
    let seconds = std::time::Duration::from_secs(EPOCH - 1000);
    let old = std::fs::File::options()
        .write(true)
        .open(world.path("old"))
        .unwrap();
    old.set_modified(std::time::UNIX_EPOCH + seconds).unwrap();
    let mut request = world.request(DOCKERFILE);
    request
        .args
        .insert("SOURCE_DATE_EPOCH".to_owned(), Some(epoch.to_owned()));
    let first = world.build_request(&request).await;
    let times = "stat -c '%Y' /work/old /work/new /made/below/file /made/below";
    assert_eq!(
        world.inside(&first.images[0], times).await,
        format!("{}\n{epoch}\n{epoch}\n{epoch}\n", EPOCH - 1000),
        "younger files take the epoch, older ones keep their time"
    );
    let again = world.build_request(&request).await;
    assert_eq!((again.id, again.ran), (first.id, 0));
    request.no_cache = true;
    assert_eq!(
        world.build_request(&request).await.id,
        first.id,
        "also when every step runs again"
    );
    first
}

#[tokio::test]
async fn two_stores_give_the_same_digests() {
    let epoch = EPOCH.to_string();
    let one = build(&world_or_skip!(), &epoch, &[1, 2, 3, 4, 5, 6, 7, 8, 9]).await;
    // On tmpfs, folders are listed in the order in which their entries were made.
    let elsewhere = world::World::within(std::path::Path::new("/dev/shm"));
    let other = build(&elsewhere, &epoch, &[9, 1, 8, 2, 7, 3, 6, 4, 5]).await;
    assert_eq!(one.images[0].layers, other.images[0].layers);
    assert_eq!(one.id, other.id);
    assert_eq!(one.images[0].created, "2023-11-14T22:13:20Z");
    let lines = one.images[0].config.history.iter();
    assert!(
        lines
            .clone()
            .all(|line| line.created.as_deref() == Some("2023-11-14T22:13:20Z")),
        "{lines:?}"
    );
}

#[tokio::test]
async fn an_epoch_that_is_no_number_is_refused() {
    let world = world_or_skip!();
    let mut request = world.request("FROM scratch\nENV A=1\n");
    request
        .args
        .insert("SOURCE_DATE_EPOCH".to_owned(), Some("yesterday".to_owned()));
    let error = world.try_build(&request).await.unwrap_err();
    assert!(error.to_string().contains("yesterday"), "{error}");
}
