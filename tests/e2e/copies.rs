//! `cp` in every direction, into containers in every state; and trees that no program but a container's would make.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use hoist_tree::{Visit, Walk};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::adoption::programs;
use crate::world::{World, note};

const STACK: &str = r#"
name: copies
services:
  web:
    image: busybox
    command: [sleep, "1000"]
    stop_grace_period: 0s
    scale: 2
    volumes: ["data:/var/data", "./bound:/bound", "./single:/etc/single", "./locked:/locked:ro"]
  idle:
    image: filled
    build: { context: ., dockerfile_inline: "FROM busybox\nRUN mkdir /filled && echo image >/filled/own\n" }
    command: [sleep, "1000"]
    profiles: [idle]
    volumes: ["new:/filled", "./bound:/bound"]
volumes: { data: , new: }
"#;

fn links(world: &World) {
    let make = "mkdir -p /real/sub; ln -s /real /dirlink; ln -s real /rel; echo old >/real/target; ln -s /real/target /filelink; \
                ln -s sub/new /real/dangling; mkfifo /real/pipe; mknod /real/null c 1 3";
    for index in ["1", "2"] {
        world.ok(&["exec", "-T", "--index", index, "web", "sh", "-c", make]);
    }
}

fn inside(world: &World, index: &str, script: &str) -> String {
    world.ok(&["exec", "-T", "--index", index, "web", "sh", "-c", script])
}

#[test]
fn copies_lead_where_the_containers_own_paths_lead() {
    let Some(world) = World::new("cp") else {
        return;
    };
    world.busybox().file("compose.yaml", STACK);
    for folder in ["bound", "locked", "out"] {
        fs::create_dir(world.project.join(folder)).expect("make a folder");
    }
    world.file("single", "before\n");
    world.file("locked/file", "locked\n");
    let tool = world.file("tool", "tool\n");
    std::os::unix::fs::chown(&tool, Some(1234), Some(2345)).expect("set the owner");
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o4755)).expect("set the mode");
    world.file("src/d/two", "two\n");
    world.ok(&["up", "-d"]);
    links(&world);
    every_replica(&world);
    every_state(&world);
    outwards(&world);
    as_docker_does(&world);
    world.ok(&["--profile", "idle", "down", "-v", "-t", "0"]);
    world.finish();
}

fn every_replica(world: &World) {
    for (source, target) in [
        ("tool", "/dirlink"),
        ("tool", "/rel/"),
        ("src/d", "/dirlink"),
        ("src/d/.", "/rel/sub"),
    ] {
        world.ok(&["cp", source, &format!("web:{target}")]);
    }
    world.ok(&["cp", "tool", "web:/filelink"]);
    world.ok(&["cp", "-a", "tool", "web:/real/dangling"]);
    world.ok(&["cp", "tool", "web:/var/data"]);
    world.ok(&["cp", "tool", "web:/bound/new"]);
    world.ok(&["cp", "tool", "web:/etc/single"]);
    let look = "for link in /dirlink /rel /filelink; do readlink $link; done; cat /real/target /real/d/two /real/sub/two /var/data/tool; \
                stat -c '%a %u:%g' /real/tool /real/sub/new";
    for index in ["1", "2"] {
        assert_eq!(
            inside(world, index, look),
            "/real\nreal\n/real/target\ntool\ntwo\ntwo\ntool\n4755 0:0\n4755 1234:2345\n",
            "replica {index}"
        );
    }
    assert_eq!(
        fs::read_to_string(world.project.join("single")).expect("the bound file"),
        "tool\n"
    );
    assert_eq!(
        fs::read_to_string(world.project.join("bound/new")).expect("the bound file"),
        "tool\n"
    );
    // One archive from standard input for all of them.
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_path_with_name(world.project.join("src/d/two"), "from-stdin")
        .expect("make an archive");
    let archive = world.project.join("archive.tar");
    fs::write(&archive, tar.into_inner().expect("make an archive")).expect("write an archive");
    let mut command = world.command(&["cp", "-", "web:/real"]);
    let copied = command
        .stdin(fs::File::open(&archive).expect("open the archive"))
        .status()
        .expect("run hoist");
    assert!(copied.success());
    assert_eq!(
        inside(world, "1", "cat /real/from-stdin") + &inside(world, "2", "cat /real/from-stdin"),
        "two\ntwo\n"
    );
    for (source, target, says) in [
        ("src/d", "web:/real/target", "over the file"),
        ("tool", "web:/none/", "does not exist"),
        ("tool", "web:/no/where", "does not exist"),
        ("tool", "web:/locked/tool", "read-only"),
        ("none", "web:/", "cannot copy none"),
    ] {
        let run = world.hoist(&["cp", source, target]);
        assert!(
            run.code == 1 && run.stderr.contains(says),
            "{source} {target}: {}",
            run.stderr
        );
    }
}

