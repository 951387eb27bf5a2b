//! Calls on what is stored.

use super::{Client, Result};
use crate::api::types::{CheckReport, CheckRequest};

impl Client {
    /// Looks the image store over.
    pub async fn check_store(&self, request: &CheckRequest) -> Result<CheckReport> {
        self.post_json("/hoist/v1/system/check", request).await
    }
}
