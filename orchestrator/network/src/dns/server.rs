//! The owner's side of the name server: one thread answers all served containers.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::shared::{Listener, Shared};
use super::sockets::Sockets;
use super::worker::Worker;
use super::zone::{Asker, Zone};
use crate::firewall::FirewallError;
use crate::netns::NetnsError;

#[derive(Debug, Clone)]
pub struct DnsConfig {
    /// `/etc/resolv.conf` but in tests.
    pub resolv_conf: PathBuf,
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    #[error("start the name server's thread")]
    Start(#[source] io::Error),
    #[error("listen for names in a container")]
    Listen(#[source] io::Error),
    #[error("lead port 53 of a container to the name server")]
    Lead(#[source] Box<FirewallError>),
    #[error(transparent)]
    Netns(#[from] NetnsError),
}

/// Stops and joins its thread on drop.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// The server answers on the sockets of one namespace for as long as this lives.
#[derive(Debug)]
pub struct Serving {
    shared: Arc<Shared>,
    id: u64,
}

impl Server {
    pub fn start(config: DnsConfig) -> Result<Self, DnsError> {
        let start = |errno: rustix::io::Errno| DnsError::Start(errno.into());
        let shared = Arc::new(Shared::new().map_err(start)?);
        let worker = Worker::new(Arc::clone(&shared), config.resolv_conf).map_err(start)?;
        let thread = std::thread::Builder::new()
            .name("names".to_owned())
            .spawn(move || worker.run());
        Ok(Self {
            shared,
            thread: Some(thread.map_err(DnsError::Start)?),
        })
    }

    /// Every query that arrives after this returns sees the new table.
    pub fn set_zone(&self, zone: Zone) {
        self.shared.set_zone(zone);
    }

    /// Answers queries on these sockets for this asker.
    pub fn serve(&self, asker: Asker, sockets: Sockets) -> Serving {
        let id = self.shared.number();
        let Sockets { udp, tcp } = sockets;
        self.shared.order(|orders| {
            orders.opened.push(Listener {
                id,
                asker,
                udp,
                tcp,
            })
        });
        Serving {
            shared: Arc::clone(&self.shared),
            id,
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.shared.order(|orders| {
            orders.opened.retain(|listener| listener.id != self.id);
            orders.closed.push(self.id);
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.order(|orders| orders.stop = true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
