//! Accepts for our bridges in other people's tables.

/// A rule of ours in a table that is not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignAccept {
    /// Such as `ip filter`.
    pub table: String,
    /// Such as `DOCKER-USER`.
    pub chain: String,
    /// Why it is needed, such as `chain FORWARD drops by policy`.
    pub why: String,
}
