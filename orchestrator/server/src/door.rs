//! The engine's socket: listening, accepting, shutting down.
//!
//! Accepting waits for nothing else, and no failure here is final: an engine out of descriptors accepts again as soon
//! as one is free, and handles signals all the while.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::task::Poll;
use std::time::Duration;

use hoist_engine::{Running, Trouble, chain};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::routes;

#[derive(Debug, thiserror::Error)]
#[error("listening on {path}")]
pub struct ListenError {
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

/// Why an engine stops serving.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It was told to stop, or is idle.
    Done,
    /// The task that owns all state has failed.
    Broken,
}

/// The socket appears under its name only when it listens, and only for its owner.
pub(crate) fn listen(socket: &Path) -> Result<UnixListener, ListenError> {
    let failed = |source| ListenError {
        path: socket.to_owned(),
        source,
    };
    let temporary = socket.with_extension("new");
    let _ = std::fs::remove_file(&temporary);
    let listener = UnixListener::bind(&temporary).map_err(failed)?;
    std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    std::fs::rename(&temporary, socket).map_err(failed)?;
    Ok(listener)
}

pub(crate) async fn serve(
    engine: &mut Running,
    socket: &Path,
    mut listener: UnixListener,
) -> Result<End, ListenError> {
    let failed = |source| ListenError {
        path: socket.to_owned(),
        source,
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(failed)?;
    let handle = engine.handle();
    let server = routes::Server::new(handle.clone());
    let mut shortage = Shortage::default();
    loop {
        tokio::select! {
            accepted = listener.accept(), if !shortage.holds() => match accepted {
                Ok((stream, _)) => {
                    shortage.ends();
                    server.serve(stream);
                }
                Err(error) => shortage.begins(&error),
            },
            () = shortage.pause(), if shortage.holds() => shortage.try_again(),
            () = handle.idle() => {
                let _ = std::fs::remove_file(socket);
                // A client may have connected between the decision and the removal.
                let late = std::future::poll_fn(|cx| match listener.poll_accept(cx) {
                    Poll::Ready(accepted) => Poll::Ready(accepted.ok()),
                    Poll::Pending => Poll::Ready(None),
                });
                let Some((stream, _)) = late.await else { return Ok(End::Done) };
                server.serve(stream);
                listener = listen(socket)?;
            }
            trouble = engine.trouble() => match trouble {
                Trouble::Broken => return Ok(End::Broken),
                Trouble::Missing if !socket.exists() => match listen(socket) {
                    Ok(again) => listener = again,
                    Err(error) => tracing::warn!(error = chain(&error), "cannot listen again"),
                },
                Trouble::Missing => {}
            },
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hang_up.recv() => {}
        }
    }
    let _ = std::fs::remove_file(socket);
    Ok(End::Done)
}

/// No descriptor or memory for another client: connected clients are still served, and make room when they disconnect.
/// The socket stays readable until then, so accepting again at once would only spin.
#[derive(Debug, Default)]
struct Shortage {
    until: Option<Instant>,
    told: bool,
}

impl Shortage {
    const PAUSE: Duration = Duration::from_millis(50);

    fn begins(&mut self, error: &std::io::Error) {
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!(%error, "cannot accept clients");
        }
        self.until = Some(Instant::now() + Self::PAUSE);
    }

    fn holds(&self) -> bool {
        self.until.is_some()
    }

    fn pause(&self) -> impl Future<Output = ()> + use<> {
        tokio::time::sleep_until(self.until.unwrap_or_else(Instant::now))
    }

    fn try_again(&mut self) {
        self.until = None;
    }

    fn ends(&mut self) {
        if std::mem::take(&mut self.told) {
            tracing::warn!("clients are accepted again");
        }
    }
}
