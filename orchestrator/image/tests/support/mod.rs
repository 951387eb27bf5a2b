//! A real registry on loopback, and images to fill it with.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod between;
pub(crate) mod liar;
pub(crate) mod signing;

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hoist_image::Digest;
use serde_json::json;

pub(crate) fn program(name: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).exists()))
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Prints why a test does not run, when it does not.
pub(crate) fn skip(programs: &[&str]) -> bool {
    if !is_root() {
        println!("skipped: needs root (whiteouts are devices)");
        return true;
    }
    for name in programs {
        if !program(name) {
            println!("skipped: {name} is not installed");
            return true;
        }
    }
    false
}

#[derive(Default)]
pub(crate) struct Config<'a> {
    pub(crate) tls: Option<&'a Certificate>,
    /// Where tokens are to be had, and the certificate of who signs them.
    pub(crate) tokens: Option<(&'a str, &'a Path)>,
    /// Only clients with a certificate of the same authority.
    pub(crate) clients_too: bool,
    /// `user:password`
    pub(crate) login: Option<(&'a str, &'a str)>,
    /// At `[::1]` in place of `127.0.0.1`.
    pub(crate) six: bool,
}

pub(crate) struct Registry {
    child: Child,
    address: &'static str,
    pub(crate) port: u16,
    log: PathBuf,
}

