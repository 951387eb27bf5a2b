//! What is stored: checking it, and taking it elsewhere.

use std::collections::BTreeMap;

pub use hoist_image::{CheckReport, Outcome, Problem};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ContainerSummary, ImageDelete, ImageSummary, VolumeInspect};

/// `POST /hoist/v1/system/check`; answers a [`CheckReport`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckRequest {
    /// Restore or drop what is broken.
    pub repair: bool,
    /// Read no content.
    pub quick: bool,
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

/// `GET /system/df`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DiskUsage {
    pub layers_size: u64,
    pub images: Vec<ImageSummary>,
    pub containers: Vec<ContainerUsage>,
    pub volumes: Vec<VolumeUsage>,
    pub build_cache: Vec<Value>,
    /// Bytes of layers that only the build cache needs. (Ours.)
    pub build_cache_size: u64,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerUsage {
    #[serde(flatten)]
    pub summary: ContainerSummary,
    /// What the container wrote.
    pub size_rw: u64,
    pub size_root_fs: u64,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VolumeUsage {
    #[serde(flatten)]
    pub inspect: VolumeInspect,
    pub usage_data: UsageData,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UsageData {
    pub size: u64,
    pub ref_count: usize,
}

/// An entry of `GET /images/{name}/history`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HistoryEntry {
    pub id: String,
    pub created: i64,
    pub created_by: String,
    pub tags: Option<Vec<String>>,
    pub size: u64,
    pub comment: String,
}

/// What a prune removed; each kind of object fills its own list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Pruned {
    pub containers_deleted: Vec<String>,
    pub images_deleted: Vec<ImageDelete>,
    pub volumes_deleted: Vec<String>,
    pub networks_deleted: Vec<String>,
    pub caches_deleted: Vec<String>,
    pub space_reclaimed: u64,
}
