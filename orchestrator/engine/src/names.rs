//! The containers that the name server serves, from the creation of their network namespace to their end.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hoist_network::dns::{Asker, DnsError, Server, Serving, Sockets};

#[derive(Debug, Default)]
pub(crate) struct Names(Mutex<Served>);

#[derive(Debug, Default)]
struct Served {
    /// Grows with each container that is served.
    moment: u64,
    /// By container: since when.
    containers: BTreeMap<String, (u64, Serving)>,
}

/// A marker that separates containers served before from later ones.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment(u64);

impl Names {
    /// `home`: ids of the container's networks.
    pub(crate) fn serve(
        &self,
        server: &Server,
        container: &str,
        home: Vec<String>,
        netns: BorrowedFd<'_>,
    ) -> Result<(), DnsError> {
        let sockets = Sockets::open(netns)?;
        let serving = server.serve(
            Asker {
                container: container.to_owned(),
                home,
            },
            sockets,
        );
        let mut served = self.lock();
        served.moment += 1;
        let since = served.moment;
        served
            .containers
            .insert(container.to_owned(), (since, serving));
        Ok(())
    }

    pub(crate) fn serves(&self, container: &str) -> bool {
        self.lock().containers.contains_key(container)
    }

    pub(crate) fn now(&self) -> Moment {
        Moment(self.lock().moment)
    }

    /// Lets go of the containers that were not up at some moment after `before`. Who is served since then is of a start that
    /// `up` may not know yet.
    pub(crate) fn keep(&self, up: &BTreeSet<String>, before: Moment) {
        self.lock()
            .containers
            .retain(|container, (since, _)| *since > before.0 || up.contains(container));
    }

    fn lock(&self) -> MutexGuard<'_, Served> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
