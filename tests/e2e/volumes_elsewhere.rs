//! Volumes that driver_opts mount from elsewhere, as the engine itself reads and writes them: `cp` with containers that do
//! not run, `volume export` and `import`, bundles. Each is mounted for as long as that takes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::elsewhere::Elsewhere;
use crate::world::{World, note};

const IDLE: &str = "image: busybox, stop_grace_period: 0s, command: [sleep, '100000']";

#[track_caller]
fn inside(world: &World, service: &str, line: &str) -> String {
    world
        .ok(&["exec", "-T", service, "sh", "-c", line])
        .trim_end()
        .to_owned()
}

/// What an archive has of a file; archives of volumes are not compressed.
#[track_caller]
fn exported(world: &World, volume: &str) -> String {
    world.ok(&["volume", "export", volume, "-o", "volume.tar"]);
    let bytes = fs::read(world.project.join("volume.tar")).expect("the archive");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[track_caller]
fn nothing_is_mounted(world: &World) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("the host's mounts");
    let root = world.data_root.display().to_string();
    assert!(!mounts.contains(&root), "mounted on the host: {mounts}");
}

#[test]
fn what_is_mounted_is_copied_exported_and_imported() {
    let Some(world) = World::new("volumes from elsewhere") else {
        return;
    };
    world.file("host/sub/text", "from the host\n");
    world.file("new", "copied in\n");
    world.busybox().file(
        "compose.yaml",
        &format!(
            r#"
name: far
services:
  one: {{ {IDLE}, volumes: ['bound:/bound', 'fixed:/fixed', 'memory:/memory',
      {{ type: volume, source: bound, target: /part, volume: {{ subpath: sub }} }} ] }}
volumes:
  bound: {{ driver_opts: {{ type: none, o: bind, device: ./host }} }}
  fixed: {{ driver_opts: {{ type: none, o: 'bind,ro', device: ./host }} }}
  memory: {{ driver_opts: {{ type: tmpfs, device: tmpfs, o: 'size=1m' }} }}
"#
        ),
    );
    // Before the container has ever been started.
    world.ok(&["create"]);
    world.ok(&["cp", "new", "one:/bound/new"]);
    world.ok(&["cp", "new", "one:/part/deep"]);
    assert_eq!(
        fs::read_to_string(world.project.join("host/new")).expect("the copy"),
        "copied in\n"
    );
    assert!(world.project.join("host/sub/deep").exists());
    world.ok(&["cp", "one:/part/text", "out"]);
    assert_eq!(
        fs::read_to_string(world.project.join("out")).expect("the copy"),
        "from the host\n"
    );
    let refused = world.hoist(&["cp", "new", "one:/fixed/new2"]);
    assert!(
        refused.code != 0 && refused.stderr.contains("read-only"),
        "{refused:?}"
    );
    world.ok(&["cp", "new", "one:/memory/lost"]);
    nothing_is_mounted(&world);
    world.ok(&["up", "-d"]);
    assert_eq!(
        inside(&world, "one", "ls /memory; cat /bound/sub/text"),
        "from the host",
        "memory begins empty"
    );
    inside(&world, "one", "echo in memory only >/memory/file");
    assert!(
        exported(&world, "far_memory").contains("in memory only"),
        "as the running container has it"
    );
    assert!(exported(&world, "far_bound").contains("from the host"));
    world.ok(&["stop"]);
    world.ok(&["cp", "one:/bound/sub/text", "out2"]);
    let refused = world.hoist(&["volume", "import", "far_bound", "volume.tar"]);
    assert!(
        refused.code != 0 && refused.stderr.contains("is not empty"),
        "{refused:?}"
    );
    fs::write(world.project.join("host/later"), "later\n").expect("write a file");
    fs::write(world.project.join("broken.tar"), [7; 2048]).expect("write a file");
    let refused = world.hoist(&["volume", "import", "--replace", "far_bound", "broken.tar"]);
    assert!(
        refused.code != 0 && world.project.join("host/later").exists(),
        "all or nothing: {refused:?}"
    );
    world.ok(&["volume", "import", "--replace", "far_bound", "volume.tar"]);
    let mut left: Vec<_> = fs::read_dir(world.project.join("host"))
        .expect("the folder")
        .flatten()
        .collect();
    left.sort_by_key(fs::DirEntry::file_name);
    assert_eq!(
        left.iter().map(fs::DirEntry::file_name).collect::<Vec<_>>(),
        ["new", "sub"]
    );
    let refused = world.hoist(&["volume", "import", "far_memory", "volume.tar"]);
    assert!(
        refused.code != 0 && refused.stderr.contains("in memory"),
        "{refused:?}"
    );
    nothing_is_mounted(&world);
    world.finish();
}

