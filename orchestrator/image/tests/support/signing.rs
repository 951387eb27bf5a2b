//! An image in a real registry, and what it takes to sign it: keys and certificates of openssl.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hoist_image::{Digest, Policy, PullOptions, Reference, Store, pull};
use serde_json::{Value, json};

use super::{Config, OCI_MANIFEST, Registry, Tar, TestImage, TestLayer, skip};

pub(crate) const EMAIL: &str = "signer@example.com";
pub(crate) const ISSUER: &str = "https://accounts.example.com";

pub(crate) fn openssl(folder: &Path, line: &str) {
    let output = Command::new("openssl")
        .args(line.split_whitespace())
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "openssl {line}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A registry with one image `app:1`, and keys to sign it.
pub(crate) struct Field {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) registry: Registry,
    pub(crate) digest: Digest,
    pub(crate) layer: Digest,
}

impl Field {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::start(folder.path(), &Config::default());
        let image = TestImage::new(vec![TestLayer::gzip(Tar::new().file("a", b"a").end())]);
        let digest = registry.push("app", "1", &image).await;
        let field = Self {
            folder,
            registry,
            digest,
            layer: image.layers[0].digest(),
        };
        for name in ["key", "other", "rekor"] {
            field.openssl(&format!(
                "ecparam -name prime256v1 -genkey -noout -out {name}.pem"
            ));
            field.openssl(&format!("ec -in {name}.pem -pubout -out {name}.pub"));
        }
        field
    }

    pub(crate) fn openssl(&self, line: &str) {
        openssl(self.folder.path(), line);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn repository(&self) -> String {
        format!("{}/app", self.registry.host())
    }

    pub(crate) fn sign(&self, key: &str, message: &[u8]) -> Vec<u8> {
        std::fs::write(self.path("message"), message).unwrap();
        self.openssl(&format!(
            "dgst -sha256 -sign {key}.pem -out signature message"
        ));
        std::fs::read(self.path("signature")).unwrap()
    }

    pub(crate) fn payload(&self, digest: &Digest, reference: &str) -> Vec<u8> {
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
    pub(crate) async fn attach(&self, payload: &[u8], annotations: Value) {
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
        self.registry
            .push_manifest("app", &tag, OCI_MANIFEST, manifest.to_string().as_bytes())
            .await;
    }

    pub(crate) async fn attach_signed(&self, key: &str, payload: &[u8]) {
        let signature = STANDARD.encode(self.sign(key, payload));
        self.attach(
            payload,
            json!({"dev.cosignproject.cosign/signature": signature}),
        )
        .await;
    }

    /// Pulls into a new store under a policy for the repository; everything else is rejected.
    pub(crate) async fn pull(&self, requirements: Value) -> Result<(), String> {
        let policy = json!({
            "default": [{"type": "reject"}],
            "transports": {
                "docker": {self.repository(): requirements},
                "docker-daemon": {"": [{"type": "something that other programs know"}]},
            },
        });
        self.pull_under(&policy, &format!("{}:1", self.repository()))
            .await
    }

    pub(crate) async fn pull_under(&self, policy: &Value, name: &str) -> Result<(), String> {
        std::fs::write(self.path("policy.json"), policy.to_string()).unwrap();
        let policy = Policy::read(&self.path("policy.json")).map_err(|error| chain(&error))?;
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let options = PullOptions {
            policy: Some(Arc::new(policy)),
            ..PullOptions::default()
        };
        let before = self.registry.requests_for(&self.layer);
        let pulled = pull(&store, &Reference::parse(name).unwrap(), &options).await;
        if pulled.is_err() {
            assert_eq!(
                self.registry.requests_for(&self.layer),
                before,
                "no layer comes before the policy was asked"
            );
            assert!(store.images().is_empty());
        }
        pulled.map(drop).map_err(|error| chain(&error))
    }

    pub(crate) async fn denied(&self, requirements: Value, reason: &str) {
        let error = self.pull(requirements).await.expect_err(reason);
        assert!(error.contains(reason), "{error:?} does not say {reason:?}");
    }

    pub(crate) fn with_key(&self, key: &str) -> Value {
        let identity = json!({"type": "matchRepository"});
        json!([{"type": "sigstoreSigned", "keyPath": self.path(&format!("{key}.pub")), "signedIdentity": identity}])
    }
}

pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

pub(crate) fn ready() -> bool {
    !skip(&["docker-registry", "openssl"])
}

/// An authority, a certificate of ten minutes or so, and a log, as fulcio and rekor would be.
pub(crate) struct Keyless {
    pub(crate) field: Field,
    pub(crate) certificate: String,
}

impl Keyless {
    pub(crate) async fn new() -> Self {
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
    pub(crate) async fn attach(&self, time: u64, certificate: &str, log: &str) {
        let payload = self
            .field
            .payload(&self.field.digest, &self.field.repository());
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

    pub(crate) fn policy(&self, email: &str, issuer: &str, authority: &str) -> Value {
        json!([{
            "type": "sigstoreSigned",
            "fulcio": {"caPath": self.field.path(authority), "oidcIssuer": issuer, "subjectEmail": email},
            "rekorPublicKeyPath": self.field.path("rekor.pub"),
            "signedIdentity": {"type": "matchRepository"},
        }])
    }
}
