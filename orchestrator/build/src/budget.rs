//! Limits on the expanded size of a Dockerfile's variables: a few lines can expand beyond the machine's memory.
//!
//! Counts the expansion of the text, not the text itself.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that values, and copies of them in steps and stages, may take for one platform.
const TEXT: usize = 64 << 20;
/// Characters that the patterns of `${NAME#…}` and `${NAME/…}` may be compared with.
const COMPARED: usize = 1 << 28;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    #[error("the variables of this Dockerfile expand to more than {} MiB", TEXT >> 20)]
    Text,
    #[error(
        "the patterns of this Dockerfile take too long to match: the values are too long for them"
    )]
    Compared,
}

#[derive(Debug)]
pub struct Budget {
    text: AtomicUsize,
    compared: AtomicUsize,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(TEXT, COMPARED)
    }
}

impl Budget {
    pub(crate) fn new(text: usize, compared: usize) -> Self {
        Self {
            text: AtomicUsize::new(text),
            compared: AtomicUsize::new(compared),
        }
    }

    pub(crate) fn text(&self, bytes: usize) -> Result<(), Exceeded> {
        if take(&self.text, bytes) {
            Ok(())
        } else {
            Err(Exceeded::Text)
        }
    }

    pub(crate) fn compared(&self, characters: usize) -> Result<(), Exceeded> {
        if take(&self.compared, characters) {
            Ok(())
        } else {
            Err(Exceeded::Compared)
        }
    }

    /// Whether anything was refused: missing values are then not the fault of later text.
    pub(crate) fn exhausted(&self) -> bool {
        self.text.load(Ordering::Relaxed) == 0 || self.compared.load(Ordering::Relaxed) == 0
    }
}

/// A refused request leaves nothing behind.
fn take(left: &AtomicUsize, wanted: usize) -> bool {
    let rest = left
        .load(Ordering::Relaxed)
        .checked_sub(wanted)
        .filter(|rest| *rest > 0);
    left.store(rest.unwrap_or(0), Ordering::Relaxed);
    rest.is_some()
}
