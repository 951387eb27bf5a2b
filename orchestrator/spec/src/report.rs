//! Where the phases put what they find. Owns the table of the texts that were read, so that a [`Span`] is four words.
//!
//! Must not know: how diagnostics look.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Label, Severity, SourceFile};
use crate::size::{Budget, Exceeded};

/// A place in one of the texts of a [`Report`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Span {
    pub(crate) file: u32,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    pub(crate) fn new(file: u32, start: usize, end: usize) -> Self {
        let narrow = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        Self {
            file,
            start: narrow(start),
            end: narrow(end),
        }
    }

    fn contains(self, part: Self) -> bool {
        self.file == part.file && self.start <= part.start && part.end <= self.end
    }
}

#[derive(Debug, Default)]
pub(crate) struct Report {
    files: Vec<Arc<SourceFile>>,
    diagnostics: Vec<Diagnostic>,
    pub(crate) variables: VariablePlaces,
    /// What the files may come to.
    pub(crate) budget: Budget,
    /// What only containers need may be missing; see `LoadRequest::nothing_is_made`.
    pub(crate) forgiving: bool,
    /// Which diagnostics are about the variables of one service: the numbers of the first and of the one after the last.
    services: Vec<(String, usize, usize)>,
    /// Variables were left in the text, so values that have one are taken on trust.
    pub(crate) lenient: bool,
    /// Of files that another file named: where, and as what.
    origins: HashMap<u32, (Span, &'static str)>,
}

/// Which variables the values of the files took part of their text from, and where those were set.
#[derive(Debug, Default, Clone)]
pub(crate) struct VariablePlaces {
    /// Names that the caller's environment sets: it wins over every file.
    pub(crate) outside: HashSet<String>,
    /// By name: values with the places in env files that set them, in the order in which they were read.
    set: HashMap<String, Vec<(String, Span)>>,
    /// By file and start: values with variables in them.
    used: BTreeMap<(u32, u32), (Span, Vec<Used>)>,
}

/// A variable in a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) name: String,
    /// `None`: not set.
    pub(crate) value: Option<String>,
    /// What took the place of a value that is not there.
    pub(crate) default: Option<String>,
    /// Where it is named; nowhere, if the text does not show it.
    pub(crate) places: Vec<Span>,
}

impl VariablePlaces {
    pub(crate) fn set(&mut self, name: &str, value: &str, place: Span) {
        self.set
            .entry(name.to_owned())
            .or_default()
            .push((value.to_owned(), place));
    }

    pub(crate) fn used(&mut self, at: Span, variables: Vec<Used>) {
        self.used.insert((at.file, at.start), (at, variables));
    }

    /// The variables in a value, or in a part of one.
    pub(crate) fn of(&self, part: Span) -> impl Iterator<Item = &Used> {
        let before = self.used.range(..=(part.file, part.start)).next_back();
        let around = before
            .map(|(_, found)| found)
            .filter(|(whole, _)| whole.contains(part));
        around.into_iter().flat_map(move |(whole, used)| {
            used.iter().filter(move |used| {
                part == *whole
                    || used.places.is_empty()
                    || used.places.iter().any(|place| part.contains(*place))
            })
        })
    }

    /// The place in an env file that gave the variable this value; `None`: the environment, or nothing did.
    pub(crate) fn place(&self, name: &str, value: &str) -> Option<Span> {
        if self.outside.contains(name) {
            return None;
        }
        self.set
            .get(name)?
            .iter()
            .rev()
            .find(|(known, _)| known == value)
            .map(|(_, span)| *span)
    }

    /// Everything that env files say about a variable.
    pub(crate) fn settings(&self, name: &str) -> impl Iterator<Item = &(String, Span)> {
        self.set.get(name).into_iter().flatten()
    }
}

impl Report {
    pub(crate) fn add_file(&mut self, name: String, text: String) -> u32 {
        self.files.push(Arc::new(SourceFile { name, text }));
        u32::try_from(self.files.len() - 1).unwrap_or(u32::MAX)
    }

