//! Physical lines → logical lines: directives, comments, continuations and heredoc bodies.
//!
//! Knows which instructions may have heredocs, and nothing else about them. Every byte of a logical line remembers where
//! it stood in the file.

use super::words;
use crate::diagnostic::{Diagnostic, SourceFile, Span, Spanned};
use crate::lint::Rule;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    pub name: String,
    /// Whether variables in the body are expanded (the name was not quoted).
    pub expand: bool,
    pub content: String,
    pub span: Span,
    /// As written after the digits, for handing the whole to a shell: `<<-"EOF"`.
    pub(crate) marker: String,
    pub(crate) raw: String,
}

#[derive(Debug, Clone)]
pub(crate) struct LogicalLine {
    /// Without continuation characters; starts at the instruction's name.
    pub(crate) text: String,
    /// Where each joined piece begins: offset in `text`, offset in the file.
    pieces: Vec<(usize, usize)>,
    pub(crate) span: Span,
    pub(crate) heredocs: Vec<Heredoc>,
}

impl LogicalLine {
    /// The file's place of a range of `text`.
    pub(crate) fn place(&self, start: usize, end: usize) -> Span {
        let last = end.saturating_sub(1).max(start);
        Span::new(
            self.offset(start),
            self.offset(last) + (end - last.min(end)),
        )
    }

    fn offset(&self, at: usize) -> usize {
        let piece = self
            .pieces
            .partition_point(|(logical, _)| *logical <= at)
            .saturating_sub(1);
        let (logical, physical) = self
            .pieces
            .get(piece)
            .copied()
            .unwrap_or((0, self.span.start));
        physical + (at - logical)
    }

    /// A line for a text that stands nowhere in the file: all of it points at `span`.
    pub(crate) fn synthetic(text: String, heredocs: Vec<Heredoc>, span: Span) -> Self {
        Self {
            text,
            pieces: vec![(0, span.start)],
            span,
            heredocs,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Lines {
    pub(crate) escape: Option<char>,
    pub(crate) syntax: Option<Spanned<String>>,
    pub(crate) check: Option<Spanned<String>>,
    pub(crate) lines: Vec<LogicalLine>,
    pub(crate) problems: Vec<Diagnostic>,
}

impl Lines {
    pub(crate) fn escape(&self) -> char {
        self.escape.unwrap_or('\\')
    }
}

/// One physical line: its text without the line end, and where it starts.
#[derive(Debug, Clone, Copy)]
struct Physical<'a> {
    text: &'a str,
    crlf: bool,
    start: usize,
    /// Of the next line.
    next: usize,
}

pub(crate) fn split(source: &SourceFile) -> Lines {
    let physical = physical_lines(&source.text);
    let mut found = Lines::default();
    let mut at = directives(&physical, &mut found);
    while let Some(line) = physical.get(at) {
        let trimmed = line.text.trim_start();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            at += 1;
            continue;
        }
        let (mut logical, after) = join(&physical, at, found.escape(), &mut found.problems);
        at = heredocs(
            &physical,
            after,
            &mut logical,
            found.escape(),
            &mut found.problems,
        );
        if !logical.text.trim().is_empty() {
            found.lines.push(logical);
        }
    }
    found
}

fn physical_lines(text: &str) -> Vec<Physical<'_>> {
    let mut lines = Vec::new();
    // A byte order mark is not part of the first instruction.
    let mut start = if text.starts_with('\u{feff}') { 3 } else { 0 };
    while start < text.len() {
        let end = text[start..]
            .find('\n')
            .map_or(text.len(), |newline| start + newline);
        let whole = &text[start..end];
        let line = whole.strip_suffix('\r').unwrap_or(whole);
        let next = (end + 1).min(text.len());
        lines.push(Physical {
            text: line,
            crlf: line.len() < whole.len(),
            start,
            next,
        });
        start = end + 1;
    }
    lines
}

