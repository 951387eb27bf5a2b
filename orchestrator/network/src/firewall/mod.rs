//! The one nft table of this engine, accepts in other people's tables, and the rules inside of containers.

mod apply;
mod attributes;
mod batch;
mod conntrack;
mod expressions;
pub mod foreign;
mod names;
pub(crate) mod rules;
mod text;
mod transaction;
pub mod watch;

pub(crate) use apply::Firewall;
pub use apply::FirewallError;
pub(crate) use names::serve_names;

#[cfg(test)]
mod oracle_tests;
