//! Debian's registry server on loopback, images of our own to fill it with, and the peers' tools that make archives.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::world::{eventually, note};

/// Whether these programs are there; says which is not.
pub(crate) fn have(claim: &str, programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let missing = programs
        .iter()
        .find(|name| !std::env::split_paths(&path).any(|folder| folder.join(name).exists()));
    if let Some(name) = missing {
        note(&format!("skipped: {claim}: {name} is not installed"));
    }
    missing.is_none()
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold("sha256:".to_owned(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a string cannot fail");
            text
        })
}

pub(crate) struct Registry {
    child: Option<Child>,
    config: PathBuf,
    folder: PathBuf,
    port: u16,
    login: Option<String>,
    /// Docker's place for the authority of one registry; ours for this port only.
    authority: Option<PathBuf>,
}

impl Registry {
    /// Plain HTTP, open to all.
    pub(crate) fn plain(folder: &Path) -> Self {
        Self::start(folder, None)
    }

    /// TLS by an authority of its own, and a password.
    pub(crate) fn private(folder: &Path, user: &str, password: &str) -> Self {
        Self::start(folder, Some((user, password)))
    }

    fn start(folder: &Path, login: Option<(&str, &str)>) -> Self {
        fs::create_dir_all(folder).expect("make the registry's folder");
        let port = TcpListener::bind("127.0.0.1:0")
            .expect("a free port")
            .local_addr()
            .expect("its address")
            .port();
        let mut text = format!(
            "version: 0.1\nstorage:\n  filesystem: {{rootdirectory: {}/storage}}\n  delete: {{enabled: true}}\n  \
             maintenance: {{uploadpurging: {{enabled: false}}}}\nhttp:\n  addr: 127.0.0.1:{port}\n",
            folder.display()
        );
        let mut authority = None;
        if let Some((user, password)) = login {
            certificate(folder);
            let line = output(Command::new("htpasswd").args(["-Bbn", user, password]));
            fs::write(folder.join("htpasswd"), line).expect("write the password file");
            let shown = folder.display();
            writeln!(
                text,
                "  tls: {{certificate: {shown}/host.crt, key: {shown}/host.key}}"
            )
            .expect("into a string");
            writeln!(
                text,
                "auth:\n  htpasswd: {{realm: test, path: {shown}/htpasswd}}"
            )
            .expect("into a string");
            let place = PathBuf::from(format!("/etc/docker/certs.d/127.0.0.1:{port}"));
            fs::create_dir_all(&place).expect("make the authority's folder");
            fs::copy(folder.join("ca.crt"), place.join("ca.crt")).expect("copy the authority");
            authority = Some(place);
        }
        let config = folder.join("config.yml");
        fs::write(&config, text).expect("write the registry's configuration");
        let login = login.map(|(user, password)| format!("{user}:{password}"));
        let mut registry = Self {
            child: None,
            config,
            folder: folder.to_owned(),
            port,
            login,
            authority,
        };
        registry.resume();
        registry
    }

