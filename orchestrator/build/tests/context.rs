//! Contexts as they are found: archives, files that change meanwhile, things that are no files.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and says why it is skipped")]

mod world;

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use hoist_build::{BuildEvent, ContextSource, DockerfileSource, Host, build};

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
    let host = Host { progress: Arc::new(change), ..world.host() };
    let error = build(&request, &host).await.unwrap_err();
    assert!(error.to_string().contains("it changed during the build"), "{error}");
    let built = build(&request, &world.host()).await.unwrap();
    assert_eq!(built.ran, 1);
    assert_eq!(
        std::fs::read_to_string(world.store.lowers(&built.images[0]).unwrap()[0].join("file")).unwrap(),
        "as it is now, longer"
    );
}

fn archive(world: &world::World, name: &str, flags: &[&str]) -> PathBuf {
    let path = world.folder.path().join(name);
    let tar = Command::new("tar").args(flags).arg(&path).arg("-C").arg(world.path("")).arg(".").status().unwrap();
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
        request.secrets.insert(name.to_owned(), hoist_build::SecretBytes(value.into()));
    }
    let built = world.build_request(&request).await;
    let found = world.inside(&built.images[0], "ls /folder && cat /length /none").await;
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
        let mut names: Vec<_> = std::fs::read_dir(world.store.lowers(&built.images[0]).unwrap()[0].join("all"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    for dockerfile in ["../docker/app.Dockerfile".into(), world.path("docker/app.Dockerfile")] {
        request.dockerfile = DockerfileSource::File(dockerfile);
        std::fs::remove_file(world.path("docker/app.Dockerfile.dockerignore")).ok();
        assert_eq!(all(&request).await, [".dockerignore", "hidden"], "without one, the context's counts");
        world.write("docker/app.Dockerfile.dockerignore", "hidden\n");
        assert_eq!(all(&request).await, [".dockerignore", "kept"]);
    }
}
