//! `$VAR` and `${VAR…}` inside values: every operator, nested and lazy defaults, `$$`.
//!
//! Must not know: where variables come from, or what a value means.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::node::{Data, Node};
use crate::report::{Report, Span, Used, shortened};
use crate::size::{Budget, Exceeded};

/// Nesting of `${A:-${B:-…}}` that is still believed to be meant.
const MAX_NESTING: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    #[error("invalid template `{0}`")]
    Invalid(String),
    #[error("variables are nested more than {MAX_NESTING} deep")]
    Nesting,
    #[error(transparent)]
    Exceeded(#[from] Exceeded),
    #[error("required variable `{name}` is missing a value{}{message}", if .message.is_empty() { "" } else { ": " })]
    Required { name: String, message: String },
}

impl TemplateError {
    /// In an env file.
    pub(crate) fn code(&self) -> &'static str {
        if matches!(self, Self::Exceeded(_)) {
            "E0028"
        } else {
            "E0013"
        }
    }
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
    budget: &Budget,
) -> Result<String, TemplateError> {
    Expansion {
        lookup,
        missing,
        budget,
    }
    .text(text, 0)
}

struct Expansion<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    missing: &'a mut dyn FnMut(Missing<'_>),
    budget: &'a Budget,
}

impl Expansion<'_> {
    fn text(&mut self, text: &str, depth: usize) -> Result<String, TemplateError> {
        if depth > MAX_NESTING {
            return Err(TemplateError::Nesting);
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
                let end = closing(body).ok_or_else(|| invalid(&rest[dollar..]))?;
                output.push_str(&self.braced(&body[..end], depth)?);
                rest = &body[end + 1..];
            } else {
                let name = name_prefix(after);
                if name.is_empty() {
                    output.push('$');
                } else {
                    output.push_str(&self.plain(name)?);
                }
                rest = &after[name.len()..];
            }
        }
        output.push_str(rest);
        Ok(output)
    }

    fn value(&self, name: &str) -> Result<Option<String>, Exceeded> {
        let value = (self.lookup)(name);
        self.budget.spend(value.as_ref().map_or(0, String::len))?;
        Ok(value)
    }

    fn plain(&mut self, name: &str) -> Result<String, TemplateError> {
        let value = self.value(name)?;
        Ok(value.unwrap_or_else(|| {
            (self.missing)(Missing::Unset(name));
            String::new()
        }))
    }

    /// The content of `${…}`.
    fn braced(&mut self, body: &str, depth: usize) -> Result<String, TemplateError> {
        let name = name_prefix(body);
        let rest = &body[name.len()..];
        let wrong = || invalid(&format!("${{{body}}}"));
        if name.is_empty() {
            return Err(wrong());
        }
        if rest.is_empty() {
            return self.plain(name);
        }
        let (empty_counts, operator) = match rest.strip_prefix(':') {
            Some(operator) => (true, operator),
            None => (false, rest),
        };
        let value = self
            .value(name)?
            .filter(|value| !(empty_counts && value.is_empty()));
        match (operator.chars().next(), value) {
            (Some('-' | '?'), Some(value)) => Ok(value),
            (Some('-'), None) => {
                let default = self.text(&operator[1..], depth + 1)?;
                // It is remembered.
                self.budget.spend(default.len())?;
                (self.missing)(Missing::Default(name, &default));
                Ok(default)
            }
            (Some('+'), Some(_)) => self.text(&operator[1..], depth + 1),
            (Some('+'), None) => Ok(String::new()),
            (Some('?'), None) => {
                let message = self.text(&operator[1..], depth + 1)?;
                Err(TemplateError::Required {
                    name: name.to_owned(),
                    message,
                })
            }
            _ => Err(wrong()),
        }
    }
}

/// An invalid template; of a long one, its beginning.
fn invalid(text: &str) -> TemplateError {
    TemplateError::Invalid(shortened(text))
}

fn name_prefix(text: &str) -> &str {
    let first = text
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(text.len());
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
    let span = node.span;
    match &mut node.data {
        Data::Str(text) if text.contains('$') => {
            if let Some(expanded) = noted(text, span, lookup, report) {
                *text = expanded;
            }
        }
        Data::Seq(items) => items.iter_mut().for_each(|item| tree(item, lookup, report)),
        Data::Map(map) => map
            .0
            .iter_mut()
            .for_each(|entry| tree(&mut entry.value, lookup, report)),
        _ => {}
    }
}

