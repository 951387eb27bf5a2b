//! A volume's record, and the stack as it was last applied.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::time::Timestamp;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeDoc {
    pub name: String,
    pub created: Timestamp,
    pub project: String,
    pub key: String,
    pub config_hash: String,
    pub anonymous: bool,
    pub driver_opts: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
}

impl VolumeDoc {
    /// One whose record was lost.
    #[must_use]
    pub fn recovered(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }
}

/// The stack as it was last applied.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StackDoc {
    pub name: String,
    /// The canonical model, as text of its own language.
    pub stack: Value,
    pub project_dir: PathBuf,
    pub files: Vec<PathBuf>,
    /// Digests of the contents of secrets and configs by key.
    pub secrets: BTreeMap<String, String>,
    pub configs: BTreeMap<String, String>,
    pub applied: Timestamp,
}
