//! Registries that mean no good: nothing of theirs is followed, believed, read without end or shown as it came.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and says why it is skipped"
)]

mod support;

use std::path::Path;
use std::sync::Arc;

use hoist_image::{
    Access, Digest, ImageConfig, PullOptions, PushOptions, Reference, RegistryAuth, Store, pull,
    push, resolve,
};
use serde_json::json;
use support::liar::{Answer, Liar};
use support::{GZIP_LAYER, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, Tar, TestImage, TestLayer, noise};

fn image() -> TestImage {
    TestImage::new(vec![TestLayer::gzip(
        Tar::new().file("f", b"content").end(),
    )])
}

fn access(registry: &Liar) -> Access {
    let auth = RegistryAuth {
        username: "me".into(),
        password: "secret".into(),
        ..RegistryAuth::default()
    };
    Access {
        auth: [(registry.reference().registry().to_owned(), auth)].into(),
        ..Access::default()
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

/// What a pull says that must fail; nothing of it may stay.
async fn refused(registry: &Liar) -> String {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let options = PullOptions {
        access: access(registry),
        ..PullOptions::default()
    };
    let error = chain(
        &pull(&store, &registry.reference(), &options)
            .await
            .unwrap_err(),
    );
    assert!(!error.contains("secret"), "{error}");
    let image = folder.path().join("image");
    for place in ["layers", "tmp", "blobs/sha256", "images"] {
        assert_eq!(
            std::fs::read_dir(image.join(place)).unwrap().count(),
            0,
            "{place} after {error}"
        );
    }
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_end_and_lead_to_servers_alone() {
    let round = Liar::start(|path, _| match path {
        "/v2/" => Answer::ok(b"", "text/plain"),
        other => Answer::status(307, format!("Location: {other}x")),
    });
    assert!(refused(&round).await.ends_with("too many redirects"));
    for place in [
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "gopher:x",
        "http://[",
        "",
    ] {
        let away = Liar::start(move |path, _| match path {
            "/v2/" => Answer::ok(b"", "text/plain"),
            _ if place.is_empty() => Answer::status(302, "X-Nothing: y".into()),
            _ => Answer::status(302, format!("Location: {place}")),
        });
        let error = refused(&away).await;
        assert!(error.contains("redirect"), "{place}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_goes_to_no_realm_that_a_registry_makes_up() {
    for realm in [
        "file:///etc/passwd",
        "http://169.254.169.254/latest",
        "https://127.0.0.2/token",
        "http://user:x@HOST/t",
        "x",
    ] {
        let registry = Liar::start(move |path, head| match path {
            "/v2/" => Answer::ok(b"", "text/plain"),
            _ => {
                let host = head
                    .lines()
                    .find_map(|line| line.strip_prefix("host: "))
                    .unwrap_or_default();
                Answer::status(
                    401,
                    format!(
                        "WWW-Authenticate: Bearer realm=\"{}\"",
                        realm.replace("HOST", host)
                    ),
                )
            }
        });
        let error = refused(&registry).await;
        assert!(error.contains("which is refused"), "{realm}: {error}");
        assert!(
            registry
                .requests()
                .iter()
                .all(|head| !head.to_lowercase().contains("authorization"))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_without_end_are_cut_off() {
    let tokens = Liar::start(|path, head| match path {
        "/v2/" => Answer::ok(b"", "text/plain"),
        _ if path.starts_with("/token") => Answer::ok(&vec![b'x'; 2 << 20], "application/json"),
        _ => {
            let host = head
                .lines()
                .find_map(|line| line.strip_prefix("host: "))
                .unwrap_or_default();
            Answer::status(
                401,
                format!("WWW-Authenticate: Bearer realm=\"http://{host}/token\""),
            )
        }
    });
    assert!(
        refused(&tokens)
            .await
            .ends_with("a token is longer than 1048576 bytes")
    );
    let errors = Liar::start(|path, _| match path {
        "/v2/" => Answer::ok(b"", "text/plain"),
        _ => Answer {
            status: 418,
            headers: Vec::new(),
            body: vec![b'x'; 8 << 20],
        },
    });
    assert!(refused(&errors).await.contains("answered 418"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_registry_says_steers_no_terminal() {
    let registry = Liar::start(|path, _| match path {
        "/v2/" => Answer::ok(b"", "text/plain"),
        _ => Answer {
            status: 404,
            headers: Vec::new(),
            body: b"{\"errors\":[{\"message\":\"gone\\u001b[2J\\r\\nfine \\u009b1m\"}]}".to_vec(),
        },
    });
    let error = refused(&registry).await;
    assert!(
        error.contains("gone[2Jfine 1m") && !error.chars().any(char::is_control),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_in_a_header_is_a_digest_or_nothing() {
    for said in [
        "sha256:../../etc/passwd",
        "sha256:x",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "sha256:ABCD",
    ] {
        let registry = Liar::start(move |path, _| match path {
            "/v2/" => Answer::ok(b"", "text/plain"),
            _ => {
                let mut answer = Answer::ok(&image().manifest, OCI_MANIFEST);
                answer
                    .headers
                    .push(format!("Docker-Content-Digest: {said}"));
                answer
            }
        });
        let found = resolve(&registry.reference(), &Access::default())
            .await
            .unwrap();
        assert_eq!(found.digest, Digest::of(&image().manifest), "{said}");
    }
}

/// A store with an image of one layer that was made here, named as the registry has it.
fn made(folder: &Path, name: &Reference, content: &[u8]) -> Arc<Store> {
    let store = Store::open(folder).unwrap();
    let scratch = store.begin_layer().unwrap();
    std::fs::write(scratch.upper().join("made"), content).unwrap();
    let layer = store.commit_layer(scratch).unwrap();
    let mut config = ImageConfig::new("amd64", "linux");
    config.rootfs.diff_ids = vec![layer.diff_id];
    store
        .add_image(&config, std::slice::from_ref(name))
        .unwrap();
    store
}

/// A registry that takes everything, its uploads at `uploads`, and calls every manifest `digest`.
fn taker(uploads: String, range: &'static str, digest: &'static str) -> Liar {
    Liar::start(move |path, head| match path {
        "/v2/" => Answer::ok(b"", "text/plain"),
        _ if !head.contains("authorization: basic bwu6c2vjcmv0") => {
            Answer::status(401, "WWW-Authenticate: Basic realm=\"x\"".into())
        }
        _ if head.starts_with("head ") => Answer::status(404, "X-Nothing: y".into()),
        _ if head.starts_with("post ") => Answer::status(202, format!("Location: {uploads}")),
        _ if head.starts_with("patch ") => Answer {
            status: 202,
            headers: vec!["Location: /u".into(), format!("Range: {range}")],
            body: Vec::new(),
        },
        _ if path.contains("/manifests/") => {
            Answer::status(201, format!("Docker-Content-Digest: {digest}"))
        }
        _ => Answer::status(201, "X-Nothing: y".into()),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_elsewhere_goes_without_credentials() {
    if support::skip(&[]) {
        return;
    }
    let elsewhere = Liar::start(|_, _| Answer::status(201, "X-Nothing: y".into()));
    let registry = taker(
        format!("http://127.0.0.1:{}/u?state=1", elsewhere.port),
        "0-0",
        "",
    );
    let folder = tempfile::tempdir().unwrap();
    let store = made(folder.path(), &registry.reference(), b"content");
    let options = PushOptions {
        access: access(&registry),
        ..PushOptions::default()
    };
    // The manifest's answer names no digest of ours.
    let error = push(&store, &registry.reference(), &options)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("the registry answered with digest"),
        "{error}"
    );
    let there = elsewhere.requests();
    assert_eq!(there.len(), 2, "the layer and the configuration: {there:?}");
    assert!(
        there.iter().all(|head| head.contains("state=1&digest=")
            && !head.to_lowercase().contains("authorization"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_claims_more_than_it_was_sent_is_not_believed() {
    if support::skip(&[]) {
        return;
    }
    for range in ["0-99999999", "0-18446744073709551615", "0-1"] {
        let registry = taker("/u".to_owned(), range, "");
        let folder = tempfile::tempdir().unwrap();
        let store = made(folder.path(), &registry.reference(), &noise(9 << 20, 1));
        let options = PushOptions {
            access: access(&registry),
            ..PushOptions::default()
        };
        let error = chain(
            &push(&store, &registry.reference(), &options)
                .await
                .unwrap_err(),
        );
        assert!(error.contains("bytes of layer"), "{range}: {error}");
    }
}

/// A registry with one manifest, delivered as `media_type`.
fn with_manifest(manifest: serde_json::Value, media_type: &'static str) -> Liar {
    Liar::start(move |path, _| match path {
        "/v2/" => Answer::ok(b"", "text/plain"),
        _ => Answer::ok(manifest.to_string().as_bytes(), media_type),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_image_for_us_is_refused_by_name() {
    let digest = Digest::of(b"x");
    let blob = |kind: &str| json!({"mediaType": kind, "digest": digest, "size": 1});
    let image = |config: &str, layer: &str| json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": blob(config), "layers": [blob(layer)]});
    let mut typed = image("application/vnd.oci.empty.v1+json", GZIP_LAYER);
    typed["artifactType"] = json!("application/spdx+json\u{1b}[2J");
    let index = |entry: serde_json::Value| json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]});
    let mut attestation = blob(OCI_MANIFEST);
    attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    attestation["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let old = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    let cases = [
        (
            image("application/vnd.cncf.helm.config.v1+json", "x/y"),
            OCI_MANIFEST,
            "artifact of type application/vnd.cncf.helm",
        ),
        (
            typed,
            OCI_MANIFEST,
            "artifact of type application/spdx+json[2J",
        ),
        (
            image(OCI_CONFIG, foreign),
            OCI_MANIFEST,
            "is a foreign layer",
        ),
        (
            image(OCI_CONFIG, "application/x\u{7}"),
            OCI_MANIFEST,
            "has the unknown media type application/x",
        ),
        (
            json!({"schemaVersion": 1}),
            old,
            "schema 1, which no digest protects; push the image again",
        ),
        (
            index(attestation),
            OCI_INDEX,
            "no image for platform linux/amd64, only for none",
        ),
    ];
    for (manifest, media_type, words) in cases {
        let error = refused(&with_manifest(manifest, media_type)).await;
        assert!(
            error.contains(words) && !error.chars().any(char::is_control),
            "{words}: {error:?}"
        );
    }
}