/// A container that is stopped, or was never started, has its volumes and binds all the same.
fn every_state(world: &World) {
    world.ok(&["stop", "-t", "0"]);
    world.ok(&["cp", "src/d/two", "web:/dirlink/stopped"]);
    world.ok(&["cp", "src/d/two", "web:/var/data/stopped"]);
    world.ok(&["cp", "src/d/two", "web:/bound/stopped"]);
    assert_eq!(
        fs::read_to_string(world.project.join("bound/stopped")).expect("the bound file"),
        "two\n"
    );
    let volume = world.data_root.join("volumes/copies_data/_data");
    assert_eq!(
        fs::read_to_string(volume.join("stopped")).expect("the volume's file"),
        "two\n"
    );
    let refused = world.hoist(&["cp", "tool", "web:/locked/tool"]);
    assert!(
        refused.code == 1 && refused.stderr.contains("read-only"),
        "{}",
        refused.stderr
    );
    world.ok(&["cp", "web:/var/data/stopped", "out/from-volume"]);
    world.ok(&["start", "web"]);
    assert_eq!(inside(world, "2", "cat /real/stopped"), "two\n");
    world.ok(&["--profile", "idle", "create", "--build", "idle"]);
    world.ok(&["--profile", "idle", "cp", "tool", "idle:/filled"]);
    world.ok(&["--profile", "idle", "cp", "idle:/filled/.", "out/filled"]);
    let text =
        |name: &str| fs::read_to_string(world.project.join("out").join(name)).unwrap_or_default();
    assert_eq!(
        (text("filled/own").as_str(), text("filled/tool").as_str()),
        ("image\n", "tool\n")
    );
}

fn outwards(world: &World) {
    let out = world.project.join("out");
    inside(world, "1", "ln /real/tool /real/twin");
    symlink("kept", out.join("link")).expect("make a link");
    fs::create_dir(out.join("kept")).expect("make a folder");
    world.ok(&["cp", "web:/filelink", "out/as-link"]);
    world.ok(&["cp", "-L", "web:/filelink", "out/as-file"]);
    world.ok(&["cp", "web:/dirlink/target", "out/link"]);
    let run = world.hoist(&["cp", "web:/rel/.", "out/all"]);
    assert!(
        run.code == 0 && run.stderr.contains("device files are not copied: 1"),
        "{}",
        run.stderr
    );
    assert_eq!(
        fs::read_link(out.join("as-link")).expect("a link"),
        Path::new("/real/target")
    );
    assert_eq!(
        fs::read_to_string(out.join("as-file")).expect("a file"),
        "tool\n"
    );
    assert_eq!(
        fs::read_link(out.join("link")).expect("still a link"),
        Path::new("kept")
    );
    assert!(out.join("kept/target").is_file() && out.join("all/sub/two").is_file());
    let file = |name: &str| fs::metadata(out.join("all").join(name)).expect("a file");
    assert_eq!(
        (file("tool").mode() & 0o7777, file("tool").uid()),
        (0o4755, 0)
    );
    assert_eq!(file("twin").ino(), file("tool").ino());
    assert!(!out.join("all/null").exists());
    let missing = world.hoist(&["cp", "web:/none", "out"]);
    assert!(
        missing.code == 1 && missing.stderr.contains("could not find the file /none"),
        "{}",
        missing.stderr
    );
    let kernels = world.hoist(&["cp", "web:/proc/version", "out"]);
    assert!(
        kernels.code == 1 && kernels.stderr.contains("made by the kernel"),
        "{}",
        kernels.stderr
    );
}

