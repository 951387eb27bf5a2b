//! Debian's real registry server behind a token service: what is asked for, and what happens when a token expires.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and says why it is skipped"
)]

mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hoist_image::{Access, PullOptions, PushOptions, Reference, RegistryAuth, Store, pull, push};
use serde_json::json;
use support::{Config, Registry, Tar, TestImage, TestLayer, noise};

/// The registry goes on taking a token for so long after its end.
const LEEWAY: u64 = 60;

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// What a login gets in place of its password.
const LASTING: &str = "token-that-lasts";

/// Signs what it is asked for, for whoever knows the password or the token that stands for it.
struct Tokens {
    realm: String,
    certificate: PathBuf,
    /// The addresses of all requests.
    asked: Arc<Mutex<Vec<String>>>,
    /// When the registry stops to take the first token.
    first_ends: Arc<AtomicU64>,
}

impl Tokens {
    fn start(folder: &Path) -> Self {
        let (key, certificate) = (folder.join("token.key"), folder.join("token.crt"));
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=tokens",
                "-keyout",
            ])
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .unwrap();
        assert!(made.status.success());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, first_ends) = (
            Arc::new(Mutex::new(Vec::new())),
            Arc::new(AtomicU64::new(0)),
        );
        let (seen, ends, signer) = (
            Arc::clone(&asked),
            Arc::clone(&first_ends),
            Signer::new(key, &certificate),
        );
        std::thread::spawn(move || {
            for mut client in listener.incoming().map_while(Result::ok) {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n")
                    && client.read(&mut byte).is_ok_and(|count| count == 1)
                {
                    head.push(byte[0]);
                }
                let head = String::from_utf8(head).unwrap();
                let lower = head.to_lowercase();
                let length = lower
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                let mut form = vec![0; length.unwrap_or(0)];
                client.read_exact(&mut form).unwrap();
                // A form says the same as an address.
                let address = match head.split(' ').collect::<Vec<_>>()[..] {
                    ["POST", address, ..] => {
                        format!("{address}?{}", String::from_utf8(form).unwrap())
                    }
                    [_, address, ..] => address.to_owned(),
                    _ => unreachable!("no request"),
                };
                let renewing = address.contains(&format!(
                    "grant_type=refresh_token&refresh_token={LASTING}&"
                ));
                let known =
                    lower.contains(&format!("authorization: basic {}", "bwu6c2vjcmv0")) || renewing;
                // The first one is about to end.
                let first = seen.lock().unwrap().is_empty();
                let expires = if first {
                    now() + 2 - LEEWAY
                } else {
                    now() + 300
                };
                if first {
                    ends.store(expires + LEEWAY + 1, Ordering::Relaxed);
                }
                let token = signer.token(&address, expires);
                let body = match known {
                    true if renewing => json!({"access_token": token}).to_string(),
                    true if address.contains("offline_token=true") => {
                        json!({"token": token, "refresh_token": LASTING}).to_string()
                    }
                    true => json!({"token": token}).to_string(),
                    false => String::new(),
                };
                seen.lock().unwrap().push(address);
                let status = if known { "200 OK" } else { "401 Unauthorized" };
                let _ = write!(
                    client,
                    "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
            }
        });
        Self {
            realm: format!("http://127.0.0.1:{port}/token"),
            certificate,
            asked,
            first_ends,
        }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

struct Signer {
    key: PathBuf,
    header: String,
}

impl Signer {
    fn new(key: PathBuf, certificate: &Path) -> Self {
        let pem = std::fs::read_to_string(certificate).unwrap();
        let der: String = pem
            .lines()
            .filter(|line| !line.starts_with("-----"))
            .collect();
        let header = json!({"typ": "JWT", "alg": "RS256", "x5c": [der]}).to_string();
        Self {
            key,
            header: URL_SAFE_NO_PAD.encode(header),
        }
    }

    fn token(&self, address: &str, expires: u64) -> String {
        let query = address.split_once('?').map_or("", |(_, query)| query);
        let scopes = query
            .split('&')
            .filter_map(|pair| pair.strip_prefix("scope="));
        let access: Vec<serde_json::Value> = scopes
            .flat_map(|scopes| scopes.split('+'))
            .map(|scope| scope.replace("%3A", ":").replace("%2F", "/").replace("%2C", ","))
            .map(|scope| {
                let parts: Vec<&str> = scope.splitn(3, ':').collect();
                json!({"type": parts[0], "name": parts[1], "actions": parts[2].split(',').collect::<Vec<_>>()})
            })
            .collect();
        let claims = json!({
            "iss": "tests", "sub": "me", "aud": "test", "exp": expires, "nbf": now() - 300, "iat": now() - 300,
            "jti": "1", "access": access,
        });
        let signed = format!(
            "{}.{}",
            self.header,
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let mut openssl = Command::new("openssl")
            .args(["dgst", "-sha256", "-sign"])
            .arg(&self.key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        openssl
            .stdin
            .take()
            .unwrap()
            .write_all(signed.as_bytes())
            .unwrap();
        let signature = openssl.wait_with_output().unwrap().stdout;
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn access(registry: &str) -> Access {
    let auth = RegistryAuth {
        username: "me".into(),
        password: "secret".into(),
        ..RegistryAuth::default()
    };
    assert_eq!(STANDARD.encode("me:secret").to_lowercase(), "bwu6c2vjcmv0");
    Access {
        auth: BTreeMap::from([(registry.to_owned(), auth)]),
        ..Access::default()
    }
}

/// A registry with the image `app:1`, which asks for tokens from now on.
async fn guarded(folder: &Path, image: &TestImage) -> (Registry, Tokens) {
    let open = Registry::start(folder, &Config::default());
    open.push("app", "1", image).await;
    drop(open);
    let tokens = Tokens::start(folder);
    let config = Config {
        tokens: Some((&tokens.realm, &tokens.certificate)),
        ..Config::default()
    };
    (Registry::start(folder, &config), tokens)
}

/// Passes connections on; when so many bytes have come back, it waits for a moment of the clock and breaks off, once.
fn breaking_proxy(target: u16, after: usize, moment: Arc<AtomicU64>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let passed = Arc::new(AtomicUsize::new(0));
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else {
                return;
            };
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            let (passed, moment) = (Arc::clone(&passed), Arc::clone(&moment));
            std::thread::spawn(move || {
                let (mut server, mut client) = (server, client);
                let mut buffer = [0; 4096];
                while let Ok(count) = server.read(&mut buffer) {
                    let before = passed.fetch_add(count, Ordering::Relaxed);
                    if before < after && before + count >= after {
                        while now() <= moment.load(Ordering::Relaxed) {
                            std::thread::park_timeout(Duration::from_millis(20));
                        }
                        break;
                    }
                    if count == 0 || client.write_all(&buffer[..count]).is_err() {
                        break;
                    }
                }
                let _ = client.shutdown(std::net::Shutdown::Both);
                let _ = server.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_in_the_middle_of_a_layer_is_renewed() {
    if support::skip(&["docker-registry", "openssl"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let content = noise(4 << 20, 1);
    let image = TestImage::new(vec![TestLayer::gzip(
        Tar::new().file("big", &content).end(),
    )]);
    let (registry, tokens) = guarded(folder.path(), &image).await;
    let port = breaking_proxy(registry.port, 2 << 20, Arc::clone(&tokens.first_ends));
    let host = format!("127.0.0.1:{port}");
    let store = Store::open(&folder.path().join("data")).unwrap();
    let name = Reference::parse(&format!("{host}/app:1")).unwrap();
    let options = PullOptions {
        access: access(&host),
        ..PullOptions::default()
    };
    let pulled = pull(&store, &name, &options).await.unwrap().image;
    let lower = store.lowers(&pulled).unwrap().remove(0);
    assert_eq!(std::fs::read(lower.join("big")).unwrap(), content);
    assert_eq!(tokens.asked().len(), 2, "{:?}", tokens.asked());
    let digest = image.layers[0].digest().to_string();
    let answers = |status: &str| {
        let wanted = format!("\" {status} ");
        registry
            .log()
            .lines()
            .filter(|line| line.contains(&digest) && line.contains(&wanted))
            .count()
    };
    assert_eq!(
        (answers("401"), answers("206")),
        (1, 1),
        "{}",
        registry.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_asks_for_a_token_that_lets_it_mount() {
    if support::skip(&["docker-registry", "openssl"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = TestImage::new(vec![TestLayer::gzip(
        Tar::new().file("f", b"content").end(),
    )]);
    let (registry, tokens) = guarded(folder.path(), &image).await;
    let store = Store::open(&folder.path().join("data")).unwrap();
    let reference = |name: &str| Reference::parse(&format!("{}/{name}", registry.host())).unwrap();
    let options = PullOptions {
        access: access(&registry.host()),
        ..PullOptions::default()
    };
    let pulled = pull(&store, &reference("app:1"), &options).await.unwrap();
    assert!(
        tokens.asked()[0].contains("scope=repository%3Aapp%3Apull&"),
        "{:?}",
        tokens.asked()
    );
    store
        .tag(&pulled.image.id.to_string(), &reference("team/copy:1"))
        .unwrap();
    let options = PushOptions {
        access: access(&registry.host()),
        ..PushOptions::default()
    };
    let pushed = push(&store, &reference("team/copy:1"), &options)
        .await
        .unwrap();
    assert_eq!(pushed.digest, pulled.digest);
    let asked = tokens.asked();
    assert_eq!(asked.len(), 2, "one token for all of it: {asked:?}");
    assert!(
        asked[1]
            .contains("scope=repository%3Ateam%2Fcopy%3Apull%2Cpush&scope=repository%3Aapp%3Apull"),
        "{asked:?}"
    );
    assert_eq!(registry.answered("POST", "mount="), 1);
    assert_eq!(
        registry.answered("PUT", "/v2/team/copy/blobs/"),
        1,
        "the configuration alone was sent"
    );

    hoist_image::login(&registry.host(), &access(&registry.host()))
        .await
        .unwrap();
    let mut stranger = access(&registry.host());
    stranger
        .auth
        .values_mut()
        .for_each(|auth| auth.password = "wrong".into());
    let refused = hoist_image::login(&registry.host(), &stranger)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("were not accepted") && !refused.contains("wrong"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_gets_a_token_that_stands_for_its_password() {
    if support::skip(&["docker-registry", "openssl"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = TestImage::new(vec![TestLayer::gzip(
        Tar::new().file("f", b"content").end(),
    )]);
    let (registry, tokens) = guarded(folder.path(), &image).await;
    let lasting = hoist_image::login(&registry.host(), &access(&registry.host()))
        .await
        .unwrap();
    assert_eq!(lasting.as_deref(), Some(LASTING));
    assert!(
        tokens.asked()[0].contains("offline_token=true&client_id=hoist&account=me"),
        "{:?}",
        tokens.asked()
    );

    let store = Store::open(&folder.path().join("data")).unwrap();
    let app = Reference::parse(&format!("{}/app:1", registry.host())).unwrap();
    let copy = Reference::parse(&format!("{}/copy:1", registry.host())).unwrap();
    let with = |token: &str| {
        let auth = RegistryAuth {
            username: "me".into(),
            identity_token: token.into(),
            ..RegistryAuth::default()
        };
        Access {
            auth: BTreeMap::from([(registry.host(), auth)]),
            ..Access::default()
        }
    };
    let pulled = pull(
        &store,
        &app,
        &PullOptions {
            access: with(LASTING),
            ..PullOptions::default()
        },
    )
    .await
    .unwrap();
    assert!(
        tokens.asked()[1].contains("grant_type=refresh_token"),
        "{:?}",
        tokens.asked()
    );
    store.tag(&pulled.image.id.to_string(), &copy).unwrap();
    push(
        &store,
        &copy,
        &PushOptions {
            access: with(LASTING),
            ..PushOptions::default()
        },
    )
    .await
    .unwrap();
    let refused = pull(
        &store,
        &copy,
        &PullOptions {
            access: with("revoked"),
            ..PullOptions::default()
        },
    )
    .await;
    assert!(
        std::error::Error::source(&refused.unwrap_err())
            .unwrap()
            .to_string()
            .contains("were not accepted")
    );
}
