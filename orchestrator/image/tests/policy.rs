//! Pulls under a `policy.json`: keys and certificates of openssl, signatures in a real registry as cosign puts them there.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and says why it is skipped")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hoist_image::{Digest, Policy, PullOptions, Reference, Store, pull};
use serde_json::{Value, json};
use support::{Config, OCI_MANIFEST, Registry, Tar, TestImage, TestLayer};

const EMAIL: &str = "signer@example.com";
const ISSUER: &str = "https://accounts.example.com";

fn openssl(folder: &Path, line: &str) {
    let output = Command::new("openssl").args(line.split_whitespace()).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "openssl {line}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// A registry with one image `app:1`, and keys to sign it.
struct Field {
    folder: tempfile::TempDir,
    registry: Registry,
    digest: Digest,
    layer: Digest,
}

impl Field {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::start(folder.path(), &Config::default());
        let image = TestImage::new(vec![TestLayer::gzip(Tar::new().file("a", b"a").end())]);
        let digest = registry.push("app", "1", &image).await;
        let field = Self { folder, registry, digest, layer: image.layers[0].digest() };
        for name in ["key", "other", "rekor"] {
            field.openssl(&format!("ecparam -name prime256v1 -genkey -noout -out {name}.pem"));
            field.openssl(&format!("ec -in {name}.pem -pubout -out {name}.pub"));
        }
        field
    }

    fn openssl(&self, line: &str) {
        openssl(self.folder.path(), line);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn repository(&self) -> String {
        format!("{}/app", self.registry.host())
    }

    fn sign(&self, key: &str, message: &[u8]) -> Vec<u8> {
        std::fs::write(self.path("message"), message).unwrap();
        self.openssl(&format!("dgst -sha256 -sign {key}.pem -out signature message"));
        std::fs::read(self.path("signature")).unwrap()
    }

    fn payload(&self, digest: &Digest, reference: &str) -> Vec<u8> {
        json!({
            "critical": {
                "identity": {"docker-reference": reference},
                "image": {"docker-manifest-digest": digest},
                "type": "cosign container image signature",
            },
            "optional": null,
        })
        .to_string()
        .into_bytes()
    }

    /// Replaces what is signed so far.
    async fn attach(&self, payload: &[u8], annotations: Value) {
        let config = b"{}";
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "size": 2, "digest": Digest::of(config)},
            "layers": [{
                "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
                "size": payload.len(), "digest": Digest::of(payload), "annotations": annotations,
            }],
        });
        self.registry.push_blob("app", config).await;
        self.registry.push_blob("app", payload).await;
        let tag = format!("sha256-{}.sig", self.digest.hex());
        self.registry.push_manifest("app", &tag, OCI_MANIFEST, manifest.to_string().as_bytes()).await;
    }

    async fn attach_signed(&self, key: &str, payload: &[u8]) {
        let signature = STANDARD.encode(self.sign(key, payload));
        self.attach(payload, json!({"dev.cosignproject.cosign/signature": signature})).await;
    }

    /// Pulls into a new store under a policy for the repository; everything else is rejected.
    async fn pull(&self, requirements: Value) -> Result<(), String> {
        let policy = json!({
            "default": [{"type": "reject"}],
            "transports": {
                "docker": {self.repository(): requirements},
                "docker-daemon": {"": [{"type": "something that other programs know"}]},
            },
        });
        self.pull_under(&policy, &format!("{}:1", self.repository())).await
    }

    async fn pull_under(&self, policy: &Value, name: &str) -> Result<(), String> {
        std::fs::write(self.path("policy.json"), policy.to_string()).unwrap();
        let policy = Policy::read(&self.path("policy.json")).map_err(|error| chain(&error))?;
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let options = PullOptions { policy: Some(Arc::new(policy)), ..PullOptions::default() };
        let before = self.registry.requests_for(&self.layer);
        let pulled = pull(&store, &Reference::parse(name).unwrap(), &options).await;
        if pulled.is_err() {
            assert_eq!(self.registry.requests_for(&self.layer), before, "no layer comes before the policy was asked");
            assert!(store.images().is_empty());
        }
        pulled.map(drop).map_err(|error| chain(&error))
    }

    async fn denied(&self, requirements: Value, reason: &str) {
        let error = self.pull(requirements).await.expect_err(reason);
        assert!(error.contains(reason), "{error:?} does not say {reason:?}");
    }

    fn with_key(&self, key: &str) -> Value {
        let identity = json!({"type": "matchRepository"});
        json!([{"type": "sigstoreSigned", "keyPath": self.path(&format!("{key}.pub")), "signedIdentity": identity}])
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

fn ready() -> bool {
    !support::skip(&["docker-registry", "openssl"])
}

#[tokio::test]
async fn only_what_the_key_of_the_policy_signed_is_pulled() {
    if !ready() {
        return;
    }
    let field = Field::new().await;
    field.pull(json!([{"type": "insecureAcceptAnything"}])).await.unwrap();
    field.denied(json!([{"type": "reject"}]), "rejects every image").await;
    field.denied(field.with_key("key"), "the image has none").await;

    let payload = field.payload(&field.digest, &field.repository());
    field.attach_signed("key", &payload).await;
    field.pull(field.with_key("key")).await.unwrap();
    field.denied(field.with_key("other"), "no key of the policy made it").await;
    let data = STANDARD.encode(field.read("key.pub"));
    let identity = json!({"type": "exactRepository", "dockerRepository": field.repository()});
    field.pull(json!([{"type": "sigstoreSigned", "keyDatas": [data], "signedIdentity": identity}])).await.unwrap();
    // Every requirement counts.
    let both = json!([field.with_key("key")[0], field.with_key("other")[0]]);
    field.denied(both, "no key of the policy made it").await;

    // cosign writes no tag, so only the repository can be compared.
    let key = field.path("key.pub");
    field.denied(json!([{"type": "sigstoreSigned", "keyPath": key}]), "does not count for").await;
    field.attach_signed("key", &field.payload(&field.digest, &format!("{}:1", field.repository()))).await;
    field.pull(json!([{"type": "sigstoreSigned", "keyPath": key}])).await.unwrap();
    field.attach_signed("key", &field.payload(&field.digest, "example.com/other")).await;
    field.denied(field.with_key("key"), "does not count for").await;

    field.attach_signed("key", &field.payload(&Digest::of(b"another image"), &field.repository())).await;
    field.denied(field.with_key("key"), "another image").await;
    let signature = STANDARD.encode(field.sign("key", &payload));
    let forged = field.payload(&field.digest, &format!("{}-", field.repository()));
    field.attach(&forged, json!({"dev.cosignproject.cosign/signature": signature})).await;
    field.denied(field.with_key("key"), "no key of the policy made it").await;
}

#[tokio::test]
async fn the_most_specific_scope_counts_and_what_cannot_be_checked_is_refused() {
    if !ready() {
        return;
    }
    let field = Field::new().await;
    let (accept, reject) = (json!([{"type": "insecureAcceptAnything"}]), json!([{"type": "reject"}]));
    let (host, repository) = (field.registry.host(), field.repository());
    let tagged = format!("{repository}:1");
    let policy = |scopes: Value| json!({"default": reject, "transports": {"docker": scopes}});
    field.pull_under(&policy(json!({tagged.clone(): accept, repository.clone(): reject})), &tagged).await.unwrap();
    field.pull_under(&policy(json!({repository.clone(): accept, host.clone(): reject})), &tagged).await.unwrap();
    field.pull_under(&policy(json!({host.clone(): accept, "": reject})), &tagged).await.unwrap();
    field.pull_under(&policy(json!({"": accept})), &tagged).await.unwrap();
    let by_digest = format!("{repository}@{}", field.digest);
    field.pull_under(&policy(json!({tagged.clone(): reject, repository.clone(): accept})), &by_digest).await.unwrap();
    field.pull_under(&json!({"default": accept}), &tagged).await.unwrap();
    assert!(field.pull_under(&policy(json!({format!("{host}/ap"): accept})), &tagged).await.is_err());

    let gpg = json!([{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/nowhere"}]);
    field.denied(gpg.clone(), "signedBy").await;
    // A rule for others harms nobody.
    field.pull_under(&policy(json!({"example.com": gpg, repository.clone(): accept})), &tagged).await.unwrap();
    for (rules, reason) in [
        (json!([]), "no requirement"),
        (json!([{"type": "sigstoreSigned"}]), "neither a key nor fulcio"),
        (json!([{"type": "sigstoreSigned", "keyPath": "/nowhere/key.pub"}]), "reading /nowhere/key.pub"),
        (json!([{"type": "sigstoreSigned", "keyData": "bm90IGEga2V5"}]), "no PEM"),
        (json!([{"type": "sigstoreSigned", "keyPath": "/a", "keyData": "bm8="}]), "only one of"),
        (json!([{"type": "reject", "keyPaht": "/a"}]), "keyPaht"),
        (json!([{"type": "signed"}]), "signed"),
    ] {
        field.denied(rules, reason).await;
    }
    assert!(Policy::find(&field.path("absent.json")).unwrap().is_none());
}

/// An authority, a certificate of ten minutes or so, and a log, as fulcio and rekor would be.
struct Keyless {
    field: Field,
    certificate: String,
}

impl Keyless {
    async fn new() -> Self {
        let field = Field::new().await;
        let hex: Vec<String> = ISSUER.bytes().map(|byte| format!("{byte:02x}")).collect();
        let extensions = format!(
            "subjectAltName=critical,email:{EMAIL}\nextendedKeyUsage=codeSigning\nkeyUsage=critical,digitalSignature\n\
             1.3.6.1.4.1.57264.1.1=DER:{}\n1.3.6.1.4.1.57264.1.8=ASN1:UTF8String:{ISSUER}\n",
            hex.join(":")
        );
        std::fs::write(field.path("extensions"), extensions).unwrap();
        field.openssl(
            "req -x509 -new -key other.pem -days 2 -subj /CN=ca -out ca.crt -addext keyUsage=critical,keyCertSign",
        );
        field.openssl("req -new -key key.pem -subj /O=none -out request");
        field.openssl(
            "x509 -req -in request -CA ca.crt -CAkey other.pem -CAcreateserial -days 1 -extfile extensions -out leaf.crt",
        );
        let certificate = field.read("leaf.crt");
        Self { field, certificate }
    }

    /// Signs and writes it to the log at `time`.
    async fn attach(&self, time: u64, certificate: &str, log: &str) {
        let payload = self.field.payload(&self.field.digest, &self.field.repository());
        let signature = self.field.sign("key", &payload);
        let body = json!({
            "apiVersion": "0.0.1", "kind": "hashedrekord",
            "spec": {
                "data": {"hash": {"algorithm": "sha256", "value": Digest::of(&payload).hex()}},
                "signature": {
                    "content": STANDARD.encode(&signature), "publicKey": {"content": STANDARD.encode(certificate)},
                },
            },
        });
        let entry = format!(
            r#"{{"body":"{}","integratedTime":{time},"logID":"{}","logIndex":7}}"#,
            STANDARD.encode(body.to_string()),
            "ab".repeat(32)
        );
        let promise = STANDARD.encode(self.field.sign(log, entry.as_bytes()));
        let bundle = json!({
            "SignedEntryTimestamp": promise, "Payload": serde_json::from_str::<Value>(&entry).unwrap(),
        });
        let annotations = json!({
            "dev.cosignproject.cosign/signature": STANDARD.encode(signature),
            "dev.sigstore.cosign/certificate": self.certificate,
            "dev.sigstore.cosign/bundle": bundle.to_string(),
        });
        self.field.attach(&payload, annotations).await;
    }

    fn policy(&self, email: &str, issuer: &str, authority: &str) -> Value {
        json!([{
            "type": "sigstoreSigned",
            "fulcio": {"caPath": self.field.path(authority), "oidcIssuer": issuer, "subjectEmail": email},
            "rekorPublicKeyPath": self.field.path("rekor.pub"),
            "signedIdentity": {"type": "matchRepository"},
        }])
    }
}

#[tokio::test]
async fn a_certificate_and_a_log_entry_stand_for_a_key() {
    if !ready() {
        return;
    }
    let keyless = Keyless::new().await;
    let field = &keyless.field;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 5;
    let right = keyless.policy(EMAIL, ISSUER, "ca.crt");
    keyless.attach(now, &keyless.certificate, "rekor").await;
    field.pull(right.clone()).await.unwrap();
    field.denied(keyless.policy("other@example.com", ISSUER, "ca.crt"), "its signer is").await;
    field.denied(keyless.policy(EMAIL, "https://other.example.com", "ca.crt"), "its signer was named by").await;
    field.openssl("req -x509 -new -key rekor.pem -days 2 -subj /CN=ca -out other.crt");
    field.denied(keyless.policy(EMAIL, ISSUER, "other.crt"), "not one of fulcio's").await;

    // Signed when the certificate was not valid yet, written down by another log, about another certificate.
    keyless.attach(now - 10 * 86_400, &keyless.certificate, "rekor").await;
    field.denied(right.clone(), "not one of fulcio's of that time").await;
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
    field.denied(logged.clone(), "no entry of a transparency log").await;
    keyless.attach(now, &field.read("key.pub"), "rekor").await;
    field.pull(logged).await.unwrap();
}
