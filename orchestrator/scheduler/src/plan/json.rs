//! Owns the JSON of a plan: what `hoist plan --format json` prints.

use crate::plan::Plan;

impl Plan {
    pub fn to_json(&self) -> serde_json::Value {
        todo!()
    }
}
