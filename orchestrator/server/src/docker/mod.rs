//! Objects in the form of the Docker Engine API.

pub(crate) mod archive;
pub(crate) mod container_list;
pub(crate) mod containers;
pub(crate) mod convert;
pub(crate) mod distribution;
pub(crate) mod events;
pub(crate) mod exec;
mod filters;
pub(crate) mod image_list;
pub(crate) mod images;
pub(crate) mod making;
pub(crate) mod networking;
pub(crate) mod objects;
mod parameters;
pub(crate) mod prune;
mod pulling;
pub(crate) mod push;
mod relay;
pub(crate) mod store;
pub(crate) mod streams;
pub(crate) mod system;
pub(crate) mod takeover;
