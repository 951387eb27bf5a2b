//! The one nft table of this engine, and accepts in other people's tables.

pub mod foreign;
pub mod watch;
