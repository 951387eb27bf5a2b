//! Where COPY, ADD and FROM take files from: folders with their parents, web servers, repositories, named contexts.
//! The servers are real ones on loopback.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and says why it is skipped"
)]

mod world;

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use hoist_build::{BuildError, ContextSource, DockerfileSource, NamedContext};

/// Killed with the test.
struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Python's, which says on its first line which port it got.
fn web(folder: &Path) -> Server {
    let mut child = Command::new("python3")
        .args(["-u", "-m", "http.server", "--bind", "127.0.0.1", "0"])
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(folder.with_extension("log")).unwrap())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    let port = line
        .split_whitespace()
        .skip_while(|word| *word != "port")
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    Server { child, port }
}

fn git(folder: &Path, words: &[&str]) {
    let who = [
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@example.com",
        "-c",
        "init.defaultBranch=main",
    ];
    let done = Command::new("git")
        .args(who)
        .args(words)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output();
    let done = done.unwrap();
    assert!(
        done.status.success(),
        "git {words:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// git's own server for `git://`: the program itself, since `git daemon` starts it as a child that outlives it.
fn repositories(folder: &Path) -> Server {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let folder_of_git = Command::new("git")
        .arg("--exec-path")
        .output()
        .unwrap()
        .stdout;
    let child = Command::new(
        Path::new(String::from_utf8(folder_of_git).unwrap().trim()).join("git-daemon"),
    )
    .args(["--export-all", "--listen=127.0.0.1", "--reuseaddr"])
    .arg(format!("--port={port}"))
    .arg(format!("--base-path={}", folder.display()))
    .arg(folder)
    .spawn()
    .unwrap();
    let server = Server { child, port };
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::yield_now();
    }
    server
}

#[tokio::test]
async fn parents_are_kept_from_the_pivot_on() {
    let world = world_or_skip!();
    world.base().await;
    for file in [
        "src/a/one.txt",
        "src/a/two.md",
        "src/b/c/three.txt",
        "other/four.txt",
    ] {
        world.write(file, file);
    }
    std::fs::set_permissions(world.path("src/b"), PermissionsExt::from_mode(0o750)).unwrap();
    let built = world
        .build(
            "FROM mybase:1.0\nCOPY --parents src/a/one.txt other /all/\nCOPY --parents ./src/./b/c /pivot/\n\
             COPY --parents src/**/*.txt /deep/\nCOPY --parents --exclude=**/*.md src /without/\n",
        )
        .await;
    let list = world
        .inside(
            &built.images[0],
            "cd / && find all pivot deep without -type f | sort; stat -c %a /pivot/b",
        )
        .await;
    assert_eq!(
        list,
        "all/other/four.txt\nall/src/a/one.txt\ndeep/src/a/one.txt\ndeep/src/b/c/three.txt\npivot/b/c/three.txt\n\
         without/src/a/one.txt\nwithout/src/b/c/three.txt\n750\n"
    );
    let missing = world
        .try_build(&world.request("FROM mybase:1.0\nCOPY --parents src/none /x/\n"))
        .await
        .unwrap_err();
    assert!(
        missing.to_string().contains("src/none is not there"),
        "{missing}"
    );
}

#[tokio::test]
async fn modes_change_by_letters() {
    let world = world_or_skip!();
    world.base().await;
    world.write("tree/file", "x");
    world.write("tree/tool", "x");
    for (name, mode) in [("tree", 0o700), ("tree/file", 0o600), ("tree/tool", 0o700)] {
        std::fs::set_permissions(world.path(name), PermissionsExt::from_mode(mode)).unwrap();
    }
    let built = world
        .build("FROM mybase:1.0\nCOPY --chmod=go=rX tree /tree\n")
        .await;
    assert_eq!(
        world
            .inside(&built.images[0], "stat -c %a /tree /tree/file /tree/tool")
            .await,
        "755\n644\n755\n"
    );
}

#[tokio::test]
async fn a_file_of_a_web_server_is_added_once() {
    let world = world_or_skip!();
    world.base().await;
    let site = world.folder.path().join("site");
    std::fs::create_dir(&site).unwrap();
    std::fs::write(site.join("tool"), "content").unwrap();
    let modified =
        std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
    std::fs::File::options()
        .write(true)
        .open(site.join("tool"))
        .unwrap()
        .set_modified(modified)
        .unwrap();
    let server = web(&site);
    let text = format!(
        "FROM mybase:1.0\nARG NAME=tool\nADD http://127.0.0.1:{}/${{NAME}} /opt/\n",
        server.port
    );
    let built = world.build(&text).await;
    let shown = world
        .inside(
            &built.images[0],
            "cat /opt/tool; stat -c ' %a %u %Y' /opt/tool",
        )
        .await;
    assert_eq!(shown, "content 600 0 1600000000\n");

    let again = world.build(&text).await;
    assert_eq!((again.ran, again.cached), (0, 1), "{}", world.log());
    let log = std::fs::read_to_string(site.with_extension("log")).unwrap();
    assert!(log.contains("\" 304 -"), "{log}");

    std::fs::write(site.join("tool"), "changed").unwrap();
    let changed = world.build(&text).await;
    assert_eq!(
        world.inside(&changed.images[0], "cat /opt/tool").await,
        "changed"
    );
}

#[tokio::test]
async fn a_download_has_the_checksum_or_is_refused() {
    let world = world_or_skip!();
    world.base().await;
    let site = world.folder.path().join("site");
    std::fs::create_dir(&site).unwrap();
    std::fs::write(site.join("file"), "content").unwrap();
    let server = web(&site);
    let right = hoist_image::Digest::of(b"content");
    let port = server.port;
    let text = |checksum: &str| {
        format!(
            "FROM mybase:1.0\nADD --checksum={checksum} --chmod=644 http://127.0.0.1:{}/file /file\n",
            port
        )
    };
    world.build(&text(&right.to_string())).await;
    let wrong = hoist_image::Digest::of(b"other").to_string();
    let error = world
        .try_build(&world.request(&text(&wrong)))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&format!("has the digest {right}, not {wrong}")),
        "{error}"
    );
    assert!(error.contains("Dockerfile:2:1"), "{error}");
    // What is known by its checksum needs no server.
    drop(server);
    let request = world.request(&text(&right.to_string()));
    let again = world.build_request(&request).await;
    assert_eq!((again.ran, again.cached), (0, 1));
}

