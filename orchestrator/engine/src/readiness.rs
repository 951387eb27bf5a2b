//! Descriptors that the event loop waits for.

use std::io;
use std::os::fd::AsRawFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What is wrapped owns its descriptor and keeps it for life, which is all that tokio's newer, unsafe constructor asks.
#[expect(
    deprecated,
    reason = "the replacement is unsafe, which this crate forbids; the callers' types keep its promise"
)]
pub fn watch<T: AsRawFd>(descriptor: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(descriptor, interest)
}
