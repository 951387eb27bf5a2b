//! The engine's log. It may be lost: nothing waits for it, and nothing fails if it cannot be written.

use std::io::{self, Write};
use std::path::Path;

/// Redirects standard error to `file`, if given; lines that cannot be written are dropped.
pub(crate) fn start(file: Option<&Path>) {
    let opened = file.map(|path| std::fs::OpenOptions::new().create(true).append(true).open(path));
    if let Some(Ok(file)) = opened {
        let _ = rustix::stdio::dup2_stderr(&file);
    }
    let filter = tracing_subscriber::EnvFilter::try_from_env("HOIST_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    // An existing subscriber is kept.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Droppable)
        .log_internal_errors(false)
        .with_ansi(false)
        .try_init();
}

/// Standard error that ignores write errors such as a full disk: tracing reports a failed write with `eprintln!`, which
/// panics if it fails as well and ends the thread that was logging.
struct Droppable;

impl Write for Droppable {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = io::stderr().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::fmt::MakeWriter;

    #[test]
    fn a_log_that_cannot_be_written_ends_no_thread() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let before = rustix::io::dup(rustix::stdio::stderr()).unwrap();
        rustix::stdio::dup2_stderr(&full).unwrap();
        let writer = || Droppable;
        let subscriber = tracing_subscriber::fmt().with_writer(writer).log_internal_errors(false).finish();
        let logged = std::thread::spawn(move || {
            tracing::subscriber::with_default(subscriber, || tracing::error!("nobody will read this"));
        });
        let ended = logged.join();
        rustix::stdio::dup2_stderr(&before).unwrap();
        ended.unwrap();
        assert_eq!(writer.make_writer().write(b"abc").unwrap(), 3);
    }
}
