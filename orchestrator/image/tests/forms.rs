//! One layer in every form that archives come in.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and says why it is skipped"
)]

mod support;

use std::io::{Cursor, Write};
use std::process::{Command, Stdio};

use hoist_image::{Digest, Reference, Store, load, silent};
use support::{Tar, TestImage, TestLayer, noise};

fn filter(program: &str, input: &[u8]) -> Option<Vec<u8>> {
    if !support::program(program) {
        println!("skipped in part: {program} is not installed");
        return None;
    }
    let mut child = Command::new(program)
        .arg("-c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).unwrap());
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success());
    Some(output.stdout)
}

fn forms(tar: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let gzip = |bytes: &[u8]| TestLayer::gzip(bytes.to_vec()).blob;
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
    let (first, second) = tar.split_at(tar.len() / 3);
    let skippable = [&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"toc"].concat();
    let mut forms = vec![
        ("plain", tar.to_vec()),
        ("gzip", gzip(tar)),
        // As estargz has it: a member a chunk, empty ones between them.
        (
            "gzip members",
            [gzip(first), gzip(b""), gzip(second)].concat(),
        ),
        ("zstd", zstd(tar)),
        // As zstd:chunked has it: frames, and tables that a reader skips.
        (
            "zstd frames",
            [
                skippable.clone(),
                zstd(first),
                skippable.clone(),
                zstd(second),
                skippable,
            ]
            .concat(),
        ),
    ];
    forms.extend(filter("bzip2", tar).map(|bytes| ("bzip2", bytes)));
    forms.extend(filter("xz", tar).map(|bytes| ("xz", bytes)));
    let streams = (filter("xz", first), filter("xz", second));
    if let (Some(first), Some(second)) = streams {
        forms.push(("xz streams", [first, second].concat()));
    }
    forms
}

#[test]
fn a_layer_is_the_same_in_every_form() {
    if support::skip(&[]) {
        return;
    }
    let tar = Tar::new()
        .directory("d/")
        .file("d/noise", &noise(700_000, 1))
        .file("zeros", &[0; 300_000])
        .end();
    for (name, blob) in forms(&tar) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let layer = store
            .add_layer(&mut &blob[..])
            .unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(
            (layer.diff_id, layer.digest),
            (Digest::of(&tar), Digest::of(&blob)),
            "{name}"
        );
        let root = store.lowers_of(&[layer.diff_id]).unwrap().remove(0);
        assert_eq!(
            std::fs::read(root.join("d/noise")).unwrap(),
            noise(700_000, 1),
            "{name}"
        );
        let mut again = Vec::new();
        store.write_layer(&layer.diff_id, &mut again).unwrap();
        assert!(again == tar, "{name}");
        // A cut blob is no layer in any form; a plain one may end after its end mark.
        if name != "plain" {
            let store = Store::open(&folder.path().join("other")).unwrap();
            assert!(
                store.add_layer(&mut &blob[..blob.len() / 2]).is_err(),
                "{name}"
            );
            assert_eq!(
                std::fs::read_dir(folder.path().join("other/image/layers"))
                    .unwrap()
                    .count(),
                0,
                "{name}"
            );
        }
    }
}

#[tokio::test]
async fn an_archive_of_images_is_loaded_in_every_form() {
    if support::skip(&[]) {
        return;
    }
    let image = TestImage::new(vec![TestLayer::gzip(Tar::new().file("a", b"a").end())]);
    let manifest =
        serde_json::json!([{"Config": "config", "RepoTags": ["app:1"], "Layers": ["layer.tar.gz"]}]).to_string();
    let archive = Tar::new()
        .file("config", &image.config)
        .file("layer.tar.gz", &image.layers[0].blob)
        .file("manifest.json", manifest.as_bytes())
        .end();
    for (name, bytes) in forms(&archive) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        load(&store, Cursor::new(bytes), silent())
            .await
            .unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert!(
            store.find(&Reference::parse("app:1").unwrap()).is_some(),
            "{name}"
        );
    }
}