/// `# name=value` lines at the very top. Returns the first line that is none.
fn directives(physical: &[Physical<'_>], found: &mut Lines) -> usize {
    let mut seen: Vec<String> = Vec::new();
    for (index, line) in physical.iter().enumerate() {
        let Some(comment) = line.text.trim_start().strip_prefix('#') else {
            return index;
        };
        let Some((name, value)) = comment.split_once('=') else {
            return index;
        };
        let (name, value) = (name.trim().to_lowercase(), value.trim());
        if !matches!(name.as_str(), "syntax" | "escape" | "check") {
            return index;
        }
        let span = Span::new(line.start, line.start + line.text.len());
        if seen.contains(&name) {
            found.problems.push(Diagnostic::error(
                span,
                format!("directive {name} is given twice"),
            ));
        }
        match name.as_str() {
            "escape" => match value {
                "\\" => found.escape = Some('\\'),
                "`" => found.escape = Some('`'),
                other => {
                    let message = format!("invalid escape character {other:?}");
                    found
                        .problems
                        .push(Diagnostic::error(span, message).hint("it must be ` or \\"));
                }
            },
            "syntax" => {
                found.syntax = Some(Spanned {
                    value: value.to_owned(),
                    span,
                })
            }
            _ => {
                found.check = Some(Spanned {
                    value: value.to_owned(),
                    span,
                })
            }
        }
        seen.push(name);
    }
    physical.len()
}

/// Joins a line with those that continue it. Comments and empty lines in between belong to nothing.
fn join(
    physical: &[Physical<'_>],
    first: usize,
    escape: char,
    problems: &mut Vec<Diagnostic>,
) -> (LogicalLine, usize) {
    let indent = physical[first].text.len() - physical[first].text.trim_start().len();
    let start = physical[first].start + indent;
    let mut line = LogicalLine {
        text: String::new(),
        pieces: Vec::new(),
        span: Span::new(start, start),
        heredocs: Vec::new(),
    };
    let mut at = first;
    let mut empty_inside: Option<Span> = None;
    while let Some(piece) = physical.get(at) {
        let skip = if at == first { indent } else { 0 };
        let text = &piece.text[skip..];
        let trimmed = text.trim_start();
        at += 1;
        if at > first + 1 && trimmed.starts_with('#') {
            continue;
        }
        if at > first + 1 && trimmed.is_empty() {
            empty_inside.get_or_insert(Span::new(piece.start, piece.start));
            continue;
        }
        line.pieces.push((line.text.len(), piece.start + skip));
        let continued = without_continuation(text, escape);
        line.text.push_str(continued.unwrap_or(text));
        line.span.end = piece.start + skip + text.trim_end().len();
        if continued.is_none() {
            break;
        }
    }
    if let Some(span) = empty_inside {
        problems.push(
            Diagnostic::lint(
                Rule::NoEmptyContinuation,
                span,
                "empty line inside a continued instruction",
            )
            .hint("put a # on the line, or remove it: the instruction goes on after it"),
        );
    }
    (line, at)
}

/// The text before a continuation character at the end of the line. A doubled one does not continue.
fn without_continuation(text: &str, escape: char) -> Option<&str> {
    let before = text.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    (!before.ends_with(escape)).then_some(before)
}

/// Reads the bodies of the heredocs that the line announces.
fn heredocs(
    physical: &[Physical<'_>],
    mut at: usize,
    line: &mut LogicalLine,
    escape: char,
    problems: &mut Vec<Diagnostic>,
) -> usize {
    if !may_have_heredocs(&line.text) {
        return at;
    }
    for word in words::shell_words(&line.text, escape) {
        let Some(marker) = words::heredoc_marker(&word.text, escape) else {
            continue;
        };
        let first = physical.get(at).map_or(line.span.end, |body| body.start);
        let mut heredoc = Heredoc {
            name: marker.name,
            expand: marker.expand,
            content: String::new(),
            span: Span::new(first, first),
            marker: marker.text,
            raw: String::new(),
        };
        let mut closed = false;
        while let Some(body) = physical.get(at) {
            at += 1;
            let text = if marker.strip_tabs {
                body.text.trim_start_matches('\t')
            } else {
                body.text
            };
            if text == heredoc.name {
                closed = true;
                break;
            }
            // Line ends are part of a body, as they are.
            let end = if body.crlf { "\r\n" } else { "\n" };
            heredoc.content.extend([text, end]);
            heredoc.raw.extend([body.text, end]);
            heredoc.span.end = body.next;
        }
        if !closed {
            let span = line.place(word.start, word.end);
            let message = format!("heredoc {} is not terminated", heredoc.name);
            problems.push(
                Diagnostic::error(span, message)
                    .hint(format!("end it with a line {}", heredoc.name)),
            );
        }
        line.heredocs.push(heredoc);
    }
    at
}

fn may_have_heredocs(text: &str) -> bool {
    let mut words = text.split_whitespace().map(str::to_uppercase);
    let first = words.next();
    let instruction = if first.as_deref() == Some("ONBUILD") {
        words.next()
    } else {
        first
    };
    matches!(instruction.as_deref(), Some("RUN" | "COPY" | "ADD"))
}
