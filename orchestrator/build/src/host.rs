//! What a build borrows from its caller: the store, a folder for its own records, and ways to act.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use hoist_image::{Digest, Image, Platform, PullOptions, Reference, Store};

use crate::progress::Progress;
use crate::step::{BoxFuture, RunStep};

#[derive(Clone)]
pub struct Host {
    pub store: Arc<Store>,
    /// Owned by builds: stamps of contexts, cache mounts. On the store's file system; created when needed.
    pub state_dir: PathBuf,
    pub run: Arc<dyn RunStep>,
    pub bases: Arc<dyn BaseImages>,
    /// How registries are spoken to for caches, and the policy that says which may be believed.
    pub registries: PullOptions,
    pub progress: Arc<dyn Progress>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("state_dir", &self.state_dir)
            .finish_non_exhaustive()
    }
}

/// Finds base images that the store does not have, or (with `refresh`) newer ones than it has.
pub trait BaseImages: Send + Sync {
    /// Waits for another build that makes this image; `true`: it did, and the image is taken from the store as it is.
    fn made_here<'a>(&'a self, reference: &'a Reference) -> BoxFuture<'a, Result<bool, BaseError>> {
        let _ = reference;
        Box::pin(async { Ok(false) })
    }

    /// Pulls the image into the store and returns it; tells what comes.
    fn base<'a>(
        &'a self,
        reference: &'a Reference,
        platform: &'a Platform,
        refresh: bool,
        transfers: TransferSink,
    ) -> BoxFuture<'a, Result<Arc<Image>, BaseError>>;
}

/// What crosses for a base image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// A layer; empty for the image.
    pub item: String,
    /// In a word or two.
    pub status: String,
    pub current: u64,
    /// 0 when it is not counted.
    pub total: u64,
}

/// Takes them from any thread; does not block.
pub type TransferSink = Box<dyn Fn(Transfer) + Send + Sync>;

pub type BaseError = Box<dyn std::error::Error + Send + Sync>;

/// What a build leaves.
#[derive(Debug, Clone)]
pub struct Built {
    /// One for each platform.
    pub images: Vec<Arc<Image>>,
    /// The only image's, or the digest of the index of several.
    pub id: Digest,
    /// Steps that were run, and steps whose result was there already.
    pub ran: usize,
    pub cached: usize,
}