/// The real client of docker, which decides by what the engine tells it of links.
fn as_docker_does(world: &World) {
    if !Path::new("/usr/local/bin/docker").exists() {
        return note("not seen: docker cp: needs /usr/local/bin/docker");
    }
    let docker = |args: &[&str]| {
        let socket = format!("unix://{}", world.run_dir.join("hoist.sock").display());
        let mut command = Command::new("/usr/local/bin/docker");
        let output = command
            .args(["-H", &socket])
            .args(args)
            .current_dir(&world.project)
            .stdin(Stdio::null())
            .output();
        let output = output.expect("run docker");
        assert!(
            output.status.success(),
            "docker {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    docker(&["cp", "src/d/two", "copies-web-1:/filelink"]);
    docker(&["cp", "src/d", "copies-web-1:/dirlink/by-docker"]);
    docker(&["cp", "copies-web-1:/dirlink/.", "out/docker"]);
    docker(&["cp", "-L", "copies-web-1:/filelink", "out/docker-file"]);
    assert_eq!(
        inside(
            world,
            "1",
            "readlink /filelink; cat /filelink /real/by-docker/two"
        ),
        "/real/target\ntwo\ntwo\n"
    );
    assert!(world.project.join("out/docker/by-docker/two").is_file());
    assert_eq!(
        fs::read_to_string(world.project.join("out/docker-file")).expect("a file"),
        "two\n"
    );
}

/// Folders on the longest way down.
fn depth(folder: &Path) -> usize {
    let root = fs::File::open(folder).expect("open the copy");
    let mut walk = Walk::new(std::os::fd::AsFd::as_fd(&root)).expect("walk the copy");
    let mut deepest = 0;
    while let Some(visit) = walk.step().expect("walk the copy") {
        if let Visit::Entry { name, stat } = visit
            && Visit::is_folder(&stat)
        {
            walk.enter(&name).expect("walk the copy");
            deepest = deepest.max(walk.depth());
        }
    }
    deepest
}

#[test]
fn a_folder_of_any_depth_costs_its_container_nothing_and_the_engine_nothing() {
    let Some(world) = World::new("deep folders") else {
        return;
    };
    world.busybox().file(
        "compose.yaml",
        "name: deep\nservices:\n  a:\n    image: busybox\n    command: [sleep, \"1000\"]\n    stop_grace_period: 0s\n    \
         volumes: [\"v:/v\"]\nvolumes: { v: }\n",
    );
    world.ok(&["up", "-d"]);
    let engine = world.engine().expect("an engine runs");
    let down = "d/".repeat(500);
    let long = format!("{}/", "n".repeat(255)).repeat(10);
    let dig = format!(
        "mkdir -p /v; for top in /deep /v/deep; do mkdir $top; cd -P $top; for i in 1 2 3 4 5 6; do mkdir -p {down}; cd -P \
         {down}; done; echo x >end; done; mkdir /v/long; cd -P /v/long; for i in $(seq 250); do mkdir -p {long}; cd -P {long}; done; exit 0"
    );
    world.ok(&["exec", "-T", "a", "sh", "-c", &dig]);
    world.ok(&["cp", "a:/deep", "out"]);
    assert_eq!(depth(&world.project.join("out")), 3000);
    world.ok(&["cp", "out", "a:/back"]);
    world.ok(&["system", "df"]);
    world.ok(&["export", "-o", "a.tar", "a"]);
    let committed = world.hoist(&["commit", "a", "image:1"]);
    assert!(
        committed.code == 1 && committed.stderr.contains("too deep"),
        "{}",
        committed.stderr
    );
    // What no layer can hold is refused before it is copied, from the context and from a stage.
    world.file("Dockerfile", "FROM busybox\nCOPY out /out\n");
    world.file(
        "Dockerfile.from",
        &format!("FROM busybox AS a\nRUN {dig}\nFROM busybox\nCOPY --from=a /deep /deep\n"),
    );
    for file in ["Dockerfile", "Dockerfile.from"] {
        let built = world.hoist(&["image", "build", "-q", "-t", "deep", "-f", file, "."]);
        assert!(
            built.code == 1 && built.stderr.contains("too deep"),
            "{file}: {}",
            built.stderr
        );
    }
    assert_eq!(depth(&world.data_root.join("volumes/deep_v/_data")), 3001);
    world.ok(&["up", "-d", "--force-recreate", "-t", "0"]);
    world.ok(&["down", "-v", "-t", "0"]);
    assert!(!world.data_root.join("volumes/deep_v").exists());
    assert_eq!(
        world.engine().as_ref(),
        Some(&engine),
        "the engine that was there from the beginning"
    );
    hoist_tree::remove(&world.project.join("out")).expect("remove the copy");
    world.finish();
}

/// What a disk of the host holds, and no container may see.
const SECRET: &[u8] = b"bytes of a disk of the host";

/// A disk of the host, taken away at the end.
struct Disk(String);

impl Disk {
    fn new(world: &World) -> Option<Self> {
        let file = world.project.with_file_name("disk");
        fs::write(&file, SECRET.repeat(4096)).expect("write a disk");
        let made = Command::new("losetup")
            .args(["-f", "--show"])
            .arg(&file)
            .output()
            .ok()?;
        made.status
            .success()
            .then(|| Self(String::from_utf8_lossy(&made.stdout).trim().to_owned()))
    }

    /// As mknod(1) wants them.
    fn numbers(&self) -> String {
        let device = fs::metadata(&self.0).expect("the device's node").rdev();
        format!(
            "{} {}",
            rustix::fs::major(device),
            rustix::fs::minor(device)
        )
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["-d", &self.0]).output();
    }
}

/// Files below a folder that hold bytes of the disk.
fn leaked(folder: &Path) -> Vec<String> {
    let root = fs::File::open(folder).expect("open a folder");
    let mut walk = Walk::new(std::os::fd::AsFd::as_fd(&root)).expect("walk a folder");
    let mut found = Vec::new();
    while let Some(visit) = walk.step().expect("walk a folder") {
        let Visit::Entry { name, stat } = visit else {
            continue;
        };
        if Visit::is_folder(&stat) {
            walk.enter(&name).expect("walk a folder");
        } else if let Ok((mut file, _)) = hoist_tree::open_regular(walk.folder(), name.as_c_str()) {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut file, &mut bytes).expect("read a file");
            if bytes.windows(SECRET.len()).any(|window| window == SECRET) {
                found.push(String::from_utf8_lossy(&walk.path_of(&name)).into_owned());
            }
        }
    }
    found
}