/// The same for a document; what is said about the variables of a service is known as such.
pub(crate) fn document(
    node: &mut Node,
    lookup: &dyn Fn(&str) -> Option<String>,
    report: &mut Report,
) {
    let services = node
        .at(&["services"])
        .and_then(Node::as_map)
        .map(|map| map.0.as_slice())
        .unwrap_or_default();
    // Of services that others draw from, nothing is known before these have.
    if services
        .iter()
        .any(|entry| entry.value.at(&["extends"]).is_some())
    {
        return tree(node, lookup, report);
    }
    for entry in node.as_map_mut().into_iter().flat_map(|map| &mut map.0) {
        match entry.value.as_map_mut() {
            Some(services) if entry.key == "services" => {
                for service in &mut services.0 {
                    let mark = report.mark();
                    tree(&mut service.value, lookup, report);
                    report.about_service(&service.key, mark);
                }
            }
            _ => tree(&mut entry.value, lookup, report),
        }
    }
}

/// A text with its variables replaced; says which they were, and what is wrong with them.
fn noted(
    text: &str,
    span: Span,
    lookup: &dyn Fn(&str) -> Option<String>,
    report: &mut Report,
) -> Option<String> {
    let places = places(span, report);
    let of = |name: &str| places.get(name).cloned().unwrap_or_default();
    let mut unset = BTreeSet::new();
    let used = RefCell::new(BTreeMap::<String, Used>::new());
    let remembered = |name: &str| {
        let value = lookup(name);
        let first = || Used {
            name: name.to_owned(),
            value: value.clone(),
            default: None,
            places: of(name),
        };
        used.borrow_mut()
            .entry(name.to_owned())
            .or_insert_with(first);
        value
    };
    let mut missing = |missing: Missing<'_>| match missing {
        Missing::Unset(name) => {
            unset.insert(name.to_owned());
        }
        Missing::Default(name, default) => {
            if let Some(used) = used.borrow_mut().get_mut(name) {
                used.default = Some(default.to_owned());
            }
        }
    };
    let expanded = expand(text, &remembered, &mut missing, &report.budget);
    report
        .variables
        .used(span, used.into_inner().into_values().collect());
    let place = |name: &str| of(name).first().copied().unwrap_or(span);
    for name in unset {
        let _ = report
            .warning(
                "W0002",
                format!("the variable `{name}` is not set; it becomes an empty string"),
            )
            .at(place(&name), "used here")
            .hint(format!(
                "set it, or write ${{{name}:-}} for nothing, or $$ for a dollar sign"
            ));
    }
    match expanded {
        Ok(expanded) => Some(expanded),
        Err(TemplateError::Required { .. }) if report.forgiving => Some(String::new()),
        Err(error) => {
            template_error(error, text, (span, &place), report);
            None
        }
    }
}

fn template_error(
    error: TemplateError,
    text: &str,
    at: (Span, &dyn Fn(&str) -> Span),
    report: &mut Report,
) {
    let (span, place) = at;
    let message = error.to_string();
    match error {
        TemplateError::Required { name, .. } => {
            let _ = report
                .error("E0011", message)
                .at(place(&name), "required here")
                .hint(format!("set {name} in the environment or in .env"));
        }
        TemplateError::Invalid(_) => {
            let _ = report
                .error("E0010", format!("{message} in `{}`", shortened(text)))
                .at(span, "a variable is written $NAME or ${NAME}")
                .hint("write $$ for a dollar sign that is meant literally");
        }
        TemplateError::Nesting => {
            let _ = report
                .error("E0010", message)
                .at(span, "a default in a default in a default …");
        }
        TemplateError::Exceeded(exceeded) => report.exceeded(exceeded, span),
    }
}

/// Where the variables of a value are named in its file, as far as the text shows it.
fn places(span: Span, report: &Report) -> HashMap<String, Vec<Span>> {
    let source = report.written(span);
    let start = span.start as usize;
    let mut found: HashMap<String, Vec<Span>> = HashMap::new();
    for (dollar, _) in source.match_indices('$') {
        let brace = usize::from(source[dollar + 1..].starts_with('{'));
        let at = dollar + 1 + brace;
        let name = name_prefix(&source[at..]);
        if !name.is_empty() {
            let place = Span::new(span.file, start + at, start + at + name.len());
            found.entry(name.to_owned()).or_default().push(place);
        }
    }
    found
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
        Data::Map(map) => map
            .0
            .iter()
            .for_each(|entry| references(&entry.value, found)),
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
            .or_insert_with(|| VariableReference {
                name: name.to_owned(),
                ..VariableReference::default()
            });
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
