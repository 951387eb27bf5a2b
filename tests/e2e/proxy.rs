//! Registries behind a proxy that the engine's environment names.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::distribution::{Image, Registry, have};
use crate::world::World;

/// A forward proxy: whatever host is asked for, one registry answers. Tunnels are refused.
struct Proxy {
    address: String,
    /// The first lines of what was asked, and whether a password came along.
    seen: Arc<Mutex<Vec<(String, bool)>>>,
}

impl Proxy {
    fn start(registry: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = format!(
            "127.0.0.1:{}",
            listener.local_addr().expect("its address").port()
        );
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        std::thread::spawn(move || {
            for mut client in listener.incoming().map_while(Result::ok) {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n")
                    && client.read(&mut byte).is_ok_and(|count| count == 1)
                {
                    head.push(byte[0]);
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let Some((line, headers)) = head.split_once("\r\n") else {
                    continue;
                };
                let known = headers
                    .to_lowercase()
                    .contains("proxy-authorization: basic ");
                log.lock().expect("the log").push((line.to_owned(), known));
                let [method, target, version] = line.split(' ').collect::<Vec<_>>()[..] else {
                    continue;
                };
                let Some(target) = target.strip_prefix("http://") else {
                    let _ =
                        client.write_all(b"HTTP/1.1 502 No tunnels\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                    continue;
                };
                let path = target.split_once('/').map_or("", |(_, path)| path);
                let mut server = TcpStream::connect(&registry).expect("reach the registry");
                write!(
                    server,
                    "{method} /{path} {version}\r\nConnection: close\r\n{headers}"
                )
                .expect("pass it on");
                let _ = std::io::copy(&mut server, &mut client);
            }
        });
        Self { address, seen }
    }

    fn saw(&self, start: &str) -> usize {
        self.seen
            .lock()
            .expect("the log")
            .iter()
            .filter(|(line, _)| line.starts_with(start))
            .count()
    }
}

#[test]
fn registries_are_asked_through_the_proxy_of_the_engines_environment() {
    let claim = "proxies";
    if !have(claim, &["docker-registry", "curl", "gzip"]) {
        return;
    }
    let Some(world) = World::new(claim) else {
        return;
    };
    let registry = Registry::plain(&world.project.join("registry"));
    registry.push("app", "1", &Image::busybox());
    let proxy = Proxy::start(registry.host());
    let address = format!("http://user:word@{}", proxy.address);
    let conf = world.file(
        "registries.conf",
        "[[registry]]\nprefix = \"*.invalid\"\ninsecure = true\n",
    );
    // The first command starts the engine, which keeps the environment that it is started in.
    let hoist = |args: &[&str]| {
        let mut command = world.command(args);
        command
            .env("HTTP_PROXY", &address)
            .env("https_proxy", &address)
            .env("NO_PROXY", "direct.invalid");
        command
            .env("CONTAINERS_REGISTRIES_CONF", &conf)
            .output()
            .expect("run hoist")
    };
    let pulled = hoist(&["image", "pull", "-q", "r.invalid/app:1"]);
    assert!(
        pulled.status.success(),
        "{}",
        String::from_utf8_lossy(&pulled.stderr)
    );
    assert!(
        proxy.saw("CONNECT r.invalid:443 ") > 0,
        "TLS is tried through a tunnel: {:?}",
        proxy.seen
    );
    assert!(
        proxy.saw("GET http://r.invalid/v2/app/manifests/1 ") > 0,
        "{:?}",
        proxy.seen
    );
    assert!(
        proxy
            .seen
            .lock()
            .expect("the log")
            .iter()
            .all(|(_, known)| *known),
        "with the proxy's own password"
    );

    let asked = proxy.seen.lock().expect("the log").len();
    let direct = hoist(&["image", "pull", "-q", "direct.invalid/app:1"]);
    let said = String::from_utf8_lossy(&direct.stderr).into_owned();
    assert!(
        direct.status.code() == Some(1) && said.contains("direct.invalid: unknown host"),
        "{said}"
    );
    // This machine's own addresses never go that way.
    assert!(
        hoist(&["image", "pull", "-q", &registry.name("app:1")])
            .status
            .success()
    );
    assert_eq!(proxy.seen.lock().expect("the log").len(), asked);
    world.finish();
}