#[test]
fn a_file_that_becomes_a_device_shows_nobody_the_disk() {
    let Some(world) = World::new("a file that becomes a device") else {
        return;
    };
    let Some(disk) = Disk::new(&world) else {
        return note("skipped: a file that becomes a device: needs losetup and a free loop device");
    };
    assert!(
        fs::read(&disk.0)
            .expect("read the disk")
            .starts_with(SECRET),
        "root of the host can read it"
    );
    world.busybox().file(
        "compose.yaml",
        "name: device\nservices:\n  a: { image: busybox, command: [sleep, \"1000\"], stop_grace_period: 0s }\n",
    );
    world.file(
        "Dockerfile",
        "FROM busybox\nCOPY --from=image:1 /pit /pit\n",
    );
    world.ok(&["up", "-d"]);
    let make = format!(
        "mkdir /pit; echo plain >/pit/file; mknod /pit/node b {}; cat /pit/node",
        disk.numbers()
    );
    let denied = world.hoist(&["exec", "-T", "a", "sh", "-c", &make]);
    assert!(
        denied.code != 0 && denied.stderr.contains("not permitted"),
        "the container itself: {}",
        denied.stderr
    );
    let (_, program) = programs(&world).into_iter().next().expect("its process");
    let pit = Path::new("/proc").join(program).join("root/pit");
    let over = std::sync::atomic::AtomicBool::new(false);
    let exchanged = std::thread::scope(|scope| {
        // As the container would, by the same system call on the same mount.
        let racer = scope.spawn(|| {
            let mut exchanged = 0_u32;
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                let (file, node) = (pit.join("file"), pit.join("node"));
                exchanged +=
                    u32::from(renameat_with(CWD, &file, CWD, &node, RenameFlags::EXCHANGE).is_ok());
            }
            exchanged
        });
        for round in 0..25 {
            // Each may succeed or say that the file changed; none may show the disk.
            for (source, target) in [
                ("a:/pit/file", format!("file-{round}")),
                ("a:/pit", format!("pit-{round}")),
            ] {
                world.hoist(&["cp", source, &target]);
            }
            world.hoist(&["export", "-o", &format!("{round}.tar"), "a"]);
            let image = format!("image:{}", round % 3);
            let pause = if round % 2 == 0 {
                "--pause=false"
            } else {
                "--pause=true"
            };
            world.hoist(&["commit", pause, "a", &image]);
            world.hoist(&["image", "build", "-q", "-t", "copied", "."]);
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        racer.join().expect("the racer")
    });
    assert!(exchanged > 1000, "{exchanged} exchanges");
    assert!(
        leaked(&world.project).is_empty(),
        "{:?}",
        leaked(&world.project)
    );
    assert!(
        leaked(&world.data_root).is_empty(),
        "{:?}",
        leaked(&world.data_root)
    );
    assert!(
        world.project.join("24.tar").exists() && world.ok(&["image", "ls"]).contains("image"),
        "something was made"
    );
    world.finish();
}
