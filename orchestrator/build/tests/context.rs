//! Contexts as they are found: archives, files that change meanwhile, things that are no files.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and says why it is skipped"
)]

mod world;

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hoist_build::{BuildEvent, ContextSource, DockerfileSource, Host, build};
use hoist_tree::Descent;
use rustix::fs::{Mode, OFlags};

/// What has another content than its key says must not become a layer.
#[tokio::test]
async fn a_file_that_changes_while_it_is_copied_stops_the_build() {
    let world = world_or_skip!();
    world.write("file", "as it was");
    let request = world.request("FROM scratch\nCOPY file /\n");
    let path = world.path("file");
    let change = move |event| {
        // Its content is hashed by now, and not copied yet.
        if let BuildEvent::Started { name, .. } = event
            && name.contains("COPY")
        {
            std::fs::write(&path, "as it is now, longer").unwrap();
        }
    };
    let host = Host {
        progress: Arc::new(change),
        ..world.host()
    };
    let error = build(&request, &host).await.unwrap_err();
    assert!(
        error.to_string().contains("it changed during the build"),
        "{error}"
    );
    let built = build(&request, &world.host()).await.unwrap();
    assert_eq!(built.ran, 1);
    assert_eq!(
        std::fs::read_to_string(world.store.lowers(&built.images[0]).unwrap()[0].join("file"))
            .unwrap(),
        "as it is now, longer"
    );
}

fn archive(world: &world::World, name: &str, flags: &[&str]) -> PathBuf {
    let path = world.folder.path().join(name);
    let tar = Command::new("tar")
        .args(flags)
        .arg(&path)
        .arg("-C")
        .arg(world.path(""))
        .arg(".")
        .status()
        .unwrap();
    assert!(tar.success());
    path
}

#[tokio::test]
async fn an_archive_is_a_context_with_its_own_ignore_file() {
    let world = world_or_skip!();
    world.write("sub/Dockerfile", "FROM scratch\nCOPY . /all/\n");
    world.write("kept", "x");
    world.write("hidden", "x");
    world.write(".dockerignore", "hidden\n");
    let mut ran = Vec::new();
    for (name, flags) in [("plain.tar", "-cf"), ("packed.tar.gz", "-czf")] {
        let mut request = world.request("");
        request.context = ContextSource::Folder(archive(&world, name, &[flags]));
        request.dockerfile = DockerfileSource::File("sub/Dockerfile".into());
        let built = world.build_request(&request).await;
        let all = world.store.lowers(&built.images[0]).unwrap()[0].join("all");
        assert!(all.join("kept").exists() && !all.join("hidden").exists());
        ran.push(built.ran);
    }
    assert_eq!(ran, [1, 0], "however it was packed");
}

#[tokio::test]
async fn a_dockerfile_may_be_all_of_a_context() {
    let world = world_or_skip!();
    world.write("Dockerfile", "FROM scratch\nCOPY <<f /f\nx\nf\n");
    let mut request = world.request("");
    request.context = ContextSource::Folder(world.path("Dockerfile"));
    request.dockerfile = DockerfileSource::default();
    assert_eq!(world.build_request(&request).await.ran, 1);
}

#[tokio::test]
async fn sockets_stay_outside_and_secrets_may_be_variables() {
    let world = world_or_skip!();
    world.base().await;
    world.write("folder/file", "x");
    let _socket = std::os::unix::net::UnixListener::bind(world.path("folder/socket")).unwrap();
    let mut request = world.request(
        "FROM mybase:1.0\nCOPY folder /folder\n\
         RUN --mount=type=secret,id=token,env=TOKEN --mount=type=secret,id=OTHER,env= echo \"$TOKEN $OTHER\" | wc -c >/length\n\
         RUN --mount=type=secret,id=none,env=NONE echo \"${NONE-unset}\" >/none\n",
    );
    for (name, value) in [("token", "abc"), ("OTHER", "de")] {
        request
            .secrets
            .insert(name.to_owned(), hoist_build::SecretBytes(value.into()));
    }
    let built = world.build_request(&request).await;
    let found = world
        .inside(&built.images[0], "ls /folder && cat /length /none")
        .await;
    assert_eq!(found, "file\n7\nunset\n");
}

