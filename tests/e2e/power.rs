//! A store on a disk that loses its power, also while what it lost before is being repaired.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::distribution::{Image, Layer, Registry, have};
use crate::world::{World, eventually, note};

/// ext4's own ioctl, without flushing the journal: nothing is written from then on.
const SHUTDOWN: &str = "import fcntl, os, struct, sys; disk = os.open(sys.argv[1], os.O_RDONLY); \
                        print(flush=True); sys.stdin.readline(); fcntl.ioctl(disk, 0x8004587d, struct.pack('I', 2))";
const FILE: usize = 300_000;

/// An ext4 behind a loop device.
struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    fn new() -> Option<Self> {
        let folder = tempfile::Builder::new()
            .prefix("hoist-e2e-disk-")
            .tempdir_in("/var/tmp")
            .expect("make a folder");
        let disk = Self { folder };
        File::create(disk.folder.path().join("disk"))
            .and_then(|file| file.set_len(256 << 20))
            .expect("make a disk");
        fs::create_dir(disk.mount()).expect("make a folder");
        let made = run(Command::new("/sbin/mkfs.ext4")
            .arg("-q")
            .arg(disk.folder.path().join("disk")));
        (made && disk.attach()).then_some(disk)
    }

    fn mount(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    fn attach(&self) -> bool {
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(self.folder.path().join("disk"))
            .arg(self.mount()))
    }

    fn detach(&self) -> bool {
        run(Command::new("umount").arg(self.mount()))
    }

    /// A mount namespace that copied the mount meanwhile (a container of another scenario that starts) keeps the file
    /// system, and mounting it again would give the old one: shut down.
    fn is_released(&self) -> bool {
        let devices = Command::new("/sbin/losetup")
            .arg("-j")
            .arg(self.folder.path().join("disk"))
            .output();
        let devices = devices.expect("run losetup");
        devices.status.success() && devices.stdout.is_empty()
    }

    /// What is done after `work` reaches the disk no more.
    fn lose_power_after(&self, world: &World, work: impl FnOnce()) {
        let mut plug = Command::new("python3")
            .args(["-c", SHUTDOWN])
            .arg(self.mount())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("run python3");
        plug.stdout
            .take()
            .expect("it is piped")
            .read_exact(&mut [0])
            .expect("python3 has the disk");
        work();
        drop(plug.stdin.take());
        assert!(plug.wait().expect("python3 ends").success());
        world.kill_engine();
        assert!(self.detach(), "the disk is unmounted");
        eventually("the loop device is released", || self.is_released());
        assert!(self.attach(), "the disk is mounted again");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if !self.detach() {
            note(&format!("{} is still mounted", self.mount().display()));
        }
    }
}

fn run(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

fn content(number: usize) -> Vec<u8> {
    (0..FILE)
        .map(|at| u8::try_from((at * (number + 3) / 7) % 251).expect("below 251"))
        .collect()
}

/// A file of a layer, wherever that lies.
fn in_a_layer(world: &World, name: &str) -> Option<PathBuf> {
    let layers = fs::read_dir(world.data_root.join("image/layers")).expect("there are layers");
    layers
        .map(|layer| {
            layer
                .expect("it can be listed")
                .path()
                .join("fs")
                .join(name)
        })
        .find(|path| path.exists())
}

fn halve(path: &Path) {
    let file = File::options()
        .write(true)
        .open(path)
        .expect("it can be opened");
    let length = file.metadata().expect("it is there").len();
    file.set_len(length / 2).expect("it can be cut");
    file.sync_all().expect("it is on the disk");
}

#[test]
fn half_written_layers_are_repaired_although_the_power_goes_meanwhile() {
    let claim = "half written layers are repaired";
    if !have(claim, &["docker-registry", "curl", "gzip", "python3"]) {
        return;
    }
    let Some(disk) = Disk::new() else {
        return note(&format!(
            "skipped: {claim}: no ext4 behind a loop device here"
        ));
    };
    let Some(world) = World::with_data_root(claim, Some(disk.mount().join("data"))) else {
        return;
    };
    let registry = Registry::plain(&world.project.join("registry"));
    let files = ["restored", "fetched"];
    let mut image = Image::busybox();
    for (number, name) in files.iter().enumerate() {
        image = image.layer(Layer::new().file(name, 0o644, &content(number)).tar());
    }
    registry.push("app", "1", &image);
    let name = registry.name("app:1");
    world.ok(&["image", "pull", "-q", &name]);
    let layer = |file: &str| {
        let path = in_a_layer(&world, file).expect("the image was pulled");
        path.ancestors()
            .nth(2)
            .expect("it is in a layer's fs")
            .to_owned()
    };
    let folders = files.map(layer);
    eventually("the layers are marked", || {
        folders.iter().all(|folder| folder.join("durable").exists())
    });
    let layer_record = |folder: &Path| {
        fs::read_to_string(folder.join("layer.json")).expect("a layer has a record")
    };
    let record: serde_json::Value =
        serde_json::from_str(&layer_record(&folders[1])).expect("a record is JSON");
    let blob = record["blob"]
        .as_str()
        .and_then(|blob| blob.strip_prefix("sha256:"))
        .expect("it came as a blob");

    // The files of one layer can be had from its blob, of the other one from the registry only.
    halve(&folders[0].join("fs/restored"));
    halve(&folders[1].join("fs/fetched"));
    halve(&world.data_root.join("image/blobs/sha256").join(blob));
    let found = world.hoist(&["system", "check"]);
    assert_eq!(found.code, 3, "{}{}", found.stdout, found.stderr);
    for folder in &folders {
        let id = folder
            .file_name()
            .and_then(|name| name.to_str())
            .expect("it is a digest");
        assert!(
            found.stdout.contains(&format!("layers/{id}")),
            "{}",
            found.stdout
        );
    }
    assert!(
        found.stdout.contains(&format!("blobs/sha256/{blob}")),
        "{}",
        found.stdout
    );

    disk.lose_power_after(&world, || {
        let repaired = world.ok(&["system", "check", "--repair"]);
        let says = |object: &str, outcome: &str| {
            let told = repaired
                .lines()
                .any(|line| line.contains(object) && line.contains(outcome));
            assert!(told, "{object} is {outcome}:\n{repaired}");
        };
        let id = |folder: &Path| {
            folder
                .file_name()
                .expect("it has a name")
                .to_string_lossy()
                .into_owned()
        };
        says(&id(&folders[0]), "[restored]");
        says(&id(&folders[1]), "[dropped]");
        says(blob, "[dropped]");
        says("image ", "[dropped]");
    });

    // Whatever of the repair the disk has, the store is sound or is repaired once more; the image is whole or not listed.
    let again = world.hoist(&["system", "check", "--repair"]);
    assert_eq!(again.code, 0, "{}{}", again.stdout, again.stderr);
    world.ok(&["image", "pull", "-q", &name]);
    for (number, file) in files.iter().enumerate() {
        let path = in_a_layer(&world, file).expect("it was pulled");
        assert!(
            fs::read(&path).expect("it can be read") == content(number),
            "{file} is whole"
        );
    }
    assert!(world.ok(&["system", "check"]).contains("sound"));
    world.finish();
}
