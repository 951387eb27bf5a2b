//! `$VAR` and `${VAR…}` inside values: every operator, nested and lazy defaults, `$$`.
//!
//! Must not know: where variables come from, or what a value means.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::node::{Data, Node};
use crate::report::{Report, Span, Used};

/// Nesting of `${A:-${B:-…}}` that is still believed to be meant.
const MAX_NESTING: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    #[error("invalid template `{0}`")]
    Invalid(String),
    #[error("required variable `{name}` is missing a value{}{message}", if .message.is_empty() { "" } else { ": " })]
    Required { name: String, message: String },
}

/// What there is to say about a variable without a value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Missing<'a> {
    /// Nothing took its place.
    Unset(&'a str),
    /// Its default did.
    Default(&'a str, &'a str),
}

/// Replaces the variables of a text. `missing` hears of every variable that had no value.
pub(crate) fn expand(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    missing: &mut dyn FnMut(Missing<'_>),
) -> Result<String, TemplateError> {
    expand_nested(text, lookup, missing, 0)
}

fn expand_nested(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    missing: &mut dyn FnMut(Missing<'_>),
    depth: usize,
) -> Result<String, TemplateError> {
    if depth > MAX_NESTING {
        return Err(TemplateError::Invalid(text.to_owned()));
    }
    let mut output = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        output.push_str(&rest[..dollar]);
        let after = &rest[dollar + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            output.push('$');
            rest = tail;
        } else if let Some(body) = after.strip_prefix('{') {
            let end = closing(body).ok_or_else(|| TemplateError::Invalid(rest[dollar..].to_owned()))?;
            output.push_str(&braced(&body[..end], lookup, missing, depth)?);
            rest = &body[end + 1..];
        } else {
            let name = name_prefix(after);
            if name.is_empty() {
                output.push('$');
            } else {
                output.push_str(&plain(name, lookup, missing));
            }
            rest = &after[name.len()..];
        }
    }
    output.push_str(rest);
    Ok(output)
}

fn plain(name: &str, lookup: &dyn Fn(&str) -> Option<String>, missing: &mut dyn FnMut(Missing<'_>)) -> String {
    lookup(name).unwrap_or_else(|| {
        missing(Missing::Unset(name));
        String::new()
    })
}

/// The content of `${…}`.
fn braced(
    body: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    missing: &mut dyn FnMut(Missing<'_>),
    depth: usize,
) -> Result<String, TemplateError> {
    let name = name_prefix(body);
    let rest = &body[name.len()..];
    if name.is_empty() {
        return Err(TemplateError::Invalid(format!("${{{body}}}")));
    }
    if rest.is_empty() {
        return Ok(plain(name, lookup, missing));
    }
    let (empty_counts, operator) = match rest.strip_prefix(':') {
        Some(operator) => (true, operator),
        None => (false, rest),
    };
    let value = lookup(name).filter(|value| !(empty_counts && value.is_empty()));
    let mut nested = |text: &str| expand_nested(text, lookup, missing, depth + 1);
    match (operator.chars().next(), value) {
        (Some('-'), Some(value)) => Ok(value),
        (Some('-'), None) => {
            let default = nested(&operator[1..])?;
            missing(Missing::Default(name, &default));
            Ok(default)
        }
        (Some('+'), Some(_)) => nested(&operator[1..]),
        (Some('+'), None) => Ok(String::new()),
        (Some('?'), Some(value)) => Ok(value),
        (Some('?'), None) => Err(TemplateError::Required { name: name.to_owned(), message: nested(&operator[1..])? }),
        _ => Err(TemplateError::Invalid(format!("${{{body}}}"))),
    }
}

fn name_prefix(text: &str) -> &str {
    let first = text.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
    if first { &text[..end] } else { "" }
}

/// The offset of the `}` that closes a `${` whose content this is. Braces that open in between must close too.
fn closing(body: &str) -> Option<usize> {
    let mut open = 0usize;
    for (offset, c) in body.char_indices() {
        match c {
            '{' => open += 1,
            '}' if open == 0 => return Some(offset),
            '}' => open -= 1,
            _ => {}
        }
    }
    None
}

/// Replaces the variables in every string of a tree. Keys stay as they are.
pub(crate) fn tree(node: &mut Node, lookup: &dyn Fn(&str) -> Option<String>, report: &mut Report) {
    match &mut node.data {
        Data::Str(text) if text.contains('$') => {
            let mut unset = Vec::new();
            let used = RefCell::new(Vec::<Used>::new());
            let remembered = |name: &str| {
                let value = lookup(name);
                let places = variable_places(node.span, name, report);
                used.borrow_mut().push(Used { name: name.to_owned(), value: value.clone(), default: None, places });
                value
            };
            let expanded = expand(text, &remembered, &mut |missing| match missing {
                Missing::Unset(name) => unset.push(name.to_owned()),
                Missing::Default(name, default) => {
                    if let Some(used) = used.borrow_mut().iter_mut().rev().find(|used| used.name == name) {
                        used.default = Some(default.to_owned());
                    }
                }
            });
            report.variables.used(node.span, used.into_inner());
            match expanded {
                Ok(expanded) => *text = expanded,
                Err(error) => template_error(&error, text, node.span, report),
            }
            for name in unset {
                let place = variable_span(node.span, &name, report);
                let _ = report
                    .warning("W0002", format!("the variable `{name}` is not set; it becomes an empty string"))
                    .at(place, "used here")
                    .hint(format!("set it, or write ${{{name}:-}} for nothing, or $$ for a dollar sign"));
            }
        }
        Data::Seq(items) => items.iter_mut().for_each(|item| tree(item, lookup, report)),
        Data::Map(map) => map.0.iter_mut().for_each(|entry| tree(&mut entry.value, lookup, report)),
        _ => {}
    }
}

fn template_error(error: &TemplateError, text: &str, span: Span, report: &mut Report) {
    match error {
        TemplateError::Required { name, .. } => {
            let place = variable_span(span, name, report);
            let _ = report
                .error("E0011", error.to_string())
                .at(place, "required here")
                .hint(format!("set {name} in the environment or in .env"));
        }
        TemplateError::Invalid(_) => {
            let _ = report
                .error("E0010", format!("{error} in `{text}`"))
                .at(span, "a variable is written $NAME or ${NAME}")
                .hint("write $$ for a dollar sign that is meant literally");
        }
    }
}

/// Where a variable is named inside a value; the value, when the text does not show it.
fn variable_span(span: Span, name: &str, report: &Report) -> Span {
    variable_places(span, name, report).first().copied().unwrap_or(span)
}

fn variable_places(span: Span, name: &str, report: &Report) -> Vec<Span> {
    let source = report.written(span);
    let named = source.match_indices(name).filter(|(offset, _)| {
        let (before, tail) = (&source[..*offset], &source[offset + name.len()..]);
        (before.ends_with('$') || before.ends_with("${"))
            && !tail.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
    });
    let start = span.start as usize;
    named.map(|(offset, _)| Span::new(span.file, start + offset, start + offset + name.len())).collect()
}

/// A variable that a value refers to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VariableReference {
    pub name: String,
    /// `${NAME:?}` somewhere.
    pub required: bool,
    /// Of `${NAME:-default}`, variables in it as they are written.
    pub default: String,
    /// Of `${NAME:+alternate}`.
    pub alternate: String,
}

/// Collects the variables of every string in a tree.
pub(crate) fn references(node: &Node, found: &mut BTreeMap<String, VariableReference>) {
    match &node.data {
        Data::Str(text) => text_references(text, found, 0),
        Data::Seq(items) => items.iter().for_each(|item| references(item, found)),
        Data::Map(map) => map.0.iter().for_each(|entry| references(&entry.value, found)),
        _ => {}
    }
}

fn text_references(text: &str, found: &mut BTreeMap<String, VariableReference>, depth: usize) {
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        let after = &rest[dollar + 1..];
        let (body, next) = match after.chars().next() {
            Some('$') => ("", &after[1..]),
            Some('{') => match closing(&after[1..]) {
                Some(end) => (&after[1..=end], &after[end + 2..]),
                None => return,
            },
            _ => (name_prefix(after), &after[name_prefix(after).len()..]),
        };
        rest = next;
        let name = name_prefix(body);
        if name.is_empty() {
            continue;
        }
        let reference = found
            .entry(name.to_owned())
            .or_insert_with(|| VariableReference { name: name.to_owned(), ..VariableReference::default() });
        let operator = body[name.len()..].trim_start_matches(':');
        let operand = operator.get(1..).unwrap_or_default();
        match operator.chars().next() {
            Some('?') => reference.required = true,
            Some('-') => operand.clone_into(&mut reference.default),
            Some('+') => operand.clone_into(&mut reference.alternate),
            _ => {}
        }
        if depth < MAX_NESTING {
            text_references(operand, found, depth + 1);
        }
    }
}
