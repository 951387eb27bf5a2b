//! Objects in the form of the Docker Engine API. Fields that Docker does not have say so.

mod auth;
mod container;
mod distribution;
mod exec;
mod image;
mod network;
mod object;
mod store;
mod system;

pub use auth::*;
pub use container::*;
pub use distribution::*;
pub use exec::*;
pub use image::*;
pub use network::*;
pub use object::*;
pub use store::*;
pub use system::*;
