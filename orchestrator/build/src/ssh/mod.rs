//! ssh agents that steps and git may use: the caller's own, behind its socket, or one that is made here of key files.
//!
//! Keys stay in this process: a process that has the socket can request signatures and cannot read a key.

mod keys;
mod protocol;
mod socket;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::UnixStream;

pub use keys::{KeyError, Keys};
pub(crate) use socket::AgentSocket;

#[derive(Debug, Clone)]
pub enum Agent {
    /// One that runs already.
    Socket(PathBuf),
    Keys(Arc<Keys>),
}

impl Agent {
    /// Serves one connection to its end; either side may leave at any time.
    async fn serve(&self, mut client: UnixStream) {
        let ended = match self {
            Self::Keys(keys) => protocol::serve(keys, client).await,
            Self::Socket(path) => match UnixStream::connect(path).await {
                Ok(mut agent) => tokio::io::copy_bidirectional(&mut client, &mut agent)
                    .await
                    .map(drop),
                Err(error) => Err(error),
            },
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection to an ssh agent ended");
        }
    }
}
