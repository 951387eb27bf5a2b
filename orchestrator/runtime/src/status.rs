//! How a container ended, and the durable record of it.

use std::io;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitStatus {
    /// 0..=255; 128 + n when signal n ended it.
    pub code: i32,
    pub signal: Option<i32>,
    /// The kernel's OOM killer struck in the container's cgroup.
    pub oom: bool,
    pub at: Timestamp,
    /// The same as nanoseconds of `CLOCK_MONOTONIC`; `None`: from a shim that does not say it.
    #[serde(default)]
    pub steady: Option<i64>,
}

impl ExitStatus {
    /// Reads a record that a shim wrote; `None` when there is none (still running, or the shim was killed).
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
