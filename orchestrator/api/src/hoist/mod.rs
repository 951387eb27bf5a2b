//! What only hoist has: stacks, builds and their progress, bundles, checks of what is stored.

mod build;
mod check;
mod image;
mod stack;
mod store;

pub use build::*;
pub use check::*;
pub use image::*;
pub use stack::*;
pub use store::*;