    pub(crate) fn files(&self) -> &[Arc<SourceFile>] {
        &self.files
    }

    pub(crate) fn text(&self, file: u32) -> Arc<SourceFile> {
        Arc::clone(&self.files[file as usize])
    }

    /// A value as it stands in its file.
    pub(crate) fn written(&self, span: Span) -> String {
        let text = self
            .files
            .get(span.file as usize)
            .and_then(|f| f.text.get(span.start as usize..span.end as usize));
        text.unwrap_or_default().to_owned()
    }

    /// Says which place led to a file being read.
    pub(crate) fn led_to(&mut self, file: u32, from: Span, how: &'static str) {
        self.origins.insert(file, (from, how));
    }

    /// Whether a text is taken on trust.
    pub(crate) fn trusts(&self, text: &str) -> bool {
        self.lenient && text.contains('$')
    }

    /// The text of a place.
    pub(crate) fn label(&self, span: Span, text: impl Into<String>) -> Label {
        Label {
            file: self.text(span.file),
            start: span.start as usize,
            end: span.end as usize,
            text: text.into(),
        }
    }

    pub(crate) fn error(&mut self, code: &'static str, message: impl Into<String>) -> Entry<'_> {
        self.push(Diagnostic::error(code, message))
    }

    pub(crate) fn warning(&mut self, code: &'static str, message: impl Into<String>) -> Entry<'_> {
        self.push(Diagnostic::warning(code, message))
    }

    /// Takes what a place makes of the budget; `false`: there was not enough left, which is reported once.
    pub(crate) fn spend(&mut self, bytes: usize, at: Span) -> bool {
        let Err(exceeded) = self.budget.spend(bytes) else {
            return true;
        };
        self.exceeded(exceeded, at);
        false
    }

    /// Whether there is no use in going on to make things.
    pub(crate) fn exhausted(&self) -> bool {
        self.budget.spend(0).is_err()
    }

    pub(crate) fn exceeded(&mut self, exceeded: Exceeded, at: Span) {
        if !self.has("E0028") {
            let entry = self
                .error("E0028", exceeded.to_string())
                .at(at, "this is more than was left");
            let _ = entry.hint("look for variables, aliases or `extends` that multiply each other");
        }
    }

    fn push(&mut self, diagnostic: Diagnostic) -> Entry<'_> {
        self.diagnostics.push(diagnostic);
        Entry { report: self }
    }

    /// How many diagnostics there are, for [`Self::forget`] and [`Self::about_service`].
    pub(crate) fn mark(&self) -> usize {
        self.diagnostics.len()
    }

    /// Drops the diagnostics reported since the mark.
    pub(crate) fn forget(&mut self, mark: usize) {
        self.diagnostics.truncate(mark);
    }

    /// Marks the diagnostics since the mark as being about the variables of one service.
    pub(crate) fn about_service(&mut self, service: &str, mark: usize) {
        if mark < self.diagnostics.len() {
            self.services
                .push((service.to_owned(), mark, self.diagnostics.len()));
        }
    }

    /// Takes back what keeps containers from being made, where it is known which services there are.
    pub(crate) fn forgive(&mut self) {
        const FORGIVEN: [&str; 13] = [
            "E0006", "E0007", "E0008", "E0009", "E0010", "E0011", "E0016", "E0017", "E0018",
            "E0019", "E0020", "E0024", "E0026",
        ];
        self.diagnostics
            .retain(|diagnostic| !FORGIVEN.contains(&diagnostic.code));
    }

    /// Drops diagnostics about variables of unselected services.
    pub(crate) fn forget_others(&mut self, requested: &BTreeSet<String>) {
        let others: Vec<_> = self
            .services
            .drain(..)
            .filter(|(service, ..)| !requested.contains(service))
            .collect();
        let mut number = 0..;
        self.diagnostics.retain(|diagnostic| {
            let number = number.next().unwrap_or(usize::MAX);
            let other = others
                .iter()
                .any(|(_, first, end)| (*first..*end).contains(&number));
            !(other && matches!(diagnostic.code, "E0011" | "W0002"))
        });
    }

    pub(crate) fn failed(&self) -> bool {
        self.diagnostics
            .iter()
            .any(|d| d.severity == Severity::Error)
    }

    pub(crate) fn has(&self, code: &str) -> bool {
        self.diagnostics
            .iter()
            .any(|diagnostic| diagnostic.code == code)
    }

    /// A value that is wrong may be so because of a variable in it, which then is a place to look at, too.
    fn point_to_variables(&mut self, index: usize) {
        let diagnostic = &self.diagnostics[index];
        // These are about a variable themselves.
        if matches!(diagnostic.code, "E0010" | "E0011" | "W0002") {
            return;
        }
        let Some(first) = diagnostic.labels.first() else {
            return;
        };
        let Some(file) = self
            .files
            .iter()
            .position(|file| Arc::ptr_eq(file, &first.file))
        else {
            return;
        };
        let span = Span::new(
            u32::try_from(file).unwrap_or(u32::MAX),
            first.start,
            first.end,
        );
        let used: Vec<Used> = self.variables.of(span).cloned().collect();
        for Used {
            name,
            value,
            default,
            ..
        } in used
        {
            let place = value
                .as_ref()
                .and_then(|value| self.variables.place(&name, value));
            let label = place.map(|place| self.label(place, format!("`{name}` is set here")));
            let diagnostic = &mut self.diagnostics[index];
            match (label, value) {
                (Some(label), _) => diagnostic.labels.push(label),
                (None, Some(value)) => {
                    let value = shortened(&value);
                    diagnostic.hints.push(format!(
                        "the variable `{name}` is `{value}`, from the environment"
                    ));
                }
                (None, None) => diagnostic.hints.push(match default {
                    Some(default) => {
                        let default = shortened(&default);
                        format!(
                            "the variable `{name}` is not set, so its default `{default}` is taken"
                        )
                    }
                    None => format!("the variable `{name}` is not set"),
                }),
            }
        }
    }

    /// What is wrong in a file that another one drew in is easier to understand with the place that did.
    fn point_to_origin(&mut self, index: usize) {
        let diagnostic = &self.diagnostics[index];
        let number = |label: &Label| {
            self.files
                .iter()
                .position(|file| Arc::ptr_eq(file, &label.file))
        };
        let Some(file) = diagnostic
            .labels
            .first()
            .and_then(number)
            .and_then(|file| u32::try_from(file).ok())
        else {
            return;
        };
        let Some((from, how)) = self.origins.get(&file).copied() else {
            return;
        };
        let label = self.label(from, how);
        let shown = diagnostic
            .labels
            .iter()
            .any(|other| Arc::ptr_eq(&other.file, &label.file));
        if !shown {
            self.diagnostics[index].labels.push(label);
        }
    }

    /// Warnings, then errors, each once, sorted by place: the errors are read last.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        for index in 0..self.diagnostics.len() {
            self.point_to_variables(index);
            self.point_to_origin(index);
        }
        let files = self.files;
        let place = |diagnostic: &Diagnostic| {
            let label = diagnostic.labels.first()?;
            Some((
                files.iter().position(|file| Arc::ptr_eq(file, &label.file)),
                label.start,
            ))
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
            (
                Reverse(diagnostic.severity),
                place(diagnostic),
                diagnostic.code,
                diagnostic.message.clone(),
            )
        });
        diagnostics.dedup();
        // A variable that is not set is worth one warning, however often it is used.
        let mut unset = HashSet::new();
        diagnostics.retain(|diagnostic| {
            diagnostic.code != "W0002" || unset.insert(diagnostic.message.clone())
        });
        if self.forgiving {
            diagnostics.retain(|diagnostic| diagnostic.severity == Severity::Error);
        }
        diagnostics
    }
}

/// Of a long text, its beginning.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
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