    pub(crate) fn resume(&mut self) {
        let log = || {
            fs::File::options()
                .create(true)
                .append(true)
                .open(self.folder.join("log"))
                .expect("open the log")
        };
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(log())
            .stderr(log())
            .spawn()
            .expect("run docker-registry");
        self.child = Some(child);
        let port = self.port;
        eventually("the registry answers", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub(crate) fn name(&self, image: &str) -> String {
        format!("127.0.0.1:{}/{image}", self.port)
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The log once it is at rest: the registry writes a request down after its answer was read.
    fn log(&self) -> String {
        let read = || fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let mut log = read();
        loop {
            std::thread::park_timeout(Duration::from_millis(20));
            let now = read();
            if now.len() == log.len() {
                return log;
            }
            log = now;
        }
    }

    /// How many answers of the registry's log hold all of these words.
    pub(crate) fn answered(&self, words: &[&str]) -> usize {
        let log = self.log();
        let answers = log
            .lines()
            .filter(|line| line.contains("response completed"));
        answers
            .filter(|line| words.iter().all(|word| line.contains(word)))
            .count()
    }

    fn curl(&self, args: &[&str]) -> Vec<u8> {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-f", "--noproxy", "*"]);
        if let Some(login) = &self.login {
            curl.args(["-u", login, "--cacert"])
                .arg(self.folder.join("ca.crt"));
        }
        output(curl.args(args))
    }

    /// The headers, in lower case, of what is at a path such as `app/manifests/1`.
    pub(crate) fn head(&self, path: &str) -> String {
        let accept =
            format!("Accept: {MANIFEST}, application/vnd.docker.distribution.manifest.v2+json");
        String::from_utf8_lossy(&self.curl(&["-I", "-H", &accept, &self.url(path)])).to_lowercase()
    }

    fn url(&self, path: &str) -> String {
        let scheme = if self.login.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://127.0.0.1:{}/v2/{path}", self.port)
    }

    fn put(&self, url: &str, kind: &str, bytes: &[u8]) {
        let file = self.folder.join("body");
        fs::write(&file, bytes).expect("write a body");
        let (kind, data) = (
            format!("Content-Type: {kind}"),
            format!("@{}", file.display()),
        );
        self.curl(&["-X", "PUT", "-H", &kind, "--data-binary", &data, url]);
    }

    pub(crate) fn push_blob(&self, repository: &str, bytes: &[u8]) {
        let headers = self.curl(&[
            "-X",
            "POST",
            "-D",
            "-",
            "-o",
            "/dev/null",
            &self.url(&format!("{repository}/blobs/uploads/")),
        ]);
        let headers = String::from_utf8_lossy(&headers).into_owned();
        let location = headers.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("location")
                .then(|| value.trim().to_owned())
        });
        let location = location.expect("an upload has a place");
        let joiner = if location.contains('?') { '&' } else { '?' };
        self.put(
            &format!("{location}{joiner}digest={}", digest(bytes)),
            "application/octet-stream",
            bytes,
        );
    }

    /// Pushes and returns the manifest's digest.
    pub(crate) fn push(&self, repository: &str, tag: &str, image: &Image) -> String {
        let manifest = self.push_content(repository, image);
        self.push_manifest(repository, tag, MANIFEST, &manifest)
    }

    /// Pushes the image for this machine and for another kind, and returns the index's digest.
    pub(crate) fn push_index(&self, repository: &str, tag: &str, image: &Image) -> String {
        let mut foreign = image.clone();
        foreign.config["architecture"] = json!("s390x");
        let manifests = [image, &foreign].map(|image| {
            let manifest = self.push_content(repository, image);
            let name = self.push_manifest(repository, &digest(&manifest), MANIFEST, &manifest);
            let platform = json!({ "os": "linux", "architecture": image.config["architecture"] });
            json!({ "mediaType": MANIFEST, "digest": name, "size": manifest.len(), "platform": platform })
        });
        let kind = "application/vnd.oci.image.index.v1+json";
        let index = json!({ "schemaVersion": 2, "mediaType": kind, "manifests": manifests })
            .to_string()
            .into_bytes();
        self.push_manifest(repository, tag, kind, &index)
    }

    /// All but the manifest, which is returned.
    fn push_content(&self, repository: &str, image: &Image) -> Vec<u8> {
        for (_, blob) in &image.layers {
            self.push_blob(repository, blob);
        }
        let config = image.config.to_string().into_bytes();
        self.push_blob(repository, &config);
        let layer = |(_, blob): &(Vec<u8>, Vec<u8>)| {
            json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest(blob), "size": blob.len(),
            })
        };
        json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(&config), "size": config.len(),
            },
            "layers": image.layers.iter().map(layer).collect::<Vec<_>>(),
        })
        .to_string()
        .into_bytes()
    }

    pub(crate) fn push_manifest(
        &self,
        repository: &str,
        tag: &str,
        kind: &str,
        manifest: &[u8],
    ) -> String {
        self.put(
            &self.url(&format!("{repository}/manifests/{tag}")),
            kind,
            manifest,
        );
        digest(manifest)
    }
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
        if let Some(place) = &self.authority {
            let _ = fs::remove_dir_all(place);
            // Empty ones only: what was there before stays.
            let _ =
                fs::remove_dir("/etc/docker/certs.d").and_then(|()| fs::remove_dir("/etc/docker"));
        }
    }
}

/// An authority and a certificate for 127.0.0.1.
fn certificate(folder: &Path) {
    let path = |name: &str| folder.join(name).display().to_string();
    fs::write(folder.join("ext"), "subjectAltName=IP:127.0.0.1\n").expect("write the extensions");
    let (ca, ca_key, key, request, host) = (
        path("ca.crt"),
        path("ca.key"),
        path("host.key"),
        path("csr"),
        path("host.crt"),
    );
    #[rustfmt::skip]
    output(Command::new("openssl").args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        "-subj", "/CN=test ca", "-addext", "basicConstraints=critical,CA:TRUE", "-keyout", &ca_key, "-out", &ca]));
    #[rustfmt::skip]
    output(Command::new("openssl").args(["req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1",
        "-keyout", &key, "-out", &request]));
    #[rustfmt::skip]
    output(Command::new("openssl").args(["x509", "-req", "-days", "2", "-in", &request, "-CA", &ca, "-CAkey", &ca_key,
        "-CAcreateserial", "-extfile", &path("ext"), "-out", &host]));
}

