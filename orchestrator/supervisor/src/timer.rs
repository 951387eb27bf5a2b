//! Times that are waited for.

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Timer {
    Restart { id: String, run: u64 },
    Probe { id: String, run: u64 },
    Exec { id: String, why: Forget },
}

/// Why the entry of an exec may be forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forget {
    /// It has been there for long without being started.
    Unstarted,
    Ended,
}
