//! What is stored: checking it, and taking it elsewhere.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `POST /hoist/v1/system/check`; answers a [`CheckReport`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckRequest {
    /// Restore or drop what is broken.
    pub repair: bool,
    /// Read no content.
    pub quick: bool,
}

/// What was looked at, and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// How many were looked at.
    pub images: usize,
    pub layers: usize,
    pub blobs: usize,
    /// Bytes of the blobs.
    pub bytes: u64,
    pub problems: Vec<Problem>,
}

impl CheckReport {
    /// Nothing is broken any more.
    pub fn is_sound(&self) -> bool {
        self.problems
            .iter()
            .all(|problem| problem.outcome != Outcome::Found)
    }
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The file or folder below the store's root, or an image's names.
    pub object: String,
    pub reason: String,
    pub outcome: Outcome,
}

/// What became of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is as it was.
    Found,
    /// It is whole again.
    Restored,
    /// It is gone; a pull brings it back.
    Dropped,
}

/// `POST /hoist/v1/bundles/save`; answers frames as docker's attach has them: the archive as stdout, a line of JSON
/// ([`BundleEvent`]) at a time as stderr. The archive is whole when the last event says so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BundleRequest {
    pub project: String,
    /// The stack file to write where the bundle is loaded.
    pub stack: String,
    /// Files beside it: path and content in base64.
    pub files: BTreeMap<String, String>,
    /// References.
    pub images: Vec<String>,
    /// Names of volumes.
    pub volumes: Vec<String>,
    /// Read volumes while their containers run.
    pub live: bool,
}

/// What a bundle says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BundleDocument {
    pub version: u32,
    pub project: String,
    pub stack: String,
    pub files: BTreeMap<String, String>,
    pub images: Vec<BundleImage>,
    /// In the order of the artifact's layers.
    pub volumes: Vec<BundleVolume>,
    /// Volumes were read while their containers ran.
    pub live: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BundleImage {
    /// As the stack names it.
    pub reference: String,
    pub id: String,
    pub size: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BundleVolume {
    pub name: String,
    /// In the stack.
    pub key: String,
    pub config_hash: String,
    pub labels: BTreeMap<String, String>,
    pub driver_opts: BTreeMap<String, String>,
    /// Bytes of content.
    pub size: u64,
}

/// What happens while a bundle is saved or loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum BundleEvent {
    Note { text: String },
    Failed { error: String },
    Done { document: Box<BundleDocument> },
}
