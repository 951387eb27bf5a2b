//! Images: references, registries, the store, and unpacked layers.
//!
//! Owns everything below `<data root>/image`. Only the engine opens a [`Store`]; client processes read credentials and
//! send them along. Must not know what a service, a stack, a container or a network is.
#![forbid(unsafe_code)]

mod bootstrap;
mod cache;
mod config;
mod credentials;
mod digest;
mod fetch;
mod from_layout;
mod index;
mod layer;
mod layout;
mod load;
mod manifest;
mod members;
mod platform;
mod policy;
mod portable;
mod progress;
mod pull;
mod push;
mod reference;
mod referrers;
mod registry;
mod resolve;
mod save;
mod send;
mod signatures;
mod store;
mod tarball;

pub use bootstrap::{BootstrapError, bootstrap};
pub use cache::{
    CacheDocument, CacheError, CacheExport, CacheLayer, CachePlace, OpenCache, SentLayer,
    open_cache,
};
pub use config::{Execution, Healthcheck, History, ImageConfig, RootFs};
pub use credentials::{Credentials, CredentialsError, Kept, Logins, RegistryAuth};
pub use digest::{Digest, DigestError, Hasher};
pub use from_layout::load_layout;
pub use layer::{
    Copied, CopyTar, Copying, FolderError, MAX_DEPTH, MAX_PATH, Owners, PackError, TarFile, Top,
    UnpackError, Writable, decompress, fits_layer, is_attribute_of_host, is_attribute_of_overlay,
    mount_overlay, pack_copy, pack_folder, unpack_folder,
};
pub use layout::{LayoutError, LayoutName};
pub use load::{Incoming, LoadError, Received, load};
pub use manifest::ManifestError;
pub use platform::{Platform, PlatformError};
pub use policy::{Denied, Policy, PolicyError, SignatureError};
pub use progress::{Phase, Progress, ProgressSink, silent};
pub use pull::{Platforms, PullError, PullOptions, Pulled, pull};
pub use push::{PushError, PushOptions, Pushed, push};
pub use reference::{Reference, ReferenceError, registry_of};
pub use referrers::{Attached, Attachment, attachments};
pub use registry::{
    Access, ConfigurationError, RegistryError, RepositoryLocation, login, places_of, web_client,
};
pub use resolve::{Described, ResolveError, describe, resolve};
pub use save::{Archive, Artifact, SaveError};
pub use store::{
    CacheEntry, CheckOptions, CheckReport, Collected, Damage, Hold, Image, LayerError, LayerInfo,
    Outcome, Problem, RemoveError, Removed, Scope, Scratch, Spool, Store, StoreError,
};
