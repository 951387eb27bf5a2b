//! Whether a client's connection is closed, both ways.
//!
//! Reading tells nothing: docker's clients close their writing half at the end of their input and go on reading. Writing
//! tells only those who have something to write.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use hoist_engine::readiness;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Resolves when the client is gone.
pub(crate) type Gone = Shared<BoxFuture<'static, ()>>;

pub(crate) fn gone(stream: &UnixStream) -> io::Result<Gone> {
    let watched: OwnedFd = stream.as_fd().try_clone_to_owned()?;
    // Out-of-band data does not exist on a Unix socket: what remains to be told is the hang-up (epoll_ctl(2), EPOLLHUP).
    let watched = readiness::watch(watched, Interest::PRIORITY)?;
    Ok(async move {
        while let Ok(mut guard) = watched.ready(Interest::PRIORITY).await {
            if guard.ready().is_read_closed() {
                return;
            }
            guard.clear_ready();
        }
    }
    .boxed()
    .shared())
}