#[tokio::test]
async fn a_dockerfile_outside_of_the_context_has_its_own_ignore_file() {
    let world = world_or_skip!();
    world.write("app/kept", "x");
    world.write("app/hidden", "x");
    world.write("app/.dockerignore", "kept\n");
    world.write("docker/app.Dockerfile", "FROM scratch\nCOPY . /all/\n");
    let mut request = world.request("");
    request.context = ContextSource::Folder(world.path("app"));
    let all = async |request: &hoist_build::BuildRequest| {
        let built = world.build_request(request).await;
        let mut names: Vec<_> =
            std::fs::read_dir(world.store.lowers(&built.images[0]).unwrap()[0].join("all"))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
        names.sort();
        names
    };
    for dockerfile in [
        "../docker/app.Dockerfile".into(),
        world.path("docker/app.Dockerfile"),
    ] {
        request.dockerfile = DockerfileSource::File(dockerfile);
        std::fs::remove_file(world.path("docker/app.Dockerfile.dockerignore")).ok();
        assert_eq!(
            all(&request).await,
            [".dockerignore", "hidden"],
            "without one, the context's counts"
        );
        world.write("docker/app.Dockerfile.dockerignore", "hidden\n");
        assert_eq!(all(&request).await, [".dockerignore", "kept"]);
    }
}

/// So many folders, each in the one before, with a file in the last one.
fn dig(top: &Path, levels: usize) {
    std::fs::create_dir(top).unwrap();
    let root = std::fs::File::open(top).unwrap();
    let mut place = Descent::new(root.as_fd());
    for _ in 1..levels {
        rustix::fs::mkdirat(place.folder(), "d", Mode::from_raw_mode(0o755)).unwrap();
        place.enter(c"d").unwrap();
    }
    let flags = OFlags::CREATE | OFlags::WRONLY;
    let file =
        rustix::fs::openat(place.folder(), "file", flags, Mode::from_raw_mode(0o644)).unwrap();
    rustix::io::write(&file, b"deep").unwrap();
}

#[tokio::test]
async fn deep_folders_are_copied_as_far_as_a_layer_holds_them() {
    let world = world_or_skip!();
    world.base().await;
    dig(&world.path("deep"), 1000);
    let began = Instant::now();
    let built = world
        .build(
            "FROM mybase:1.0 AS first\nCOPY deep /deep\nFROM mybase:1.0\nCOPY --from=first /deep /again\n\
             COPY --from=first /deep /again\n",
        )
        .await;
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "it took {:?}",
        began.elapsed()
    );
    let look = "find /again | wc -l; cd /again; for i in 1 2 3 4 5 6 7 8 9; do cd d/d/d; done; ls";
    assert_eq!(world.inside(&built.images[0], look).await, "1001\nd\n");
    hoist_tree::remove(&world.path("deep")).unwrap();

    // Deeper than that is refused before any of it is read.
    dig(&world.path("deep"), 2500);
    for step in ["COPY deep /deep", "COPY . /all"] {
        let error = world
            .try_build(&world.request(&format!("FROM mybase:1.0\n{step}\n")))
            .await
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("d/d/d") && text.contains("is too deep: an image holds no paths"),
            "{step}: {text}"
        );
        assert!(text.len() < 2000, "{step}: {text}");
    }
    let from = format!(
        "FROM mybase:1.0 AS first\nRUN mkdir /deep; cd -P /deep; for i in 1 2 3 4 5; do mkdir -p {down}; cd -P {down}; \
         done; exit 0\nFROM mybase:1.0\nCOPY --from=first /deep /deep\n",
        down = "d/".repeat(500)
    );
    let text = world
        .try_build(&world.request(&from))
        .await
        .unwrap_err()
        .to_string();
    assert!(text.contains("too deep"), "{text}");
    world.write(".dockerignore", "deep/d\n");
    world.build("FROM mybase:1.0\nCOPY . /all\n").await;
    hoist_tree::remove(&world.path("deep")).unwrap();
}
