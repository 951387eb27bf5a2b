//! Errors and warnings as values: code, message, places, hints. Each carries the texts that it points into, so it can
//! be rendered anywhere. Owns their rustc-like text form and their JSON form.
//!
//! Must not know: which phase found what.

use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

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

impl SourceFile {
    /// Line and column of a byte offset, both from 1; columns count characters.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let offset = self.floor(offset);
        let before = &self.text[..offset];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        (
            before.matches('\n').count() + 1,
            before[line_start..].chars().count() + 1,
        )
    }

    fn floor(&self, offset: usize) -> usize {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }
}

/// A place in a text, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    pub file: Arc<SourceFile>,
    pub start: usize,
    pub end: usize,
    pub text: String,
}

impl Label {
    /// `file:line:column`.
    pub fn place(&self) -> String {
        let (line, column) = self.file.position(self.start);
        format!("{}:{line}:{column}", self.file.name)
    }
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
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            labels: Vec::new(),
            hints: Vec::new(),
        }
    }

    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(code, message)
        }
    }
}

/// The rustc form, several lines without a final newline.
pub fn render(diagnostic: &Diagnostic, color: bool) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level
        .primary_title(diagnostic.message.as_str())
        .id(diagnostic.code);
    let mut group = Group::with_title(title);
    let mut files: Vec<&Arc<SourceFile>> = Vec::new();
    for label in &diagnostic.labels {
        if !files.iter().any(|file| Arc::ptr_eq(file, &label.file)) {
            files.push(&label.file);
        }
    }
    let primary = diagnostic.labels.first();
    for file in files {
        let mut snippet = Snippet::source(file.text.as_str()).path(file.name.as_str());
        for label in diagnostic
            .labels
            .iter()
            .filter(|label| Arc::ptr_eq(&label.file, file))
        {
            let kind = match primary {
                Some(first) if std::ptr::eq(first, label) => AnnotationKind::Primary,
                _ => AnnotationKind::Context,
            };
            snippet = snippet.annotation(kind.span(visible(label)).label(label.text.as_str()));
        }
        group = group.element(snippet);
    }
    for hint in &diagnostic.hints {
        group = group.element(Level::HELP.message(hint.as_str()));
    }
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    renderer.render(&[group]).to_string()
}

/// Only the first line of a long place is underlined: a whole mapping drawn at the margin hides what matters.
fn visible(label: &Label) -> std::ops::Range<usize> {
    let start = label.file.floor(label.start);
    let end = label.file.floor(label.end.max(start));
    let text = &label.file.text[start..end];
    let first_line = text.lines().next().unwrap_or_default().trim_end();
    start..start + first_line.len()
}

/// `{severity, code, message, labels: [{file, line, column, end_line, end_column, text}], hints}`.
pub fn to_json(diagnostic: &Diagnostic) -> serde_json::Value {
    let labels: Vec<_> = diagnostic
        .labels
        .iter()
        .map(|label| {
            let (line, column) = label.file.position(label.start);
            let (end_line, end_column) = label.file.position(label.end);
            serde_json::json!({
                "file": label.file.name, "line": line, "column": column,
                "end_line": end_line, "end_column": end_column, "text": label.text,
            })
        })
        .collect();
    serde_json::json!({
        "severity": match diagnostic.severity { Severity::Error => "error", Severity::Warning => "warning" },
        "code": diagnostic.code,
        "message": diagnostic.message,
        "labels": labels,
        "hints": diagnostic.hints,
    })
}
