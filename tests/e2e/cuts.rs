//! `kill -9` of the engine at any moment of what fills the store: it is sound afterwards, and goes on.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::distribution::{Image, Layer, Registry, have, output};
use crate::world::{World, note};

/// In time, not in number: a slow machine does fewer.
const BUDGET: Duration = Duration::from_secs(14);
const MOMENTS: u32 = 25;
/// A number of moments for each verb, however long they take.
const CAMPAIGN: &str = "HOIST_TEST_CUTS";

struct Random(u64);

impl Random {
    fn new() -> Self {
        note(&format!("seed {}", std::process::id()));
        Self(u64::from(std::process::id()) << 17 | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A file that does not compress.
    fn noise(&mut self) -> Vec<u8> {
        (0..12_000)
            .flat_map(|_| self.next().to_le_bytes())
            .collect()
    }
}

/// A command that is cut.
struct Verb<'a> {
    args: &'a [&'a str],
    /// Takes away what an earlier one made, before the moment of this number.
    undo: &'a dyn Fn(u32),
    /// Looks at what a cut one has left.
    left: &'a dyn Fn(&str),
    limit: Duration,
}

fn cut(world: &World, random: &mut Random, verb: &Verb<'_>) {
    let campaign = std::env::var(CAMPAIGN)
        .ok()
        .and_then(|number| number.parse::<u32>().ok());
    (verb.undo)(0);
    world.hoist(&["ps"]);
    let start = Instant::now();
    world.ok(verb.args);
    let whole = u64::try_from(start.elapsed().as_micros()).expect("it is short");
    let mut done = 0;
    for moment in 1..=campaign.unwrap_or(MOMENTS) {
        if campaign.is_none() && start.elapsed() > verb.limit {
            break;
        }
        (verb.undo)(moment);
        let mut client = world.spawn(verb.args);
        let delay = Duration::from_micros(random.next() % (whole + whole / 4));
        std::thread::park_timeout(delay);
        world.kill_engine();
        client.wait().expect("wait for the client");
        let told = format!(
            "{} at moment {moment}, after {delay:?}",
            verb.args.join(" ")
        );
        (verb.left)(&told);
        let again = world.hoist(verb.args);
        assert_eq!(again.code, 0, "{told}: {}", again.stderr);
        sound(world, &told);
        done += 1;
    }
    note(&format!(
        "{} was cut {done} times, an undisturbed one takes {whole} µs",
        verb.args.join(" ")
    ));
}

fn sound(world: &World, told: &str) {
    let log = fs::read_to_string(world.data_root.join("engine.log")).unwrap_or_default();
    assert!(!log.contains("damaged object"), "{told}\n{log}");
    let check = world.hoist(&["system", "check"]);
    assert_eq!(check.code, 0, "{told}: {}{}", check.stdout, check.stderr);
}

/// After one more start of the engine nothing half-made is there.
fn swept(world: &World) {
    world.kill_engine();
    world.ok(&["image", "ls"]);
    sound(world, "at the end");
    let left = |folder: &str| fs::read_dir(world.data_root.join(folder)).map_or(0, Iterator::count);
    assert_eq!(
        (left("image/tmp"), left("image/trash"), left("staging")),
        (0, 0, 0)
    );
}

