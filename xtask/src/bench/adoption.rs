//! How long names and commands are away when the engine is killed: a shim starts the next one, which takes over.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail};

use super::{HOIST_RUN_DIR, ROUNDS, Tool, stack_name};
use crate::engine;
use crate::report::{Case, Measured, Unit};
use crate::shell::{command, run};

const SERVICES: usize = 10;

pub(super) fn measure(hoist: &Tool<'_>) -> Result<Case> {
    let mut measured = Measured::new(hoist.name);
    hoist.timed(&stack_name(SERVICES), &["up", "-d"])?;
    for round in 0..=ROUNDS {
        let engine = engine::of(HOIST_RUN_DIR)?;
        let start = Instant::now();
        run(command("kill").args(["-KILL", &engine]))?;
        // No client of ours may be the one that starts an engine: only the socket is watched.
        while !answers(&Path::new(HOIST_RUN_DIR).join("hoist.sock"))? {
            std::thread::yield_now();
        }
        hoist.timed(
            &stack_name(SERVICES),
            &["exec", "-T", "s1", "nslookup", "-type=a", "s2"],
        )?;
        if round > 0 {
            measured.values.push(start.elapsed().as_secs_f64());
        }
    }
    hoist.timed(&stack_name(SERVICES), &["down", "-t", "0"])?;
    Ok(Case {
        title: format!(
            "engine killed with {SERVICES} running, until `exec` in one resolves another"
        ),
        unit: Unit::Seconds,
        measured: vec![measured],
    })
}

fn answers(socket: &Path) -> Result<bool> {
    let mut stream = match UnixStream::connect(socket) {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(false);
        }
        Err(error) => bail!("connect to {}: {error}", socket.display()),
    };
    let mut answer = [0; 12];
    let asked = stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: hoist\r\n\r\n");
    Ok(asked.and_then(|()| stream.read_exact(&mut answer)).is_ok() && answer.ends_with(b"200"))
}
