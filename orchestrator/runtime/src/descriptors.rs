//! The limit of open files: an engine takes all that it may have; its shims and their containers get what it was given.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

/// A soft limit of open files; `None` inside: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoftLimit(Option<u64>);

/// Raises this process's soft limit to the hard one, and answers what it was.
pub fn raise() -> io::Result<SoftLimit> {
    let given = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: given.maximum,
            ..given
        },
    )?;
    Ok(SoftLimit(given.current))
}

impl SoftLimit {
    /// Makes it this process's own again, and so its children's.
    pub(crate) fn restore(self) -> io::Result<()> {
        let limit = getrlimit(Resource::Nofile);
        Ok(setrlimit(
            Resource::Nofile,
            Rlimit {
                current: self.0,
                ..limit
            },
        )?)
    }
}
