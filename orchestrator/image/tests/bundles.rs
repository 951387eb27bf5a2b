//! Signatures as cosign 3 attaches them: bundles, listed by the referrers API or under the tag that stands in for it.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and says why it is skipped"
)]

mod support;

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hoist_image::Digest;
use serde_json::{Value, json};
use support::between::between;
use support::signing::{EMAIL, Field, ISSUER, Keyless, ready};
use support::{OCI_INDEX, OCI_MANIFEST};

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const STATEMENT: &str = "application/vnd.in-toto+json";
const SIGNS: &str = "https://sigstore.dev/cosign/sign/v1";

fn statement(digest: &Digest, predicate: &str) -> Vec<u8> {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {"sha256": digest.hex()}, "annotations": {}}],
        "predicateType": predicate, "predicate": {},
    })
    .to_string()
    .into_bytes()
}

fn envelope(payload: &[u8], signature: &[u8]) -> Value {
    let signatures = json!([{"sig": STANDARD.encode(signature), "keyid": ""}]);
    json!({"payload": STANDARD.encode(payload), "payloadType": STATEMENT, "signatures": signatures})
}

fn sign(field: &Field, key: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {STATEMENT} {} ", STATEMENT.len(), payload.len());
    field.sign(key, &[head.as_bytes(), payload].concat())
}

fn by_key(field: &Field, key: &str, payload: &[u8]) -> Value {
    json!({
        "mediaType": BUNDLE, "dsseEnvelope": envelope(payload, &sign(field, key, payload)),
        "verificationMaterial": {"publicKey": {"hint": "aGludA=="}, "tlogEntries": []},
    })
}

/// Pushes a bundle and answers how an index lists it.
async fn push(field: &Field, bundle: &Value) -> Value {
    let (config, bundle) = (b"{}", bundle.to_string().into_bytes());
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": BUNDLE,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "size": 2, "digest": Digest::of(config)},
        "layers": [{"mediaType": BUNDLE, "size": bundle.len(), "digest": Digest::of(&bundle)}],
        "subject": {"mediaType": OCI_MANIFEST, "size": 1, "digest": field.digest},
        "annotations": {"dev.sigstore.bundle.content": "dsse-envelope", "dev.sigstore.bundle.predicateType": SIGNS},
    })
    .to_string()
    .into_bytes();
    field.registry.push_blob("app", config).await;
    field.registry.push_blob("app", &bundle).await;
    let digest = Digest::of(&manifest);
    field
        .registry
        .push_manifest("app", &digest.to_string(), OCI_MANIFEST, &manifest)
        .await;
    json!({"mediaType": OCI_MANIFEST, "artifactType": BUNDLE, "size": manifest.len(), "digest": digest})
}

fn index(entries: &[Value]) -> Vec<u8> {
    json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
        .to_string()
        .into_bytes()
}

/// As cosign does where there is no referrers API: all of them under one tag.
async fn attach(field: &Field, bundles: &[Value]) {
    let mut entries = Vec::new();
    for bundle in bundles {
        entries.push(push(field, bundle).await);
    }
    let tag = format!("sha256-{}", field.digest.hex());
    field
        .registry
        .push_manifest("app", &tag, OCI_INDEX, &index(&entries))
        .await;
}

#[tokio::test]
async fn a_bundle_under_the_stand_in_tag_counts_for_the_digest_that_it_names() {
    if !ready() {
        return;
    }
    let field = Field::new().await;
    let (right, other) = (
        statement(&field.digest, SIGNS),
        statement(&Digest::of(b"another image"), SIGNS),
    );
    // Anybody may attach something; what counts is found among it.
    attach(
        &field,
        &[
            json!({"what": "no bundle"}),
            by_key(&field, "other", &right),
            by_key(&field, "key", &right),
        ],
    )
    .await;
    field.pull(field.with_key("key")).await.unwrap();
    field
        .denied(field.with_key("rekor"), "no key of the policy made it")
        .await;
    // It names no repository.
    field
        .denied(
            json!([{"type": "sigstoreSigned", "keyPath": field.path("key.pub")}]),
            "matchRepository alone",
        )
        .await;

    attach(&field, &[by_key(&field, "key", &other)]).await;
    field.denied(field.with_key("key"), "another image").await;
    let provenance = statement(&field.digest, "https://slsa.dev/provenance/v1");
    attach(&field, &[by_key(&field, "key", &provenance)]).await;
    field
        .denied(
            field.with_key("key"),
            "a statement of \"https://slsa.dev/provenance/v1\"",
        )
        .await;
    let mut forged = by_key(&field, "key", &other);
    forged["dsseEnvelope"]["payload"] = json!(STANDARD.encode(&right));
    attach(&field, &[forged]).await;
    field
        .denied(field.with_key("key"), "no key of the policy made it")
        .await;
    let mut retyped = by_key(&field, "key", &right);
    retyped["dsseEnvelope"]["payloadType"] = json!("text/plain");
    attach(&field, &[retyped]).await;
    field
        .denied(field.with_key("key"), "no key of the policy made it")
        .await;
    let mut bare = by_key(&field, "key", &right);
    bare.as_object_mut().unwrap().remove("dsseEnvelope");
    attach(&field, &[bare]).await;
    field.denied(field.with_key("key"), "a bare digest").await;
}