/// The standard output of a command that must succeed.
pub(crate) fn output(command: &mut Command) -> Vec<u8> {
    let done = command
        .output()
        .unwrap_or_else(|error| panic!("run {command:?}: {error}"));
    assert!(
        done.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    done.stdout
}

/// An image made by hand, layer by layer, with any configuration.
#[derive(Clone)]
pub(crate) struct Image {
    /// Each as tar and as what is pushed.
    layers: Vec<(Vec<u8>, Vec<u8>)>,
    config: Value,
}

impl Image {
    /// busybox with its shell and a few tools.
    pub(crate) fn busybox() -> Self {
        let mut layer = Layer::new().folder("bin").folder("etc").folder("tmp");
        layer = layer.file(
            "bin/busybox",
            0o755,
            &fs::read("/bin/busybox").expect("read busybox"),
        );
        for tool in [
            "sh",
            "cat",
            "echo",
            "sleep",
            "ls",
            "id",
            "env",
            "pwd",
            "true",
            "mkdir",
            "ln",
            "stat",
            "wget",
            "head",
            "sha256sum",
        ] {
            layer = layer.symlink(&format!("bin/{tool}"), "busybox");
        }
        layer = layer.file(
            "etc/passwd",
            0o644,
            b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/tmp:/bin/sh\n",
        );
        Self::bare().layer(layer.tar())
    }

    pub(crate) fn bare() -> Self {
        let config = json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux", "config": { "Env": ["PATH=/bin"], "Cmd": ["sh"] },
            "rootfs": { "type": "layers", "diff_ids": [] },
        });
        Self {
            layers: Vec::new(),
            config,
        }
    }

    /// On top of what is there; `tar` is compressed here.
    pub(crate) fn layer(mut self, tar: Vec<u8>) -> Self {
        let diff_ids = self.config["rootfs"]["diff_ids"]
            .as_array_mut()
            .expect("the list of layers");
        diff_ids.push(digest(&tar).into());
        let blob = gzip(&tar);
        self.layers.push((tar, blob));
        self
    }

    /// The last layer's bytes under a diff id that is not theirs.
    pub(crate) fn with_diff_id(mut self, diff_id: &str) -> Self {
        let diff_ids = self.config["rootfs"]["diff_ids"]
            .as_array_mut()
            .expect("the list of layers");
        *diff_ids.last_mut().expect("it has a layer") = diff_id.into();
        self
    }

    /// A blob as it is, with a diff id that nothing can have.
    pub(crate) fn raw_layer(mut self, blob: &[u8]) -> Self {
        self = self.layer(Vec::new());
        self.layers.last_mut().expect("just added").1 = blob.to_vec();
        self
    }

    /// The first half of a layer, complete as a blob.
    pub(crate) fn cut_layer(mut self, tar: Vec<u8>) -> Self {
        self = self.layer(tar);
        let blob = &mut self.layers.last_mut().expect("just added").1;
        blob.truncate(blob.len() / 2);
        self
    }

    /// One value of the configuration that containers are made from.
    pub(crate) fn with(mut self, key: &str, value: Value) -> Self {
        self.config["config"][key] = value;
        self
    }
}

pub(crate) fn gzip(tar: &[u8]) -> Vec<u8> {
    let mut child = Command::new("gzip")
        .args(["-1", "-n", "-c"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("run gzip");
    let mut input = child.stdin.take().expect("stdin is piped");
    let bytes = tar.to_vec();
    let feeder = std::thread::spawn(move || input.write_all(&bytes));
    let done = child.wait_with_output().expect("read gzip's output");
    feeder.join().expect("no panic").expect("feed gzip");
    done.stdout
}

/// A layer's tar, entry by entry, also such as no tool would write.
#[derive(Default)]
pub(crate) struct Layer {
    bytes: Vec<u8>,
}

impl Layer {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn folder(self, path: &str) -> Self {
        self.entry(b'5', path, "", 0o755, b"")
    }

    pub(crate) fn file(self, path: &str, mode: u32, content: &[u8]) -> Self {
        self.entry(b'0', path, "", mode, content)
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(b'2', path, target, 0o777, b"")
    }

    pub(crate) fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(b'1', path, target, 0o644, b"")
    }

    /// The header as given: no check stands between a test and a hostile name.
    pub(crate) fn entry(
        mut self,
        kind: u8,
        path: &str,
        link: &str,
        mode: u32,
        content: &[u8],
    ) -> Self {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::new(kind));
        let old = header.as_old_mut();
        old.name[..path.len()].copy_from_slice(path.as_bytes());
        old.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_size(content.len() as u64);
        for set in [tar::Header::set_device_major, tar::Header::set_device_minor] {
            set(&mut header, 0).expect("a ustar header has device numbers");
        }
        header.set_cksum();
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn tar(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&[0; 1024]);
        self.bytes
    }
}