impl Registry {
    /// Starts Debian's docker-registry on a free port over `folder/storage`.
    pub(crate) fn start(folder: &Path, config: &Config<'_>) -> Self {
        let address = if config.six { "[::1]" } else { "127.0.0.1" };
        let port = TcpListener::bind(format!("{address}:0"))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let storage = folder.join("storage");
        std::fs::create_dir_all(&storage).unwrap();
        let mut yaml = format!(
            "version: 0.1\nlog: {{level: info, formatter: json}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  \
             maintenance: {{uploadpurging: {{enabled: false}}}}\nhttp:\n  addr: \"{address}:{port}\"\n",
            storage.display()
        );
        if let Some(certificate) = config.tls {
            let (cert, key) = (certificate.certificate.display(), certificate.key.display());
            let clients = match config.clients_too {
                true => format!(", clientcas: [{}]", certificate.authority.display()),
                false => String::new(),
            };
            yaml.push_str(&format!(
                "  tls: {{certificate: {cert}, key: {key}{clients}}}\n"
            ));
        }
        if let Some((user, password)) = config.login {
            let file = folder.join(format!("htpasswd-{port}"));
            let output = Command::new("htpasswd")
                .args(["-Bbn", user, password])
                .output()
                .unwrap();
            assert!(output.status.success());
            std::fs::write(&file, output.stdout).unwrap();
            yaml.push_str(&format!(
                "auth:\n  htpasswd: {{realm: test, path: {}}}\n",
                file.display()
            ));
        }
        if let Some((realm, certificate)) = config.tokens {
            let bundle = certificate.display();
            yaml.push_str(&format!(
                "auth:\n  token: {{realm: \"{realm}\", service: test, issuer: tests, rootcertbundle: {bundle}}}\n"
            ));
        }
        let config_file = folder.join(format!("registry-{port}.yml"));
        std::fs::write(&config_file, yaml).unwrap();
        let log = folder.join(format!("registry-{port}.log"));
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config_file)
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&log).unwrap())
            .stderr(std::fs::File::options().append(true).open(&log).unwrap())
            .spawn()
            .unwrap();
        let registry = Self {
            child,
            address,
            port,
            log,
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(registry.host()).is_err() {
            assert!(Instant::now() < deadline, "{}", registry.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        registry
    }

    pub(crate) fn host(&self) -> String {
        format!("{}:{}", self.address, self.port)
    }

    /// The log once it is at rest: the registry writes a request down after its answer was read.
    pub(crate) fn log(&self) -> String {
        let mut log = std::fs::read_to_string(&self.log).unwrap();
        loop {
            std::thread::sleep(Duration::from_millis(20));
            let now = std::fs::read_to_string(&self.log).unwrap();
            if now.len() == log.len() {
                return log;
            }
            log = now;
        }
    }

    /// How often a blob was asked for.
    pub(crate) fn requests_for(&self, digest: &Digest) -> usize {
        self.answered("GET", &format!("/blobs/{digest}"))
    }

    /// How many requests of a method with `path` in their address were answered.
    pub(crate) fn answered(&self, method: &str, path: &str) -> usize {
        let method = format!("\"{method} /");
        let counts = |line: &&str| line.contains(&method) && line.contains(path);
        self.log().lines().filter(counts).count()
    }

    fn client(&self) -> reqwest::Client {
        reqwest_client()
    }

    pub(crate) async fn push_blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let base = format!("http://{}", self.host());
        let start = self
            .client()
            .post(format!("{base}/v2/{repository}/blobs/uploads/"))
            .send()
            .await
            .unwrap();
        let location = start.headers()["location"].to_str().unwrap().to_owned();
        let joiner = if location.contains('?') { '&' } else { '?' };
        let put = self
            .client()
            .put(format!("{location}{joiner}digest={digest}"))
            .body(bytes.to_vec());
        let response = put
            .header("content-type", "application/octet-stream")
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 201, "{}", response.text().await.unwrap());
        digest
    }

    pub(crate) async fn push_manifest(
        &self,
        repository: &str,
        target: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Digest {
        let url = format!("http://{}/v2/{repository}/manifests/{target}", self.host());
        let put = self
            .client()
            .put(url)
            .header("content-type", media_type)
            .body(bytes.to_vec());
        let response = put.send().await.unwrap();
        assert_eq!(response.status(), 201, "{}", response.text().await.unwrap());
        Digest::of(bytes)
    }

    pub(crate) async fn push(&self, repository: &str, tag: &str, image: &TestImage) -> Digest {
        for layer in &image.layers {
            self.push_blob(repository, &layer.blob).await;
        }
        self.push_blob(repository, &image.config).await;
        self.push_manifest(repository, tag, OCI_MANIFEST, &image.manifest)
            .await
    }

    /// Changes a stored blob behind the registry's back.
    pub(crate) fn corrupt(&self, folder: &Path, digest: &Digest) {
        let hex = digest.hex();
        let path = folder
            .join("storage/docker/registry/v2/blobs/sha256")
            .join(&hex[..2])
            .join(&hex)
            .join("data");
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        std::fs::write(&path, bytes).unwrap();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn reqwest_client() -> reqwest::Client {
    let config = rustls::ClientConfig::builder_with_provider(
        rustls::crypto::ring::default_provider().into(),
    )
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_root_certificates(rustls::RootCertStore::empty())
    .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .build()
        .unwrap()
}

/// A CA and a certificate for 127.0.0.1 made by openssl.
pub(crate) struct Certificate {
    pub(crate) authority: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificate {
    pub(crate) fn make(folder: &Path) -> Self {
        let path = |name: &str| folder.join(name).display().to_string();
        let openssl = |args: &[&str]| {
            let output = Command::new("openssl").args(args).output().unwrap();
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
        };
        let (ca, ca_key, key) = (path("ca.crt"), path("ca.key"), path("host.key"));
        let (request, certificate, extensions) = (path("host.csr"), path("host.crt"), path("ext"));
        std::fs::write(&extensions, "subjectAltName=IP:127.0.0.1\n").unwrap();
        #[rustfmt::skip]
        openssl(&["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test ca",
            "-addext", "basicConstraints=critical,CA:TRUE", "-keyout", &ca_key, "-out", &ca]);
        #[rustfmt::skip]
        openssl(&["req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-keyout", &key, "-out", &request]);
        #[rustfmt::skip]
        openssl(&["x509", "-req", "-days", "2", "-in", &request, "-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial",
            "-extfile", &extensions, "-out", &certificate]);
        Self {
            authority: ca.into(),
            certificate: certificate.into(),
            key: key.into(),
        }
    }
}

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const GZIP_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const ZSTD_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

pub(crate) struct TestLayer {
    pub(crate) tar: Vec<u8>,
    pub(crate) blob: Vec<u8>,
    pub(crate) media_type: &'static str,
}

impl TestLayer {
    pub(crate) fn gzip(tar: Vec<u8>) -> Self {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&tar).unwrap();
        Self {
            blob: encoder.finish().unwrap(),
            tar,
            media_type: GZIP_LAYER,
        }
    }

    pub(crate) fn zstd(tar: Vec<u8>) -> Self {
        Self {
            blob: zstd::encode_all(&tar[..], 1).unwrap(),
            tar,
            media_type: ZSTD_LAYER,
        }
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::of(&self.blob)
    }

    pub(crate) fn diff_id(&self) -> Digest {
        Digest::of(&self.tar)
    }
}

pub(crate) struct TestImage {
    pub(crate) layers: Vec<TestLayer>,
    pub(crate) config: Vec<u8>,
    pub(crate) manifest: Vec<u8>,
}

impl TestImage {
    pub(crate) fn new(layers: Vec<TestLayer>) -> Self {
        let diff_ids: Vec<Digest> = layers.iter().map(TestLayer::diff_id).collect();
        Self::with_diff_ids(layers, &diff_ids)
    }

    pub(crate) fn with_diff_ids(layers: Vec<TestLayer>, diff_ids: &[Digest]) -> Self {
        let platform = hoist_image::Platform::host();
        let config = serde_json::to_vec(&json!({
            "architecture": platform.architecture, "os": "linux", "created": "2024-01-02T03:04:05Z",
            "config": {"Env": ["A=b"], "Cmd": ["sh"], "Volumes": null},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }))
        .unwrap();
        let described: Vec<_> = layers
            .iter()
            .map(|layer| json!({"mediaType": layer.media_type, "digest": layer.digest(), "size": layer.blob.len()}))
            .collect();
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": Digest::of(&config), "size": config.len()},
            "layers": described,
        }))
        .unwrap();
        Self {
            layers,
            config,
            manifest,
        }
    }
}

