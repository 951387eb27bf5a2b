//! The two doors through which the outside comes in: file texts ([`Source`]) and variables ([`Env`]).
//!
//! Must not know: what is done with either.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Far larger than any handwritten file; no source reads beyond it.
pub const MAX_FILE: u64 = 16 << 20;

/// The text of a file: UTF-8, or UTF-16 that says so at its beginning, as YAML allows.
pub fn decode(bytes: Vec<u8>) -> Result<String, SourceError> {
    let units = |of: fn([u8; 2]) -> u16| -> Vec<u16> {
        bytes[2..]
            .chunks_exact(2)
            .map(|two| of([two[0], two[1]]))
            .collect()
    };
    let wide = match bytes.as_slice() {
        [0xff, 0xfe, ..] => units(u16::from_le_bytes),
        [0xfe, 0xff, ..] => units(u16::from_be_bytes),
        _ => {
            return String::from_utf8(bytes).map_err(|error| {
                let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                SourceError::NotText(before.iter().filter(|byte| **byte == b'\n').count() + 1)
            });
        }
    };
    String::from_utf16(&wide).map_err(|_| SourceError::NotText(1))
}

/// What a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Missing,
    File,
    Directory,
}

/// Where texts come from. The caller implements it on a file system; tests on a map.
pub trait Source {
    /// The whole text of a file. Paths are absolute.
    fn read(&self, path: &Path) -> Result<String, SourceError>;
    fn kind(&self, path: &Path) -> Kind;
    /// Absolute.
    fn working_dir(&self) -> PathBuf;
    /// All of standard input, for `-f -`.
    fn stdin(&self) -> Result<String, SourceError>;
}

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("no such file")]
    NotFound,
    #[error("is a directory")]
    IsDirectory,
    #[error("permission denied")]
    PermissionDenied,
    #[error("is larger than {} MiB", MAX_FILE >> 20)]
    TooLarge,
    #[error("is not UTF-8 text (line {0})")]
    NotText(usize),
    #[error("{0}")]
    Other(String),
}

/// The caller's environment variables.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Env(pub BTreeMap<String, String>);

impl Env {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Env {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(iter: I) -> Self {
        Self(
            iter.into_iter()
                .map(|(k, v)| (k.into(), v.into()))
                .collect(),
        )
    }
}
