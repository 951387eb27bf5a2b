//! What is stored: checking it.

pub use hoist_image::{CheckReport, Outcome, Problem};
use serde::{Deserialize, Serialize};

/// `POST /hoist/v1/system/check`; answers a [`CheckReport`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckRequest {
    /// Restore or drop what is broken.
    pub repair: bool,
    /// Read no content.
    pub quick: bool,
}