#[tokio::test]
async fn archives_are_unpacked_where_that_is_asked_for() {
    let world = world_or_skip!();
    world.base().await;
    let site = world.folder.path().join("site");
    std::fs::create_dir(&site).unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o644);
    tar.append_data(&mut header, "inner/file", &b"hello"[..])
        .unwrap();
    let tar = tar.into_inner().unwrap();
    std::fs::write(site.join("a.tar"), &tar).unwrap();
    world.write("a.tar", &tar);
    let server = web(&site);
    let url = format!("http://127.0.0.1:{}/a.tar", server.port);
    let built = world
        .build(&format!(
            "FROM mybase:1.0\nADD {url} /plain/\nADD --unpack {url} /unpacked/\nADD a.tar /local/\n\
             ADD --unpack=false a.tar /kept/\n"
        ))
        .await;
    let list = world
        .inside(
            &built.images[0],
            "cd / && find plain unpacked local kept -type f | sort",
        )
        .await;
    assert_eq!(
        list,
        "kept/a.tar\nlocal/inner/file\nplain/a.tar\nunpacked/inner/file\n"
    );
    // The same archive as a context, and as a named one.
    let mut request = world
        .request("FROM mybase:1.0\nCOPY inner/file /main\nCOPY --from=more inner/file /named\n");
    request.context = ContextSource::parse(&url);
    request
        .contexts
        .insert("more".to_owned(), NamedContext::parse(&url).unwrap());
    let built = world.build_request(&request).await;
    assert_eq!(
        world.inside(&built.images[0], "cat /main /named").await,
        "hellohello"
    );
}

#[tokio::test]
async fn what_a_server_refuses_is_said_at_the_line() {
    let world = world_or_skip!();
    world.base().await;
    let site = world.folder.path().join("site");
    std::fs::create_dir(&site).unwrap();
    let server = web(&site);
    let missing = format!(
        "FROM mybase:1.0\nADD http://127.0.0.1:{}/none /x\n",
        server.port
    );
    let error = world
        .try_build(&world.request(&missing))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("answers 404") && error.contains(":2:1"),
        "{error}"
    );
    let metadata = "FROM mybase:1.0\nADD http://169.254.169.254/latest/meta-data /x\n";
    let error = world
        .try_build(&world.request(metadata))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("169.254.169.254 is a link-local address"),
        "{error}"
    );
}

fn repository(world: &world::World) -> std::path::PathBuf {
    let work = world.folder.path().join("repositories/work");
    std::fs::create_dir_all(work.join("sub")).unwrap();
    git(&work, &["init", "-q"]);
    std::fs::write(
        work.join("Dockerfile"),
        "FROM mybase:1.0\nCOPY sub/file /file\n",
    )
    .unwrap();
    std::fs::write(work.join("sub/file"), "one").unwrap();
    std::os::unix::fs::symlink("/etc", work.join("out")).unwrap();
    git(&work, &["add", "-A"]);
    git(&work, &["commit", "-qm", "one"]);
    git(&work, &["tag", "-am", "first", "v1"]);
    std::fs::write(work.join("sub/file"), "two").unwrap();
    git(&work, &["commit", "-qam", "two"]);
    work
}

