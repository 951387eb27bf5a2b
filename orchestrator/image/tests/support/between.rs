//! Stands between a client and a registry on loopback, one request a connection.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

/// A request's line and headers. A greeting of TLS is no request.
pub(crate) fn head(client: &mut TcpStream) -> Option<String> {
    const TLS_HANDSHAKE: u8 = 0x16;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
        if head == [TLS_HANDSHAKE] {
            return None;
        }
    }
    String::from_utf8(head).ok()
}

/// The port of a server that shows each request to `meet` and passes it on to `target` if that has not answered it.
pub(crate) fn between(
    target: u16,
    meet: impl Fn(&str, &mut TcpStream) -> bool + Send + Sync + 'static,
) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let meet = Arc::new(meet);
    std::thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let meet = Arc::clone(&meet);
            std::thread::spawn(move || {
                let Some(head) = head(&mut client) else {
                    return;
                };
                if meet(&head, &mut client) {
                    return;
                }
                let mut server = TcpStream::connect(("127.0.0.1", target)).unwrap();
                server
                    .write_all(
                        head.replacen("\r\n", "\r\nConnection: close\r\n", 1)
                            .as_bytes(),
                    )
                    .unwrap();
                let _ = std::io::copy(&mut server, &mut client);
            });
        }
    });
    port
}
