//! The engine's log. It may be lost: nothing waits for it, and nothing fails if it cannot be written.

use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::{Span, error_span};

/// Redirects standard error to `file`, if given; lines that cannot be written are dropped.
pub fn start(file: Option<&Path>) {
    let opened = file.map(|path| {
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
    });
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

/// What an event belongs to. Spans have the level of errors, so that a filter which shows an event shows its spans.
///
/// A request's path has no query: that may hold build arguments and credentials.
pub fn request(method: &impl std::fmt::Display, path: &str) -> Span {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    error_span!("request", id = NEXT.fetch_add(1, Ordering::Relaxed), %method, path)
}

/// A step of a plan.
pub(crate) fn step(verb: &str, object: &str) -> Span {
    error_span!("step", verb, object)
}

pub(crate) fn container(id: &str, name: &str) -> Span {
    error_span!("container", id, name)
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
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::fmt::MakeWriter;

    /// What the default filter lets through is kept.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_says_which_request_step_and_container_it_belongs_to() {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::new("warn"))
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .without_time()
            .finish();
        let _subscribed = tracing::subscriber::set_default(subscriber);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        // A span belongs to the one in which it is made, so each is made inside.
        let blocks = async {
            let subscriber = tracing::dispatcher::get_default(Clone::clone);
            let work = move || {
                let _subscribed = tracing::dispatcher::set_default(&subscriber);
                tracing::warn!("cannot go on");
                Ok(())
            };
            crate::actions::blocking(work).await
        };
        use tracing::Instrument as _;
        let contained = async { blocks.instrument(container("1f", "web-1")).await };
        let step = async { contained.instrument(step("start", "web-1")).await };
        runtime
            .block_on(step.instrument(request(&"POST", "/hoist/v1/apply")))
            .unwrap();
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let fields = [
            r#"method=POST path="/hoist/v1/apply""#,
            r#"step{verb="start" object="web-1"}"#,
        ];
        assert!(fields.iter().all(|fields| text.contains(fields)), "{text}");
        assert!(
            text.contains(r#"container{id="1f" name="web-1"}"#) && text.contains("cannot go on"),
            "{text}"
        );
    }

    #[test]
    fn a_log_that_cannot_be_written_ends_no_thread() {
        let full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let before = rustix::io::dup(rustix::stdio::stderr()).unwrap();
        rustix::stdio::dup2_stderr(&full).unwrap();
        let writer = || Droppable;
        let subscriber = tracing_subscriber::fmt()
            .with_writer(writer)
            .log_internal_errors(false)
            .finish();
        let logged = std::thread::spawn(move || {
            tracing::subscriber::with_default(subscriber, || {
                tracing::error!("nobody will read this")
            });
        });
        let ended = logged.join();
        rustix::stdio::dup2_stderr(&before).unwrap();
        ended.unwrap();
        assert_eq!(writer.make_writer().write(b"abc").unwrap(), 3);
    }
}
