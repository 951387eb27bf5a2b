//! Untrusted file trees: of a container, an archive, a checkout.
//!
//! Owns walking, removing and opening such trees. Their creator chooses depth, names, links and file types, and may
//! change them concurrently. So walks are loops over descriptors: neither the stack, nor the number of descriptors, nor
//! PATH_MAX limits the depth. Paths are resolved below a descriptor and cannot escape it. Only regular files are opened
//! for their content: opening a device, a pipe or a kernel file can block or have side effects.
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
pub use path::{ResolvedPath, open_beneath, open_in_root, resolve};
pub use regular::{NotRegular, is_kernel_made, open_regular, regular};
pub use remove::{empty, remove, remove_at};
pub use scratch::Scratch;
pub use walk::{Visit, Walk};
