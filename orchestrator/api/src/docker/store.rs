//! What is stored: how much there is, how images came to be, what was removed.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ContainerSummary, ImageDelete, ImageSummary, VolumeInspect};

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