#[tokio::test]
async fn repositories_are_added_and_built_from() {
    let world = world_or_skip!();
    world.base().await;
    let work = repository(&world);
    let server = repositories(work.parent().unwrap());
    let url = format!("git://127.0.0.1:{}/work/.git", server.port);
    let text = format!(
        "FROM mybase:1.0\nADD {url} /head\nADD {url}#v1 /v1\nADD {url}#main:sub /sub\nADD --keep-git-dir {url} /kept\n"
    );
    let built = world.build(&text).await;
    let shown = world
        .inside(
            &built.images[0],
            "cat /head/sub/file /v1/sub/file /sub/file; ls -A /head; test -f /kept/.git/HEAD && echo kept",
        )
        .await;
    assert_eq!(shown, "twoonetwoDockerfile\nout\nsub\nkept\n");
    let again = world.build(&text).await;
    assert_eq!(again.ran, 0, "{}", world.log());

    let mut request = world.request("");
    request.dockerfile = DockerfileSource::default();
    request.context = ContextSource::parse(&format!("{url}#v1"));
    let built = world.build_request(&request).await;
    assert_eq!(world.inside(&built.images[0], "cat /file").await, "one");

    for (reference, said) in [
        ("#none", "no branch or tag none"),
        ("#main:out", "no folder out"),
    ] {
        let request = world.request(&format!("FROM mybase:1.0\nADD {url}{reference} /x\n"));
        let error = world.try_build(&request).await.unwrap_err().to_string();
        assert!(error.contains(said) && error.contains(":2:1"), "{error}");
    }
}

#[tokio::test]
async fn named_contexts_stand_for_images_stages_and_folders() {
    let world = world_or_skip!();
    world.base().await;
    let other = world.folder.path().join("other");
    std::fs::create_dir_all(other.join("dir")).unwrap();
    std::fs::write(other.join("dir/file"), "other").unwrap();
    std::fs::write(other.join("hidden"), "hidden").unwrap();
    std::fs::write(other.join(".dockerignore"), "hidden\n").unwrap();
    let mut request = world.request(
        "FROM alpine AS first\nRUN echo made >/made\n\
         FROM never/pulled AS replaced\nRUN false\n\
         FROM first\nCOPY --from=files dir/file /copied\nCOPY --from=replaced dir/file /from-stage\n\
         RUN --mount=type=bind,from=files,target=/m cat /m/dir/file >/mounted && ls /m >>/mounted\n",
    );
    request.contexts.insert(
        "alpine".to_owned(),
        NamedContext::parse("docker-image://mybase:1.0").unwrap(),
    );
    request
        .contexts
        .insert("files".to_owned(), NamedContext::Folder(other.clone()));
    request
        .contexts
        .insert("replaced".to_owned(), NamedContext::Folder(other.clone()));
    let built = world.build_request(&request).await;
    let shown = world
        .inside(&built.images[0], "cat /made /copied /from-stage /mounted")
        .await;
    assert_eq!(shown, "made\notherotherotherdir\n");
    // Also as the base itself.
    let mut request = world.request("FROM files\nCOPY --from=alpine /bin/busybox /bin/busybox\n");
    request.contexts.insert(
        "alpine".to_owned(),
        NamedContext::parse("docker-image://mybase:1.0").unwrap(),
    );
    request
        .contexts
        .insert("files".to_owned(), NamedContext::Folder(other));
    let built = world.build_request(&request).await;
    assert_eq!(
        world
            .inside(&built.images[0], "/bin/busybox cat /dir/file")
            .await,
        "other"
    );
}

#[tokio::test]
async fn a_step_may_ask_only_for_what_the_build_is_entitled_to() {
    let world = world_or_skip!();
    world.base().await;
    for (flag, right) in [
        ("--network=host", "network.host"),
        ("--security=insecure", "security.insecure"),
    ] {
        let text = format!("FROM mybase:1.0\nRUN {flag} true\n");
        let error = world.try_build(&world.request(&text)).await.unwrap_err();
        assert!(matches!(error, BuildError::Dockerfile(..)), "{error}");
        assert!(
            error
                .to_string()
                .contains(&format!("not entitled to {right}")),
            "{error}"
        );
        let mut request = world.request(&text);
        request
            .entitlements
            .extend(hoist_build::Entitlement::parse(right));
        world.build_request(&request).await;
    }
}

#[tokio::test]
async fn an_ssh_agent_is_lent_to_the_steps_that_ask() {
    let world = world_or_skip!();
    world.base().await;
    let agent = world.folder.path().join("agent.sock");
    let listener = std::os::unix::net::UnixListener::bind(&agent).unwrap();
    let served = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        std::io::Write::write_all(&mut connection, b"keys\n").unwrap();
    });
    world.perl();
    let text = r"FROM mybase:1.0
COPY perl/ /
COPY <<'ASK' /ask
socket(S, 1, 1, 0) and connect(S, pack('S a*', 1, $ENV{SSH_AUTH_SOCK})) or die $!;
print <S>;
ASK
RUN --mount=type=ssh stat -c '%a %u' $SSH_AUTH_SOCK >/looks && perl /ask >/said
RUN test ! -e /run/buildkit
";
    let mut request = world.request(text);
    request
        .ssh
        .insert("default".to_owned(), hoist_build::Agent::Socket(agent));
    let built = world.build_request(&request).await;
    served.join().unwrap();
    assert_eq!(
        world.inside(&built.images[0], "cat /looks /said").await,
        "600 0\nkeys\n"
    );

    let required = "FROM mybase:1.0\nRUN --mount=type=ssh,id=work,required true\n";
    let error = world
        .try_build(&world.request(required))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("the ssh agent work is required and was not given"),
        "{error}"
    );
}