/// An ext4 on a loop device, which no namespace has mounted.
struct Device {
    path: String,
    _folder: tempfile::TempDir,
}

impl Device {
    fn new() -> Option<Self> {
        let folder = tempfile::Builder::new()
            .prefix("hoist-e2e-device-")
            .tempdir_in("/var/tmp")
            .expect("make a folder");
        let image: PathBuf = folder.path().join("disk");
        fs::File::create(&image)
            .and_then(|file| file.set_len(8 << 20))
            .expect("make a disk");
        let made = Command::new("/sbin/mkfs.ext4")
            .arg("-q")
            .arg(&image)
            .status()
            .is_ok_and(|status| status.success());
        let output = Command::new("/sbin/losetup")
            .args(["--find", "--show"])
            .arg(&image)
            .output()
            .ok()?;
        let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (made && output.status.success()).then_some(Self {
            path,
            _folder: folder,
        })
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let detached = Command::new("/sbin/losetup")
            .args(["-d", &self.path])
            .status();
        if !detached.is_ok_and(|status| status.success()) {
            note(&format!("{} is still there", self.path));
        }
    }
}

#[test]
fn a_bundle_has_what_is_mounted_and_fills_it_when_asked() {
    let claim = "volumes from elsewhere in a bundle";
    let Some(world) = World::new(claim) else {
        return;
    };
    let Some(device) = Device::new() else {
        return note(&format!("skipped: {claim}: no ext4 on a loop device"));
    };
    world.busybox().file(
        "compose.yaml",
        &format!(
            "name: far\nservices:\n  one: {{ {IDLE}, volumes: ['disk:/disk'] }}\nvolumes:\n  \
             disk: {{ driver_opts: {{ type: ext4, device: {} }} }}\n",
            device.path
        ),
    );
    world.ok(&["up", "-d"]);
    inside(
        &world,
        "one",
        "echo on the disk >/disk/text; chown 5:6 /disk; chmod 750 /disk",
    );
    world.ok(&["bundle", "save", "-o", "far.bundle"]);
    let bundle = world.project.join("far.bundle").display().to_string();
    let there = Elsewhere::new(&world, "elsewhere");
    let load = |flags: &[&str], folder: &str| {
        let run = there.hoist(
            &there.folder,
            &[&["bundle", "load", "-d", folder], flags, &[&bundle]].concat(),
        );
        assert_eq!(run.code, 0, "{run:?}");
        there.ok(&there.folder, &["volume", "rm", "far_disk"]);
        run.stderr
    };
    assert!(
        load(&["--mounted"], "a").contains("far_disk has content where it is mounted from"),
        "left alone"
    );
    inside(
        &world,
        "one",
        "rm /disk/text; chmod 700 /disk; chown 0:0 /disk",
    );
    assert!(load(&[], "b").contains("not filled without --mounted"));
    assert_eq!(inside(&world, "one", "ls /disk"), "lost+found");
    assert!(load(&["--mounted"], "c").contains("filled volume far_disk"));
    assert_eq!(
        inside(&world, "one", "cat /disk/text; stat -c '%u %g %a' /disk"),
        "on the disk\n5 6 750"
    );
    nothing_is_mounted(&world);
    drop(there);
    world.finish();
}

/// Needs a share that this machine may mount: `HOIST_E2E_NFS=SERVER:/PATH`.
#[test]
fn a_share_of_a_server_is_a_volume() {
    let claim = "a volume of type nfs";
    let kinds = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !kinds.lines().any(|line| line.ends_with("\tnfs4")) {
        return note(&format!("skipped: {claim}: the kernel has no NFS"));
    }
    let share = std::env::var("HOIST_E2E_NFS").unwrap_or_default();
    let Some((server, path)) = share
        .split_once(':')
        .filter(|(_, path)| Path::new(path).is_absolute())
    else {
        return note(&format!("skipped: {claim}: HOIST_E2E_NFS names no share"));
    };
    let Some(world) = World::new(claim) else {
        return;
    };
    world.busybox().file(
        "compose.yaml",
        &format!(
            "name: shared\nservices:\n  one: {{ {IDLE}, volumes: ['share:/share'] }}\nvolumes:\n  \
             share: {{ driver_opts: {{ type: nfs, o: 'addr={server},rw,nfsvers=4', device: ':{path}' }} }}\n"
        ),
    );
    world.file("text", "over the network\n");
    world.ok(&["create"]);
    world.ok(&["cp", "text", "one:/share/hoist-e2e"]);
    assert!(exported(&world, "shared_share").contains("over the network"));
    world.ok(&["up", "-d"]);
    assert_eq!(
        inside(&world, "one", "cat /share/hoist-e2e; rm /share/hoist-e2e"),
        "over the network"
    );
    nothing_is_mounted(&world);
    world.finish();
}
