//! Where the phases put what they find. Owns the table of the texts that were read, so that a [`Span`] is four words.
//!
//! Must not know: how diagnostics look.

use std::collections::HashSet;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Label, Severity, SourceFile};

/// A place in one of the texts of a [`Report`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    pub(crate) file: u32,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    pub(crate) fn new(file: u32, start: usize, end: usize) -> Self {
        let narrow = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        Self { file, start: narrow(start), end: narrow(end) }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Report {
    files: Vec<Arc<SourceFile>>,
    diagnostics: Vec<Diagnostic>,
}

impl Report {
    pub(crate) fn add_file(&mut self, name: String, text: String) -> u32 {
        self.files.push(Arc::new(SourceFile { name, text }));
        u32::try_from(self.files.len() - 1).unwrap_or(u32::MAX)
    }

    pub(crate) fn text(&self, file: u32) -> Arc<SourceFile> {
        Arc::clone(&self.files[file as usize])
    }

    /// The text of a place.
    pub(crate) fn label(&self, span: Span, text: impl Into<String>) -> Label {
        Label { file: self.text(span.file), start: span.start as usize, end: span.end as usize, text: text.into() }
    }

    pub(crate) fn error(&mut self, code: &'static str, message: impl Into<String>) -> Entry<'_> {
        self.push(Diagnostic::error(code, message))
    }

    pub(crate) fn warning(&mut self, code: &'static str, message: impl Into<String>) -> Entry<'_> {
        self.push(Diagnostic::warning(code, message))
    }

    fn push(&mut self, diagnostic: Diagnostic) -> Entry<'_> {
        self.diagnostics.push(diagnostic);
        Entry { report: self }
    }

    pub(crate) fn failed(&self) -> bool {
        self.diagnostics.iter().any(|d| d.severity == Severity::Error)
    }

    pub(crate) fn has(&self, code: &str) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.code == code)
    }

    /// Errors, then warnings, each once, by place.
    pub(crate) fn finish(self) -> Vec<Diagnostic> {
        let files = self.files;
        let place = |diagnostic: &Diagnostic| {
            let label = diagnostic.labels.first()?;
            Some((files.iter().position(|file| Arc::ptr_eq(file, &label.file)), label.start))
        };
        let mut diagnostics = self.diagnostics;
        // A value that one phase refused is often refused by a later one, for a lesser reason.
        let mut refused = HashSet::new();
        diagnostics.retain(|diagnostic| match diagnostic.labels.first() {
            Some(label) if matches!(diagnostic.code, "E0007" | "E0009") => {
                refused.insert((Arc::as_ptr(&label.file), label.start, label.end))
            }
            _ => true,
        });
        diagnostics.sort_by_cached_key(|diagnostic| {
            (diagnostic.severity, place(diagnostic), diagnostic.code, diagnostic.message.clone())
        });
        diagnostics.dedup();
        // A variable that is not set is worth one warning, however often it is used.
        let mut unset = HashSet::new();
        diagnostics.retain(|diagnostic| diagnostic.code != "W0002" || unset.insert(diagnostic.message.clone()));
        diagnostics
    }
}

/// The diagnostic that was just reported, open for places and hints.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    report: &'a mut Report,
}

impl Entry<'_> {
    pub(crate) fn at(self, span: Span, text: impl Into<String>) -> Self {
        let label = self.report.label(span, text);
        if let Some(diagnostic) = self.report.diagnostics.last_mut() {
            diagnostic.labels.push(label);
        }
        self
    }

    pub(crate) fn hint(self, text: impl Into<String>) -> Self {
        if let Some(diagnostic) = self.report.diagnostics.last_mut() {
            diagnostic.hints.push(text.into());
        }
        self
    }
}
