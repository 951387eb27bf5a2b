//! Pulls under a `policy.json`: keys and certificates of openssl, signatures in a real registry as cosign puts them there.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and says why it is skipped"
)]

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hoist_image::{Digest, Policy};
use serde_json::{Value, json};
use support::signing::{EMAIL, Field, ISSUER, Keyless, ready};

#[tokio::test]
async fn only_what_the_key_of_the_policy_signed_is_pulled() {
    if !ready() {
        return;
    }
    let field = Field::new().await;
    field
        .pull(json!([{"type": "insecureAcceptAnything"}]))
        .await
        .unwrap();
    field
        .denied(json!([{"type": "reject"}]), "rejects every image")
        .await;
    field
        .denied(field.with_key("key"), "the image has none")
        .await;

    let payload = field.payload(&field.digest, &field.repository());
    field.attach_signed("key", &payload).await;
    field.pull(field.with_key("key")).await.unwrap();
    field
        .denied(field.with_key("other"), "no key of the policy made it")
        .await;
    let data = STANDARD.encode(field.read("key.pub"));
    let identity = json!({"type": "exactRepository", "dockerRepository": field.repository()});
    field
        .pull(json!([{"type": "sigstoreSigned", "keyDatas": [data], "signedIdentity": identity}]))
        .await
        .unwrap();
    // Every requirement counts.
    let both = json!([field.with_key("key")[0], field.with_key("other")[0]]);
    field.denied(both, "no key of the policy made it").await;

    // cosign writes no tag, so only the repository can be compared.
    let key = field.path("key.pub");
    field
        .denied(
            json!([{"type": "sigstoreSigned", "keyPath": key}]),
            "does not count for",
        )
        .await;
    field
        .attach_signed(
            "key",
            &field.payload(&field.digest, &format!("{}:1", field.repository())),
        )
        .await;
    field
        .pull(json!([{"type": "sigstoreSigned", "keyPath": key}]))
        .await
        .unwrap();
    field
        .attach_signed("key", &field.payload(&field.digest, "example.com/other"))
        .await;
    field
        .denied(field.with_key("key"), "does not count for")
        .await;

    field
        .attach_signed(
            "key",
            &field.payload(&Digest::of(b"another image"), &field.repository()),
        )
        .await;
    field.denied(field.with_key("key"), "another image").await;
    let signature = STANDARD.encode(field.sign("key", &payload));
    let forged = field.payload(&field.digest, &format!("{}-", field.repository()));
    field
        .attach(
            &forged,
            json!({"dev.cosignproject.cosign/signature": signature}),
        )
        .await;
    field
        .denied(field.with_key("key"), "no key of the policy made it")
        .await;
}

#[tokio::test]
async fn the_most_specific_scope_counts_and_what_cannot_be_checked_is_refused() {
    if !ready() {
        return;
    }
    let field = Field::new().await;
    let (accept, reject) = (
        json!([{"type": "insecureAcceptAnything"}]),
        json!([{"type": "reject"}]),
    );
    let (host, repository) = (field.registry.host(), field.repository());
    let tagged = format!("{repository}:1");
    let policy = |scopes: Value| json!({"default": reject, "transports": {"docker": scopes}});
    field
        .pull_under(
            &policy(json!({tagged.clone(): accept, repository.clone(): reject})),
            &tagged,
        )
        .await
        .unwrap();
    field
        .pull_under(
            &policy(json!({repository.clone(): accept, host.clone(): reject})),
            &tagged,
        )
        .await
        .unwrap();
    field
        .pull_under(&policy(json!({host.clone(): accept, "": reject})), &tagged)
        .await
        .unwrap();
    field
        .pull_under(&policy(json!({"": accept})), &tagged)
        .await
        .unwrap();
    let by_digest = format!("{repository}@{}", field.digest);
    field
        .pull_under(
            &policy(json!({tagged.clone(): reject, repository.clone(): accept})),
            &by_digest,
        )
        .await
        .unwrap();
    field
        .pull_under(&json!({"default": accept}), &tagged)
        .await
        .unwrap();
    assert!(
        field
            .pull_under(&policy(json!({format!("{host}/ap"): accept})), &tagged)
            .await
            .is_err()
    );

    let gpg = json!([{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/nowhere"}]);
    field.denied(gpg.clone(), "signedBy").await;
    // A rule for others harms nobody.
    field
        .pull_under(
            &policy(json!({"example.com": gpg, repository.clone(): accept})),
            &tagged,
        )
        .await
        .unwrap();
    for (rules, reason) in [
        (json!([]), "no requirement"),
        (
            json!([{"type": "sigstoreSigned"}]),
            "neither a key nor fulcio",
        ),
        (
            json!([{"type": "sigstoreSigned", "keyPath": "/nowhere/key.pub"}]),
            "reading /nowhere/key.pub",
        ),
        (
            json!([{"type": "sigstoreSigned", "keyData": "bm90IGEga2V5"}]),
            "no PEM",
        ),
        (
            json!([{"type": "sigstoreSigned", "keyPath": "/a", "keyData": "bm8="}]),
            "only one of",
        ),
        (json!([{"type": "reject", "keyPaht": "/a"}]), "keyPaht"),
        (json!([{"type": "signed"}]), "signed"),
    ] {
        field.denied(rules, reason).await;
    }
    assert!(Policy::find(&field.path("absent.json")).unwrap().is_none());
}

#[tokio::test]
async fn a_certificate_and_a_log_entry_stand_for_a_key() {
    if !ready() {
        return;
    }
    let keyless = Keyless::new().await;
    let field = &keyless.field;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
        + 5;
    let right = keyless.policy(EMAIL, ISSUER, "ca.crt");
    keyless.attach(now, &keyless.certificate, "rekor").await;
    field.pull(right.clone()).await.unwrap();
    field
        .denied(
            keyless.policy("other@example.com", ISSUER, "ca.crt"),
            "its signer is",
        )
        .await;
    field
        .denied(
            keyless.policy(EMAIL, "https://other.example.com", "ca.crt"),
            "its signer was named by",
        )
        .await;
    field.openssl("req -x509 -new -key rekor.pem -days 2 -subj /CN=ca -out other.crt");
    field
        .denied(
            keyless.policy(EMAIL, ISSUER, "other.crt"),
            "not one of fulcio's",
        )
        .await;

    // Signed when the certificate was not valid yet, written down by another log, about another certificate.
    keyless
        .attach(now - 10 * 86_400, &keyless.certificate, "rekor")
        .await;
    field
        .denied(right.clone(), "not one of fulcio's of that time")
        .await;
    keyless.attach(now, &keyless.certificate, "other").await;
    field.denied(right.clone(), "not signed by the log").await;
    keyless.attach(now, &field.read("ca.crt"), "rekor").await;
    field.denied(right.clone(), "about another signature").await;
    let payload = field.payload(&field.digest, &field.repository());
    field.attach_signed("key", &payload).await;
    field.denied(right, "no certificate").await;

    // A lasting key whose signatures have to be in a log.
    let mut logged = field.with_key("key");
    logged[0]["rekorPublicKeyPath"] = json!(field.path("rekor.pub"));
    field
        .denied(logged.clone(), "no entry of a transparency log")
        .await;
    keyless.attach(now, &field.read("key.pub"), "rekor").await;
    field.pull(logged).await.unwrap();
}
