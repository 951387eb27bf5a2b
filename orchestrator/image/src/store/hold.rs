//! What is being worked with and must not be collected, although nothing on disk refers to it yet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::Digest;

#[derive(Debug, Default)]
pub(super) struct Holds(Mutex<HashMap<Digest, usize>>);

impl Holds {
    pub(super) fn hold(self: &Arc<Self>, digests: &[Digest]) -> Hold {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for digest in digests {
            *counts.entry(*digest).or_default() += 1;
        }
        Hold(Arc::new(Held {
            digests: digests.to_vec(),
            holds: Arc::clone(self),
        }))
    }

    pub(super) fn held(&self) -> Vec<Digest> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .keys()
            .copied()
            .collect()
    }
}

/// Keeps layers and blobs from being collected while it or a clone of it lives.
#[derive(Debug, Clone)]
pub struct Hold(#[expect(dead_code, reason = "held for its Drop")] Arc<Held>);

#[derive(Debug)]
struct Held {
    digests: Vec<Digest>,
    holds: Arc<Holds>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut counts = self.holds.0.lock().unwrap_or_else(PoisonError::into_inner);
        for digest in &self.digests {
            if let Some(count) = counts.get_mut(digest) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(digest);
                }
            }
        }
    }
}