/// Builds a tar entry by entry.
#[derive(Default)]
pub(crate) struct Tar {
    bytes: Vec<u8>,
}

impl Tar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn header(kind: u8, path: &str, size: u64) -> tar::Header {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::new(kind));
        let name = &mut header.as_old_mut().name;
        name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_mode(if kind == b'5' { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_size(size);
        header.set_cksum();
        header
    }

    pub(crate) fn raw(mut self, header: &tar::Header, body: &[u8]) -> Self {
        let mut header = header.clone();
        header.set_cksum();
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(body);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut body = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            body.extend_from_slice(format!("{length} {key}=").as_bytes());
            body.extend_from_slice(value);
            body.push(b'\n');
        }
        let header = Self::header(b'x', "PaxHeaders", body.len() as u64);
        self.raw(&header, &body)
    }

    pub(crate) fn directory(self, path: &str) -> Self {
        self.raw(&Self::header(b'5', path, 0), b"")
    }

    pub(crate) fn file(self, path: &str, content: &[u8]) -> Self {
        self.raw(&Self::header(b'0', path, content.len() as u64), content)
    }

    /// A file with holes in GNU's PAX form `0.minor` or, with 2, form 1.0: what the map says, and `data` bytes.
    pub(crate) fn sparse(
        self,
        path: &str,
        minor: u64,
        size: u64,
        parts: &[(u64, u64)],
        data: usize,
    ) -> Self {
        let (size, count) = (size.to_string(), parts.len().to_string());
        let numbers: Vec<[String; 2]> = parts
            .iter()
            .map(|(offset, length)| [offset.to_string(), length.to_string()])
            .collect();
        let mut body = Vec::new();
        let joined = numbers
            .iter()
            .map(|pair| pair.join(","))
            .collect::<Vec<_>>()
            .join(",");
        let mut records: Vec<(&str, &[u8])> = vec![("path", path.as_bytes())];
        match minor {
            0 | 1 => {
                let (size, count) = (
                    ("GNU.sparse.size", size.as_bytes()),
                    ("GNU.sparse.numblocks", count.as_bytes()),
                );
                records.extend([size, count]);
                if minor == 1 {
                    records.push(("GNU.sparse.map", joined.as_bytes()));
                } else {
                    for [offset, length] in &numbers {
                        records.push(("GNU.sparse.offset", offset.as_bytes()));
                        records.push(("GNU.sparse.numbytes", length.as_bytes()));
                    }
                }
            }
            _ => {
                records.extend([("GNU.sparse.major", &b"1"[..]), ("GNU.sparse.minor", b"0")]);
                records.extend([
                    ("GNU.sparse.realsize", size.as_bytes()),
                    ("GNU.sparse.name", path.as_bytes()),
                ]);
                body = format!("{count}\n").into_bytes();
                numbers
                    .iter()
                    .flatten()
                    .for_each(|number| body.extend(format!("{number}\n").bytes()));
                body.resize(body.len().next_multiple_of(512), 0);
            }
        }
        body.extend(noise(data, 7));
        self.pax(&records).file("GNUSparseFile.0", &body)
    }

    pub(crate) fn link(self, kind: u8, path: &str, target: &str) -> Self {
        let mut header = Self::header(kind, path, 0);
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        self.raw(&header, b"")
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.link(b'2', path, target)
    }

    pub(crate) fn hard_link(self, path: &str, target: &str) -> Self {
        self.link(b'1', path, target)
    }

    pub(crate) fn device(self, kind: u8, path: &str, major: u32, minor: u32) -> Self {
        let mut header = Self::header(kind, path, 0);
        header.set_device_major(major).unwrap();
        header.set_device_minor(minor).unwrap();
        self.raw(&header, b"")
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&[0; 1024]);
        self.bytes
    }

    pub(crate) fn unfinished(self) -> Vec<u8> {
        self.bytes
    }
}

/// Bytes that do not compress.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
