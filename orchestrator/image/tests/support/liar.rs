//! An HTTP server that says what a test wants a registry to say.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use hoist_image::Reference;

use super::between::head;

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn ok(body: &[u8], media_type: &str) -> Self {
        Self {
            status: 200,
            headers: vec![format!("Content-Type: {media_type}")],
            body: body.to_vec(),
        }
    }

    pub(crate) fn status(status: u16, header: String) -> Self {
        Self {
            status,
            headers: vec![header],
            body: Vec::new(),
        }
    }
}

/// An HTTP server that answers what a function says; requests are remembered, headers and all.
pub(crate) struct Liar {
    pub(crate) port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Liar {
    pub(crate) fn start(answer: impl Fn(&str, &str) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        std::thread::spawn(move || {
            for mut client in listener.incoming().map_while(Result::ok) {
                let Some(head) = head(&mut client) else {
                    continue;
                };
                let length = head.to_lowercase().lines().find_map(|line| {
                    line.strip_prefix("content-length: ")
                        .and_then(|text| text.trim().parse::<u64>().ok())
                });
                let _ = std::io::copy(
                    &mut (&mut client).take(length.unwrap_or(0)),
                    &mut std::io::sink(),
                );
                let path = head.split(' ').nth(1).unwrap().to_owned();
                let reply = answer(&path, &head.to_lowercase());
                seen.lock().unwrap().push(head);
                let mut text = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", reply.status);
                for header in reply.headers {
                    text.push_str(&format!("{header}\r\n"));
                }
                text.push_str(&format!("Content-Length: {}\r\n\r\n", reply.body.len()));
                let _ = client
                    .write_all(text.as_bytes())
                    .and_then(|()| client.write_all(&reply.body));
            }
        });
        Self { port, requests }
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn reference(&self) -> Reference {
        Reference::parse(&format!("127.0.0.1:{}/app:1", self.port)).unwrap()
    }
}
