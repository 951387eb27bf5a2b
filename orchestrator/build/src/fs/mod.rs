//! File trees without mounts: looking into stacks of overlay layers and the build context, and writing a new layer.
//!
//! COPY and ADD must see the image as a container would: a destination below a symlink lands where the symlink points
//! inside of the image, a folder of a lower layer keeps its mode. An overlay mount would show that too, but most of it is
//! only looked at: looking through the layers' folders costs a few system calls a path and needs no mount for each step.
//! Only archives, which may rework anything, are unpacked through a mount ([`Writer::lend`]).
//!
//! Knows layers in overlay form (whiteouts, opaque folders), nothing of Dockerfiles. Every lookup goes through `openat2`
//! below a descriptor and never follows a symlink in the kernel: symlinks are walked here, inside the root.

mod attributes;
mod users;
mod view;
mod writer;

pub(crate) use attributes::content_attributes;
pub(crate) use users::{Owner, UserError, find_owner};
pub(crate) use view::{Kind, MAX_TEXT, Node, View, ViewError, shown};
pub(crate) use writer::{Metadata, WriteError, Writer, copy_content, metadata_of};
