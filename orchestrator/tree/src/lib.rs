//! Trees of files that somebody else made: a container, an archive, a checkout.
//!
//! Owns how such a tree is walked, removed and opened. Its maker chooses depth, names, links and kinds of files, and may
//! change all of it meanwhile. So walks are loops over descriptors: neither the stack, nor the number of descriptors, nor
//! PATH_MAX limits how deep a tree may be. Paths are resolved below a descriptor and lead nowhere else. Nothing but a
//! regular file is opened for its content: opening a device, a pipe or a file of the kernel's own can block or act.
//!
//! Knows nothing of containers, layers and archives.

#![forbid(unsafe_code)]

mod descent;
mod path;
mod regular;
mod remove;
mod scratch;
mod walk;

pub use descent::Descent;
pub use path::{Place, open_beneath, open_in_root, resolve};
pub use regular::{NotRegular, is_kernel_made, open_regular, regular};
pub use remove::{empty, remove, remove_at};
pub use scratch::Scratch;
pub use walk::{Visit, Walk};
