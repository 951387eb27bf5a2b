//! One request works on a project at a time; planning is one at a time for the whole engine.
//!
//! A request whose client is gone, or that only waits, gives way to the next one of its project: `down` must not wait
//! for an `up` that waits for a health that never comes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, watch};

#[derive(Debug, Default)]
pub(crate) struct Turns {
    projects: Mutex<BTreeMap<String, Arc<Project>>>,
    /// Held from observing until what the plan will take is claimed.
    pub(crate) planning: AsyncMutex<()>,
}

#[derive(Debug)]
struct Project {
    lock: Arc<AsyncMutex<()>>,
    waiting: watch::Sender<Queue>,
}

/// How many requests wait for their turn, and how many of them cannot wait long.
#[derive(Debug, Clone, Copy, Default)]
struct Queue {
    all: usize,
    urgent: usize,
}

/// The right to work on a project.
#[derive(Debug)]
pub(crate) struct Turn {
    _lock: OwnedMutexGuard<()>,
    waiting: watch::Receiver<Queue>,
}

impl Turn {
    /// Resolves when another request waits.
    pub(crate) async fn wanted(&mut self) {
        self.until(|queue| queue.all > 0).await;
    }

    /// Resolves when another request waits that should not have to.
    pub(crate) async fn urgently_wanted(&mut self) {
        self.until(|queue| queue.urgent > 0).await;
    }

    async fn until(&mut self, condition: impl FnMut(&Queue) -> bool) {
        if self.waiting.wait_for(condition).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Counts as waiting while it lives, also when its future is dropped.
struct Waiting<'a> {
    project: &'a Project,
    urgent: usize,
}

impl<'a> Waiting<'a> {
    fn new(project: &'a Project, urgent: bool) -> Self {
        let urgent = usize::from(urgent);
        project.waiting.send_modify(|queue| {
            queue.all += 1;
            queue.urgent += urgent;
        });
        Self { project, urgent }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.project.waiting.send_modify(|queue| {
            queue.all -= 1;
            queue.urgent -= self.urgent;
        });
    }
}

impl Turns {
    /// Somebody works on it.
    pub(crate) fn is_taken(&self, project: &str) -> bool {
        let projects = self.projects.lock().unwrap_or_else(PoisonError::into_inner);
        projects
            .get(project)
            .is_some_and(|project| project.lock.try_lock().is_err())
    }

    /// `urgent`: whoever works now is asked to give way.
    pub(crate) async fn take(&self, project: &str, urgent: bool) -> Turn {
        let project = {
            let mut projects = self.projects.lock().unwrap_or_else(PoisonError::into_inner);
            let fresh = || {
                Arc::new(Project {
                    lock: Arc::default(),
                    waiting: watch::Sender::default(),
                })
            };
            Arc::clone(projects.entry(project.to_owned()).or_insert_with(fresh))
        };
        let waiting = Waiting::new(&project, urgent);
        let lock = Arc::clone(&project.lock).lock_owned().await;
        drop(waiting);
        Turn {
            _lock: lock,
            waiting: project.waiting.subscribe(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn urgent_request_asks_the_present_one_to_give_way() {
        let turns = Arc::new(Turns::default());
        let mut first = turns.take("shop", false).await;
        let other = Arc::clone(&turns);
        let second = tokio::spawn(async move { drop(other.take("shop", true).await) });
        first.urgently_wanted().await;
        drop(first);
        second.await.unwrap();
    }

    #[tokio::test]
    async fn projects_do_not_wait_for_each_other() {
        let turns = Turns::default();
        let _shop = turns.take("shop", false).await;
        let _blog = turns.take("blog", false).await;
    }
}
