//! The one nft table of this engine, and accepts in other people's tables.

mod apply;
mod attributes;
mod batch;
mod conntrack;
mod expressions;
pub mod foreign;
pub(crate) mod rules;
mod text;
mod transaction;
pub mod watch;

pub(crate) use apply::Firewall;
pub use apply::FirewallError;

#[cfg(test)]
mod oracle_tests;
