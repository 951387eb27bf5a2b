//! A socket of our own before an agent: with the requested owner and mode, and removed when it is no longer needed.

use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Mode, Uid};
use tokio::net::UnixListener;
use tokio::task::{JoinHandle, JoinSet};

use super::Agent;
use crate::dockerfile::FileOwner;

#[derive(Debug, thiserror::Error)]
#[error("offering the ssh agent at {path}")]
pub(crate) struct SocketError {
    path: PathBuf,
    source: std::io::Error,
}

/// Ends with its drop.
#[derive(Debug)]
pub(crate) struct AgentSocket {
    path: PathBuf,
    _folder: hoist_tree::Scratch,
    server: JoinHandle<()>,
}

impl AgentSocket {
    pub(crate) fn open(agent: Agent, owner: FileOwner) -> Result<Self, SocketError> {
        let folder = hoist_tree::Scratch::with_prefix_in("hoist-ssh-", &std::env::temp_dir());
        let folder = folder.map_err(|source| SocketError {
            path: std::env::temp_dir(),
            source,
        })?;
        let path = folder.path().join("agent");
        let failed = |source: std::io::Error| SocketError {
            path: path.clone(),
            source,
        };
        let listener = UnixListener::bind(&path).map_err(failed)?;
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        rustix::fs::chown(&path, Some(uid), Some(gid)).map_err(|errno| failed(errno.into()))?;
        rustix::fs::chmod(&path, Mode::from_raw_mode(owner.mode))
            .map_err(|errno| failed(errno.into()))?;
        let server = tokio::spawn(async move {
            // The connections end with the server: they are its own.
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let agent = agent.clone();
                connections.spawn(async move { agent.serve(client).await });
            }
        });
        Ok(Self {
            path,
            _folder: folder,
            server,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for AgentSocket {
    fn drop(&mut self) {
        self.server.abort();
    }
}
