//! The one nft table of this engine, and accepts in other people's tables.

mod apply;
pub mod foreign;
mod nft;
pub(crate) mod rules;
mod text;
pub mod watch;

pub(crate) use apply::Firewall;
pub use apply::FirewallError;