/// A registry that has the referrers API, above one that lacks it.
fn with_referrers(target: u16, listed: Vec<u8>) -> u16 {
    between(target, move |request, client| {
        let mine = request.starts_with("GET /v2/app/referrers/sha256:");
        if mine {
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Type: {OCI_INDEX}\r\nConnection: close\r\n");
            let _ = write!(client, "{head}Content-Length: {}\r\n\r\n", listed.len());
            let _ = client.write_all(&listed);
        }
        mine
    })
}

#[tokio::test]
async fn a_bundle_that_the_referrers_api_lists_counts() {
    if !ready() {
        return;
    }
    let field = Field::new().await;
    let entry = push(
        &field,
        &by_key(&field, "key", &statement(&field.digest, SIGNS)),
    )
    .await;
    let sbom = json!({"mediaType": OCI_MANIFEST, "artifactType": "text/spdx", "size": 1, "digest": Digest::of(b"x")});
    let port = with_referrers(field.registry.port, index(&[sbom, entry]));
    let repository = format!("127.0.0.1:{port}/app");
    let policy = |key: &str| json!({"default": [{"type": "reject"}], "transports": {"docker": {&repository: field.with_key(key)}}});
    field
        .pull_under(&policy("key"), &format!("{repository}:1"))
        .await
        .unwrap();
    let error = field
        .pull_under(&policy("other"), &format!("{repository}:1"))
        .await
        .unwrap_err();
    assert!(error.contains("no key of the policy made it"), "{error}");
}

/// A bundle of somebody with a certificate, written to the log at `time`.
fn keyless(
    of: &Keyless,
    payload: &[u8],
    time: u64,
    log: &str,
    edit: impl FnOnce(&mut Value),
) -> Value {
    let signature = sign(&of.field, "key", payload);
    let mut body = json!({
        "apiVersion": "0.0.1", "kind": "dsse",
        "spec": {
            "envelopeHash": {"algorithm": "sha256", "value": "00"},
            "payloadHash": {"algorithm": "sha256", "value": Digest::of(payload).hex()},
            "signatures": [
                {"signature": STANDARD.encode(&signature), "verifier": STANDARD.encode(&of.certificate)},
            ],
        },
    });
    edit(&mut body);
    let body = STANDARD.encode(body.to_string());
    let entry = format!(
        r#"{{"body":"{body}","integratedTime":{time},"logID":"{}","logIndex":7}}"#,
        "ab".repeat(32)
    );
    let promise = STANDARD.encode(of.field.sign(log, entry.as_bytes()));
    let pem: String = of
        .certificate
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    json!({
        "mediaType": BUNDLE, "dsseEnvelope": envelope(payload, &signature),
        "verificationMaterial": {
            "certificate": {"rawBytes": pem},
            "tlogEntries": [{
                "logIndex": "7", "logId": {"keyId": STANDARD.encode([0xab; 32])}, "integratedTime": time.to_string(),
                "kindVersion": {"kind": "dsse", "version": "0.0.1"}, "canonicalizedBody": body,
                "inclusionPromise": {"signedEntryTimestamp": promise},
            }],
        },
    })
}

#[tokio::test]
async fn a_bundle_without_a_lasting_key_needs_its_certificate_and_its_log() {
    if !ready() {
        return;
    }
    let of = Keyless::new().await;
    let field = &of.field;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
        + 5;
    let (payload, right) = (
        statement(&field.digest, SIGNS),
        of.policy(EMAIL, ISSUER, "ca.crt"),
    );
    let good = keyless(&of, &payload, now, "rekor", |_| {});
    attach(field, std::slice::from_ref(&good)).await;
    field.pull(right.clone()).await.unwrap();
    field
        .denied(
            of.policy("other@example.com", ISSUER, "ca.crt"),
            "its signer is",
        )
        .await;
    // The key of the certificate is a key like others; then its entry in the log is not about the key.
    field.pull(field.with_key("key")).await.unwrap();
    let mut logged = field.with_key("key");
    logged[0]["rekorPublicKeyPath"] = json!(field.path("rekor.pub"));
    field.denied(logged, "about another signature").await;

    attach(
        field,
        &[keyless(&of, &payload, now - 10 * 86_400, "rekor", |_| {})],
    )
    .await;
    field
        .denied(right.clone(), "not one of fulcio's of that time")
        .await;
    attach(field, &[keyless(&of, &payload, now, "other", |_| {})]).await;
    field.denied(right.clone(), "not signed by the log").await;
    let of_another = |body: &mut Value| {
        body["spec"]["payloadHash"]["value"] = json!(Digest::of(b"another").hex())
    };
    attach(field, &[keyless(&of, &payload, now, "rekor", of_another)]).await;
    field.denied(right.clone(), "about another signature").await;
    attach(
        field,
        &[keyless(&of, &payload, now, "rekor", |body| {
            body["kind"] = json!("rfc3161")
        })],
    )
    .await;
    field.denied(right.clone(), "unknown kind").await;
    // A log of the second kind gives no promise; a timestamp authority would have to say when.
    let mut second = good;
    second["verificationMaterial"]["tlogEntries"][0]
        .as_object_mut()
        .unwrap()
        .remove("inclusionPromise");
    attach(field, &[second]).await;
    field
        .denied(
            right,
            "no entry of a transparency log with the log's promise",
        )
        .await;
}
