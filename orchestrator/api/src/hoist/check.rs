//! What build checks say.

use serde::{Deserialize, Serialize};

/// One service's build, checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildCheck {
    pub service: String,
    /// The Dockerfile, as its findings name it.
    pub file: String,
    pub findings: Vec<Finding>,
    /// Why it could not be checked at all, already rendered; empty when it could.
    pub error: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// BuildKit's name for the check; empty for other warnings.
    pub rule: String,
    pub message: String,
    /// Both from 1.
    pub line: usize,
    pub column: usize,
    pub hints: Vec<String>,
    /// The whole in rustc's form.
    pub text: String,
}
