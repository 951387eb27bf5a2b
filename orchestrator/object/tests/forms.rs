//! Documents that earlier versions wrote are read for good. `forms/<commit>` holds the documents of a running stack as
//! that commit left them on disk.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

use hoist_object::{ContainerDoc, NetworkDoc, StackDoc, StateDoc, VolumeDoc, form};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

fn files(below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![below.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() {
                folders.push(entry.path())
            } else {
                found.push(entry.path())
            }
        }
    }
    found.sort();
    found
}

/// Reads the document and answers its form of today, having shown that it says all that the old one says.
fn rewritten<T: Serialize + DeserializeOwned>(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    let read =
        form::read::<T>(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(read.outdated, "{} has an old form", path.display());
    let written = form::write(&read.document);
    let (old, new): (Value, Value) = (
        serde_json::from_slice(&bytes).unwrap(),
        serde_json::from_slice(&written).unwrap(),
    );
    assert_eq!(new["version"], form::VERSION);
    contains(&new, &old, &path.display().to_string());
    written
}

fn contains(new: &Value, old: &Value, place: &str) {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            for (key, value) in old {
                let place = format!("{place}: {key}");
                contains(
                    new.get(key).unwrap_or_else(|| panic!("{place} is lost")),
                    value,
                    &place,
                );
            }
        }
        (Value::Array(new), Value::Array(old)) => {
            assert_eq!(new.len(), old.len(), "{place}");
            new.iter()
                .zip(old)
                .for_each(|(new, old)| contains(new, old, place));
        }
        _ => assert_eq!(new, old, "{place}"),
    }
}

#[test]
fn documents_of_the_first_form_are_read_and_lose_nothing() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/forms/4a142bb");
    let mut kinds = std::collections::BTreeMap::new();
    for path in files(&root) {
        let inside = path
            .strip_prefix(&root)
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let written = match (inside.split('/').next().unwrap(), name.as_str()) {
            ("stacks", _) => rewritten::<StackDoc>(&path),
            ("networks", _) => rewritten::<NetworkDoc>(&path),
            ("volumes", "volume.json") => rewritten::<VolumeDoc>(&path),
            ("containers", "container.json") => rewritten::<ContainerDoc>(&path),
            ("containers", "state.json") => rewritten::<StateDoc>(&path),
            // The shim's own.
            ("containers", "exit.json") => continue,
            _ => panic!("{inside} belongs to no object"),
        };
        assert!(!form::read::<Value>(&written).unwrap().outdated);
        *kinds
            .entry(inside.split('/').next().unwrap().to_owned())
            .or_insert(0) += 1;
    }
    let kinds: Vec<(&str, i32)> = kinds
        .iter()
        .map(|(kind, count)| (kind.as_str(), *count))
        .collect();
    assert_eq!(
        kinds,
        [
            ("containers", 10),
            ("networks", 3),
            ("stacks", 1),
            ("volumes", 6)
        ]
    );
}

#[test]
fn what_the_documents_say_is_understood() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/forms/4a142bb/containers");
    let read = |path: &Path| {
        form::read::<ContainerDoc>(&fs::read(path).unwrap())
            .unwrap()
            .document
    };
    let docs: Vec<ContainerDoc> = files(&root)
        .iter()
        .filter(|path| path.ends_with("container.json"))
        .map(|path| read(path))
        .collect();
    let of = |service: &str| {
        docs.iter()
            .find(|doc| doc.record.service == service && !doc.record.oneoff)
            .unwrap()
    };
    let web = of("web");
    assert_eq!(
        web.record
            .ports
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["127.0.0.1:18080->80/tcp", "18081->81/udp"]
    );
    assert_eq!(web.record.networks.len(), 2);
    assert_eq!(
        web.binds()
            .map(|(path, read_only)| (path.to_str().unwrap(), read_only))
            .collect::<Vec<_>>(),
        [("/srv/kept/bind", true)]
    );
    assert_eq!(web.files.len(), 3);
    assert!(web.layers.iter().all(|layer| layer.starts_with("sha256:")) && web.layers.len() == 2);
    assert_eq!(
        (
            web.image.stop_signal.as_deref(),
            web.image.exposed_ports.len()
        ),
        (Some("SIGINT"), 1)
    );
    assert_eq!(
        web.image.healthcheck.as_ref().unwrap().interval,
        5_000_000_000
    );
    assert_eq!(of("job").record.restart.max_attempts, Some(1));
    assert_eq!(of("side").record.sharing.len(), 1);
    assert!(docs.iter().any(|doc| doc.remove), "a one-off");
}
