//! Real builds into a store of their own.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and says why it is skipped"
)]

mod world;

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;
use std::time::{Duration, SystemTime};

use hoist_build::{BuildError, DockerfileSource};

/// `app-3.3.1.tar` as a build tool leaves it.
fn application_tar(world: &world::World) {
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |path: &str, content: &[u8], mode: u32| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        header.set_mtime(1_600_000_000);
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(&mut header, path, content).unwrap();
    };
    add("app-3.3.1/bin/app", b"#!/bin/sh\necho application\n", 0o755);
    add("app-3.3.1/lib/app.jar", b"jar", 0o644);
    world.write(
        "build/distributions/app-3.3.1.tar",
        tar.into_inner().unwrap(),
    );
    world.write("config.template.json", "{}");
    world.write(
        "docker/script/start.sh",
        "#!/bin/sh\nexec /app-3.3.1/bin/app\n",
    );
    let script = world.path("docker/script/start.sh");
    std::fs::set_permissions(script, PermissionsExt::from_mode(0o755)).unwrap();
}

const TARGET: &str = "FROM mybase:1.0
MAINTAINER someone@example.com
ADD build/distributions/app-3.3.1.tar /
ADD config.template.json /app-3.3.1/bin/config.json
ADD docker/script/start.sh /usr/local/bin/
RUN ln -s /usr/local/bin/start.sh /start.sh
EXPOSE 8080
EXPOSE 7000
CMD [\"start.sh\"]
";

#[tokio::test]
async fn the_target_of_the_first_issue_is_built_and_runs() {
    let world = world_or_skip!();
    world.base().await;
    application_tar(&world);
    world.write("Dockerfile", TARGET);
    let mut request = world.request("");
    request.dockerfile = DockerfileSource::default();
    request.tags = vec!["app:3.3.1".to_owned()];
    let built = world.build_request(&request).await;
    assert_eq!((built.ran, built.cached), (4, 0), "{}", world.log());
    let config = &built.images[0].config;
    assert_eq!(config.author.as_deref(), Some("someone@example.com"));
    assert_eq!(
        config.config.cmd.as_deref(),
        Some(&["start.sh".to_owned()][..])
    );
    assert_eq!(
        config.config.exposed_ports.iter().collect::<Vec<_>>(),
        ["7000/tcp", "8080/tcp"]
    );
    let layers = config
        .history
        .iter()
        .filter(|line| !line.empty_layer)
        .count();
    assert_eq!(layers, config.rootfs.diff_ids.len());
    assert_eq!(
        world
            .inside(
                &built.images[0],
                "/start.sh && cat /app-3.3.1/bin/config.json"
            )
            .await,
        "application\n{}"
    );
    assert_eq!(world.store.resolve("app:3.3.1").unwrap().id, built.id);

    let again = world.build_request(&request).await;
    assert_eq!((again.ran, again.cached), (0, 4), "{}", world.log());
    assert_eq!(again.id, built.id);
}

#[tokio::test]
async fn only_what_changed_and_what_follows_runs_again() {
    let world = world_or_skip!();
    world.base().await;
    world.write("a", "one");
    world.write("b", "two");
    let text =
        "FROM mybase:1.0\nCOPY a /a\nRUN echo first >/first\nCOPY b /b\nRUN cat /a /b >/both\n";
    let first = world.build(text).await;
    assert_eq!((first.ran, world.runs()), (4, 2));

    let later = SystemTime::now() + Duration::from_secs(1000);
    std::fs::File::options()
        .write(true)
        .open(world.path("a"))
        .unwrap()
        .set_modified(later)
        .unwrap();
    let touched = world.build(text).await;
    assert_eq!((touched.ran, world.runs(), touched.id), (0, 0, first.id));

    world.write("b", "TWO");
    let changed = world.build(text).await;
    assert_eq!((changed.ran, world.runs()), (2, 1), "{}", world.log());
    assert_eq!(
        world.inside(&changed.images[0], "cat /both").await,
        "oneTWO"
    );

    // Back again: everything is still known, in any order of edits.
    world.write("b", "two");
    let back = world.build(text).await;
    assert_eq!((back.ran, world.runs(), back.id), (0, 0, first.id));

    std::fs::set_permissions(world.path("a"), PermissionsExt::from_mode(0o600)).unwrap();
    let mode = world.build(text).await;
    assert!(mode.ran >= 1, "a mode is part of a file");
    world.runs();

    let mut fresh = world.request(text);
    fresh.no_cache = true;
    assert_eq!(world.build_request(&fresh).await.ran, 4);
    assert_eq!(world.runs(), 2);
}

#[tokio::test]
async fn metadata_instructions_make_no_layers() {
    let world = world_or_skip!();
    world.base().await;
    let built = world
        .build(
            "FROM mybase:1.0\nARG V=1\nENV A=x${V} B=\"$A y\"\nLABEL who=\"me $V\"\nUSER app\nEXPOSE 53/udp 80-81\n\
             VOLUME /data\nSTOPSIGNAL SIGQUIT\nSHELL [\"/bin/ash\", \"-c\"]\nENTRYPOINT exec top\n\
             HEALTHCHECK --interval=5s CMD wget localhost\nONBUILD COPY . /src",
        )
        .await;
    let config = &built.images[0].config.config;
    assert_eq!(built.ran, 0);
    assert_eq!(config.env[1..], ["A=x1", "B= y"]);
    assert_eq!(config.labels["who"], "me 1");
    assert_eq!(config.user, "app");
    assert_eq!(
        config.exposed_ports.iter().collect::<Vec<_>>(),
        ["53/udp", "80/tcp", "81/tcp"]
    );
    assert_eq!(
        config.entrypoint.as_deref().unwrap(),
        ["/bin/ash", "-c", "exec top"]
    );
    assert_eq!(
        config.cmd, None,
        "the base's CMD was for the base's ENTRYPOINT"
    );
    assert_eq!(
        config.healthcheck.as_ref().unwrap().test,
        ["CMD-SHELL", "wget localhost"]
    );
    assert_eq!(config.healthcheck.as_ref().unwrap().interval, 5_000_000_000);
    assert_eq!(config.on_build, ["COPY . /src"]);
    assert_eq!(config.stop_signal.as_deref(), Some("SIGQUIT"));
}

#[tokio::test]
async fn stages_that_nobody_needs_are_not_built() {
    let world = world_or_skip!();
    world.base().await;
    let text = "FROM mybase:1.0 AS build\nRUN echo made >/out\nFROM mybase:1.0 AS unused\nRUN false\n\
                FROM scratch AS files\nCOPY --from=build /out /taken\nFROM mybase:1.0\nCOPY --from=files / /into/\n";
    let built = world.build(text).await;
    assert_eq!(world.runs(), 1);
    assert_eq!(
        world.inside(&built.images[0], "cat /into/taken").await,
        "made\n"
    );
    let mut request = world.request(text);
    request.target = Some("build".to_owned());
    let build_only = world.build_request(&request).await;
    assert_eq!((build_only.ran, build_only.cached), (0, 1));
    request.target = Some("unused".to_owned());
    assert!(matches!(
        world.try_build(&request).await,
        Err(BuildError::RunFailed { exit_code: 1, .. })
    ));
}

#[tokio::test]
async fn a_rebuilt_stage_with_the_same_output_changes_nothing_after_it() {
    let world = world_or_skip!();
    world.base().await;
    let text = |comment: &str| {
        format!(
            "FROM mybase:1.0 AS build\nRUN echo same >/out # {comment}\nFROM mybase:1.0\nCOPY --from=build /out /out\n\
             RUN cat /out"
        )
    };
    world.build(&text("one")).await;
    world.runs();
    let again = world.build(&text("two")).await;
    assert_eq!((again.ran, world.runs()), (1, 1), "{}", world.log());
}

#[tokio::test]
async fn independent_stages_run_at_the_same_time() {
    let world = world_or_skip!();
    world.base().await;
    // Each waits for the other's mark in a shared cache: one after the other would never end.
    let wait = |own: &str, other: &str| {
        format!(
            "RUN --mount=type=cache,target=/meet,id=meet touch /meet/{own}; i=0; while [ ! -e /meet/{other} ]; do \
             i=$((i+1)); [ $i -lt 200 ] || exit 9; usleep 50000; done; touch /{own}"
        )
    };
    let text = format!(
        "FROM mybase:1.0 AS a\n{}\nFROM mybase:1.0 AS b\n{}\nFROM scratch\nCOPY --from=a /a /\nCOPY --from=b /b /\n",
        wait("a", "b"),
        wait("b", "a")
    );
    world.build(&text).await;
}

#[tokio::test]
async fn a_failing_run_shows_its_line_code_and_last_words() {
    let world = world_or_skip!();
    world.base().await;
    let error =
        world
            .try_build(&world.request(
                "FROM mybase:1.0\nRUN echo before; echo the reason >&2; exit 7\nRUN never\n",
            ))
            .await
            .unwrap_err();
    let BuildError::RunFailed {
        exit_code, tail, ..
    } = &error
    else {
        panic!("{error:?}")
    };
    assert_eq!(*exit_code, 7);
    assert!(tail.contains(&"the reason".to_owned()));
    let text = error.to_string();
    assert!(
        text.contains("inline Dockerfile:2:1") && text.contains("exit code 7"),
        "{text}"
    );
    let missing = world
        .try_build(&world.request("FROM mybase:1.0\nRUN nosuchprogram\n"))
        .await
        .unwrap_err();
    assert!(missing.to_string().contains("exit code 127"), "{missing}");
    // A failed step is not in the cache.
    world.runs();
    world
        .try_build(&world.request("FROM mybase:1.0\nRUN nosuchprogram\n"))
        .await
        .unwrap_err();
    assert_eq!(world.runs(), 1);
}

#[tokio::test]
async fn variables_reach_run_steps_and_arguments_select_the_cache() {
    let world = world_or_skip!();
    world.base().await;
    let text = "ARG BASE=mybase\nFROM ${BASE}:1.0\nARG V\nARG TARGETARCH\nENV E=env\nWORKDIR /w\nWORKDIR sub\n\
                RUN echo $V $E $PWD $TARGETARCH $HTTP_PROXY >/out\n";
    let mut request = world.request(text);
    request.args.insert("V".to_owned(), Some("one".to_owned()));
    let first = world.build_request(&request).await;
    let architecture = hoist_image::Platform::host().architecture;
    assert_eq!(
        world.inside(&first.images[0], "cat /out").await,
        format!("one env /w/sub {architecture}\n")
    );
    request
        .args
        .insert("HTTP_PROXY".to_owned(), Some("http://proxy".to_owned()));
    assert_eq!(
        world.build_request(&request).await.ran,
        0,
        "a proxy is not part of the key"
    );
    request.args.insert("V".to_owned(), Some("two".to_owned()));
    let second = world.build_request(&request).await;
    assert_eq!(second.ran, 1);
    assert_eq!(
        world.inside(&second.images[0], "cat /out").await,
        format!("two env /w/sub {architecture} http://proxy\n")
    );
    request.args.insert("TYPO".to_owned(), Some("x".to_owned()));
    world.build_request(&request).await;
    assert!(world.log().contains("TYPO is not used"), "{}", world.log());
}

#[tokio::test]
async fn copies_land_where_a_container_would_see_them() {
    let world = world_or_skip!();
    world.base().await;
    world.write("file", "content");
    world.write("dir/inner/x", "x");
    world.write("dir/y", "y");
    let built = world
        .build(
            "FROM mybase:1.0\nRUN mkdir -p /usr/real /opt/kept && ln -s usr/real /link && chmod 711 /opt/kept && \
             ln -s /usr/real/target /pointer\nCOPY file /link/\nCOPY file /pointer\nCOPY dir /opt/kept\nCOPY dir /new/deep\n\
             COPY --chown=app:staff file /owned/by/\nCOPY --chown=app --chmod=640 file /named\nCOPY fi?e d*/y /globbed/\n\
             COPY <<EOF /heredoc\nhello $PATH\nEOF\n",
        )
        .await;
    let listing = world
        .inside(
            &built.images[0],
            "ls -ld /link | cut -c1; cat /usr/real/file /usr/real/target; echo; stat -c '%a %u' /opt/kept; cat \
             /opt/kept/inner/x /new/deep/inner/x; echo; stat -c '%u %g %n' /owned/by /owned/by/file; stat -c '%a %u %g' \
             /named; ls /globbed; cat /heredoc",
        )
        .await;
    let expected = "l\ncontentcontent\n711 0\nxx\n1000 50 /owned/by\n1000 50 /owned/by/file\n640 1000 1001\nfile\ny\n\
                    hello /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n";
    assert_eq!(listing, expected);
    let conflict = world
        .try_build(&world.request("FROM mybase:1.0\nCOPY dir /etc/passwd\n"))
        .await
        .unwrap_err();
    assert!(
        conflict
            .to_string()
            .contains("/etc/passwd is there already"),
        "{conflict}"
    );
    let missing = world
        .try_build(&world.request("FROM mybase:1.0\nCOPY nothing /x\n"))
        .await
        .unwrap_err();
    assert!(
        missing
            .to_string()
            .contains("nothing is not there (in the build context)"),
        "{missing}"
    );
    let nobody = world
        .try_build(&world.request("FROM mybase:1.0\nCOPY --chown=ghost file /x\n"))
        .await
        .unwrap_err();
    assert!(nobody.to_string().contains("no user ghost"), "{nobody}");
}

#[tokio::test]
async fn symlinks_in_the_context_cannot_reach_outside() {
    let world = world_or_skip!();
    world.base().await;
    let secret = world.folder.path().join("secret");
    std::fs::write(&secret, "TOP SECRET\n").unwrap();
    symlink(&secret, world.path("absolute")).unwrap();
    symlink("../secret", world.path("relative")).unwrap();
    symlink("..", world.path("up")).unwrap();
    symlink(&secret, world.path("Linked")).unwrap();
    for source in ["absolute", "relative", "up/secret", "../secret"] {
        let error = world
            .try_build(&world.request(&format!("FROM mybase:1.0\nCOPY {source} /x\n")))
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("is not there"),
            "{source}: {error}"
        );
    }
    let mut request = world.request("");
    request.dockerfile = DockerfileSource::File("Linked".into());
    let error = world.try_build(&request).await.unwrap_err();
    assert!(matches!(error, BuildError::NoDockerfile { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("TOP SECRET"));
    // As a part of a folder it is copied as what it is.
    let built = world.build("FROM mybase:1.0\nCOPY . /ctx\n").await;
    assert_eq!(
        world
            .inside(&built.images[0], "readlink /ctx/relative")
            .await,
        "../secret\n"
    );
    let inner = world
        .try_build(
            &world.request("FROM mybase:1.0\nRUN --mount=source=up/secret,target=/s cat /s\n"),
        )
        .await;
    assert!(inner.is_err());
}

#[tokio::test]
async fn ignored_files_are_neither_copied_nor_part_of_the_key() {
    let world = world_or_skip!();
    world.base().await;
    world.write(
        ".dockerignore",
        "*.log\nnode_modules\nsecret/*\n!secret/public\nDockerfile*\n",
    );
    world.write("a.log", "1");
    world.write("src/b.log", "kept: the pattern has no **");
    world.write("node_modules/m", "m");
    world.write("secret/key", "k");
    world.write("secret/public", "p");
    let text = "FROM mybase:1.0\nCOPY . /c\n";
    let built = world.build(text).await;
    let files = world
        .inside(&built.images[0], "cd /c && find . -type f | sort")
        .await;
    assert_eq!(files, "./.dockerignore\n./secret/public\n./src/b.log\n");
    world.write("a.log", "2");
    world.write("secret/key", "other");
    assert_eq!(world.build(text).await.ran, 0);
    let error = world
        .try_build(&world.request("FROM mybase:1.0\nCOPY a.log /\n"))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("excluded by the ignore file"),
        "{error}"
    );
    // The Dockerfile's own ignore file counts alone.
    world.write("Dockerfile.x", text);
    world.write("Dockerfile.x.dockerignore", "src\n");
    let mut request = world.request("");
    request.dockerfile = DockerfileSource::File("Dockerfile.x".into());
    let own = world.build_request(&request).await;
    assert_eq!(
        world.inside(&own.images[0], "ls /c").await,
        "Dockerfile.x\nDockerfile.x.dockerignore\na.log\nnode_modules\nsecret\n"
    );
}

#[tokio::test]
async fn mounts_of_run_leave_nothing_in_the_layer() {
    let world = world_or_skip!();
    world.base().await;
    world.write("src/main.c", "code");
    let mut request = world.request(
        "FROM mybase:1.0 AS tools\nRUN mkdir /t && echo tool >/t/tool\nFROM mybase:1.0\n\
         RUN --mount=type=bind,source=src,target=/src --mount=type=bind,from=tools,source=/t,target=/opt/t \
         --mount=type=cache,target=/cache --mount=type=tmpfs,target=/scratch --mount=type=secret,id=key \
         --mount=type=secret,id=key,env=KEY \
         cat /src/main.c /opt/t/tool /run/secrets/key >/out; echo $KEY >>/out; touch /scratch/x; \
         [ ! -e /cache/seen ] || cat /cache/seen; echo again >/cache/seen\n",
    );
    request.secrets.insert(
        "key".to_owned(),
        hoist_build::SecretBytes(b"s3cret".to_vec()),
    );
    let built = world.build_request(&request).await;
    assert_eq!(
        world.inside(&built.images[0], "cat /out; ls /").await,
        "codetool\ns3crets3cret\nbin\netc\nout\n"
    );
}

#[tokio::test]
async fn secrets_are_in_no_layer_history_key_or_message() {
    let world = world_or_skip!();
    world.base().await;
    let mut request = world.request(
        "FROM mybase:1.0\nRUN --mount=type=secret,id=key,required test -s /run/secrets/key\n",
    );
    let error = world.try_build(&request).await.unwrap_err();
    assert!(
        error.to_string().contains("secret key is required"),
        "{error}"
    );
    request.secrets.insert(
        "key".to_owned(),
        hoist_build::SecretBytes(b"hunter2-canary".to_vec()),
    );
    let built = world.build_request(&request).await;
    request.secrets.insert(
        "key".to_owned(),
        hoist_build::SecretBytes(b"other".to_vec()),
    );
    assert_eq!(world.build_request(&request).await.ran, 0);
    assert!(!format!("{:?} {:?} {}", request, built.images[0], world.log()).contains("canary"));
    let found = Command::new("grep")
        .args(["-rl", "hunter2-canary"])
        .arg(world.folder.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    assert_eq!(world.inside(&built.images[0], "ls /").await, "bin\netc\n");
}

#[tokio::test]
async fn heredocs_run_as_scripts() {
    let world = world_or_skip!();
    world.base().await;
    let built = world
        .build(
            "FROM mybase:1.0\nRUN <<EOF\necho one >/one\necho two >>/one\nEOF\nRUN cat >/three <<'X'\n$literal\nX\n\
             RUN <<S\n#!/bin/busybox sh\necho \"$0\" >/four\nS\n",
        )
        .await;
    assert_eq!(
        world
            .inside(&built.images[0], "cat /one /three /four")
            .await,
        "one\ntwo\n$literal\n/dev/pipes/S\n"
    );
}

#[tokio::test]
async fn triggers_of_the_base_fire_in_the_child() {
    let world = world_or_skip!();
    world.base().await;
    world.write("f", "from the child");
    let mut request = world.request("FROM mybase:1.0\nONBUILD COPY f /f\nONBUILD RUN cat /f >/g\n");
    request.tags = vec!["trigger:1".to_owned()];
    world.build_request(&request).await;
    let built = world.build("FROM trigger:1\n").await;
    assert_eq!(
        world.inside(&built.images[0], "cat /g").await,
        "from the child"
    );
    assert!(built.images[0].config.config.on_build.is_empty());
}

#[tokio::test]
async fn linked_copies_do_not_depend_on_what_is_below() {
    let world = world_or_skip!();
    world.base().await;
    world.write("f", "f");
    world
        .build("FROM mybase:1.0\nRUN echo 1 >/1\nCOPY --link f /sub/f\n")
        .await;
    let other = world
        .build("FROM mybase:1.0\nRUN echo 2 >/2\nCOPY --link f /sub/f\n")
        .await;
    assert_eq!((other.ran, other.cached), (1, 1));
    assert_eq!(world.inside(&other.images[0], "cat /sub/f").await, "f");
}

#[tokio::test]
async fn deletions_of_a_step_are_seen_by_the_next() {
    let world = world_or_skip!();
    world.base().await;
    world.write("new", "new");
    let built = world
        .build(
            "FROM mybase:1.0\nRUN mkdir -p /d/sub && echo old >/d/old && echo x >/d/sub/x && ln -s /d /l\n\
             RUN rm -r /d && mkdir /d && rm /l\nCOPY new /d/\nCOPY new /l\nRUN [ ! -e /d/old ] && [ ! -e /d/sub ] && [ ! -L /l ]\n\
             FROM scratch\nCOPY --from=0 /d /d\nCOPY --from=mybase:1.0 /bin /bin\n",
        )
        .await;
    assert_eq!(
        world
            .inside(
                &built.images[0],
                "ls /d; test -L /bin/ls && echo links stay"
            )
            .await,
        "new\nlinks stay\n"
    );
}

#[tokio::test]
async fn a_change_with_the_old_size_and_time_is_seen() {
    let world = world_or_skip!();
    world.base().await;
    for number in 0..50 {
        world.write(&format!("many/{number}"), number.to_string());
    }
    let old = SystemTime::now() - Duration::from_secs(60);
    for number in 0..50 {
        let file = std::fs::File::options()
            .write(true)
            .open(world.path(&format!("many/{number}")))
            .unwrap();
        file.set_modified(old).unwrap();
    }
    let text = "FROM mybase:1.0\nCOPY many /many\n";
    let first = world.build(text).await;
    assert_eq!(world.build(text).await.id, first.id);
    // Read or not, the answer has to be the same: a change of one byte with the old size and time is seen.
    world.write("many/7", "8");
    let file = std::fs::File::options()
        .write(true)
        .open(world.path("many/7"))
        .unwrap();
    file.set_modified(old).unwrap();
    let changed = world.build(text).await;
    assert_ne!(changed.id, first.id);
    assert_eq!(
        std::fs::metadata(world.path("many/7")).unwrap().mtime(),
        std::fs::metadata(world.path("many/8")).unwrap().mtime()
    );
}

#[tokio::test]
async fn a_missing_base_names_the_line() {
    let world = world_or_skip!();
    let error = world
        .try_build(&world.request("FROM nowhere:1\n"))
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("inline Dockerfile:1:6") && text.contains("is not in any registry"),
        "{text}"
    );
}
