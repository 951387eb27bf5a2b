//! What only hoist has: stacks, shells of builds, volumes and bundles as archives, checks of what is stored.

pub(crate) mod check;
pub(crate) mod shells;
pub(crate) mod stacks;
pub(crate) mod transfer;