#[test]
fn pulls_and_builds_may_be_cut_at_any_moment() {
    let claim = "pulls and builds may be cut";
    if !have(claim, &["docker-registry", "curl", "gzip"]) {
        return;
    }
    let Some(world) = World::new(claim) else {
        return;
    };
    let registry = Registry::plain(&world.project.join("registry"));
    let mut image = Image::busybox();
    let mut random = Random::new();
    for number in 0..4 {
        let mut layer = Layer::new();
        for file in 0..20 {
            layer = layer.file(&format!("noise-{number}-{file}"), 0o644, &random.noise());
        }
        image = image.layer(layer.tar());
    }
    registry.push("noise", "1", &image);
    let name = registry.name("noise:1");
    world.ok(&["image", "pull", "-q", &name]);
    world.file(
        "compose.yaml",
        &format!("services:\n  web: {{ image: \"{name}\", command: [sh, -c, \"cat /noise-* | sha256sum\"] }}\n"),
    );
    let sum = |world: &World| {
        world.ok(&["up"]);
        let shown = world.ok(&["logs", "--no-log-prefix", "web"]);
        world.ok(&["down", "-t", "0"]);
        shown
    };
    let expected = sum(&world);
    world.ok(&["image", "rm", &name]);

    let pull = ["image", "pull", "-q", &name];
    let forget = |_| drop(world.hoist(&["image", "rm", &name]));
    cut(
        &world,
        &mut random,
        &Verb {
            args: &pull,
            undo: &forget,
            left: &|_| {},
            limit: BUDGET,
        },
    );
    world.ok(&pull);
    let dockerfile = |moment: u32| {
        let text = format!(
            "FROM {name}\nRUN echo {moment} >/one\nCOPY Dockerfile /two\nRUN cat /one >/three\n"
        );
        world.file("image/Dockerfile", &text);
    };
    let build = ["image", "build", "-q", "-t", "made:1", "image"];
    cut(
        &world,
        &mut random,
        &Verb {
            args: &build,
            undo: &dockerfile,
            left: &|_| {},
            limit: BUDGET,
        },
    );
    swept(&world);
    assert_eq!(sum(&world), expected, "the image is what it was");
    world.finish();
}

#[test]
fn archives_may_be_cut_at_any_moment_of_their_way_in() {
    let Some(world) = World::new("archives may be cut on their way in") else {
        return;
    };
    let mut random = Random::new();
    let noise = world.project.join("noise");
    fs::create_dir(&noise).expect("make a folder");
    for file in 0..60 {
        fs::write(noise.join(file.to_string()), random.noise()).expect("write a file");
    }
    let tar = world.project.join("noise.tar");
    output(
        Command::new("tar")
            .arg("-C")
            .arg(&noise)
            .arg("-cf")
            .arg(tar)
            .arg("."),
    );
    world.file(
        "compose.yaml",
        "name: shop\nservices:\n  web: { image: \"noise:1\", command: [none], volumes: [\"data:/data\"] }\n\
         volumes: { data: {} }\n",
    );
    world.ok(&["import", "noise.tar", "noise:1"]);
    world.ok(&["volume", "import", "shop_data", "noise.tar"]);
    world.ok(&["save", "noise:1", "-o", "images.tar"]);
    world.ok(&["bundle", "save", "-o", "shop.bundle"]);

    // A volume has all of its content or none.
    let whole = |name: &str, told: &str| {
        let data = world.data_root.join("volumes").join(name).join("_data");
        if data.exists() {
            let diff = Command::new("diff")
                .arg("-rq")
                .arg(&noise)
                .arg(&data)
                .output()
                .expect("run diff");
            assert!(
                diff.status.success(),
                "{told}: {}",
                String::from_utf8_lossy(&diff.stdout)
            );
        }
    };
    let limit = BUDGET / 2;
    let half = |moment: u32| {
        // Into a new one, and over one that has content.
        if moment.is_multiple_of(2) {
            world.hoist(&["volume", "rm", "-f", "copy"]);
        }
    };
    let import = ["volume", "import", "--replace", "copy", "noise.tar"];
    let left = |told: &str| whole("copy", told);
    cut(
        &world,
        &mut random,
        &Verb {
            args: &import,
            undo: &half,
            left: &left,
            limit,
        },
    );
    world.ok(&["volume", "rm", "copy"]);

    let forget = |_| drop(world.hoist(&["image", "rm", "-f", "noise:1"]));
    cut(
        &world,
        &mut random,
        &Verb {
            args: &["load", "-i", "images.tar"],
            undo: &forget,
            left: &|_| {},
            limit,
        },
    );

    let clear = || {
        world.hoist(&["volume", "rm", "-f", "shop_data"]);
        let _ = fs::remove_dir_all(world.project.join("there"));
    };
    let undo = |moment| {
        clear();
        forget(moment);
    };
    let left = |told: &str| {
        whole("shop_data", told);
        clear();
    };
    let load = ["bundle", "load", "-d", "there", "shop.bundle"];
    cut(
        &world,
        &mut random,
        &Verb {
            args: &load,
            undo: &undo,
            left: &left,
            limit,
        },
    );
    swept(&world);
    clear();
    world.finish();
}
