//! The tree of a stack file between text and model: every value with its place. Phases turn trees into trees.
//!
//! Must not know: YAML's notation, or what a key means.

use crate::report::Span;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) tag: Option<Tag>,
    pub(crate) origin: ValueOrigin,
    /// What stood here before another file or service put this over it. Under a mapping: the entries that a
    /// [`Tag::Reset`] took out of it.
    pub(crate) earlier: Option<Box<Self>>,
    pub(crate) data: Data,
}

/// How a value came to its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum ValueOrigin {
    /// The first stack file says so.
    #[default]
    File,
    /// A later stack file, or a later document of the first.
    Override,
    Include,
    Extends,
    EnvFile,
    LabelFile,
    /// A key without a value: the variable of this name.
    Variable,
    /// Nobody said anything.
    Default,
}

/// The two tags that Compose gives a meaning when files are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tag {
    Reset,
    Override,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Data {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    Seq(Vec<Node>),
    Map(Map),
}

/// Entries in the order of the file. Keys are unique.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Map(pub(crate) Vec<Entry>);

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Span,
    pub(crate) value: Node,
}

impl Node {
    pub(crate) fn new(span: Span, data: Data) -> Self {
        Self {
            span,
            tag: None,
            origin: ValueOrigin::File,
            earlier: None,
            data,
        }
    }

    /// Says how this and everything in it came here, where nothing else is known.
    pub(crate) fn mark(&mut self, origin: ValueOrigin) {
        if self.origin == ValueOrigin::File {
            self.origin = origin;
        }
        if let Some(earlier) = &mut self.earlier {
            earlier.mark(origin);
        }
        match &mut self.data {
            Data::Seq(items) => items.iter_mut().for_each(|item| item.mark(origin)),
            Data::Map(map) => map.0.iter_mut().for_each(|entry| entry.value.mark(origin)),
            _ => {}
        }
    }

    /// This value over another one, which is remembered.
    pub(crate) fn over(mut self, below: Self) -> Self {
        let mut last = &mut self.earlier;
        while let Some(node) = last {
            last = &mut node.earlier;
        }
        *last = Some(Box::new(below));
        self
    }

    pub(crate) fn string(span: Span, text: impl Into<String>) -> Self {
        Self::new(span, Data::Str(text.into()))
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match &self.data {
            Data::Str(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn as_map(&self) -> Option<&Map> {
        match &self.data {
            Data::Map(map) => Some(map),
            _ => None,
        }
    }

    pub(crate) fn as_map_mut(&mut self) -> Option<&mut Map> {
        match &mut self.data {
            Data::Map(map) => Some(map),
            _ => None,
        }
    }

    pub(crate) fn as_seq(&self) -> Option<&[Self]> {
        match &self.data {
            Data::Seq(items) => Some(items),
            _ => None,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.data, Data::Null)
    }

    pub(crate) fn as_bool(&self) -> Option<bool> {
        match self.data {
            Data::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// The value at a path of keys.
    pub(crate) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter()
            .try_fold(self, |node, key| node.as_map()?.get(key))
    }

    /// A scalar as text, in the way the reference loader prints it; `None` for null and collections.
    pub(crate) fn scalar_text(&self) -> Option<String> {
        match &self.data {
            Data::Bool(value) => Some(value.to_string()),
            Data::Int(value) => Some(value.to_string()),
            Data::Float(value) => Some(float_text(*value)),
            Data::Str(text) => Some(text.clone()),
            Data::Null | Data::Seq(_) | Data::Map(_) => None,
        }
    }

    /// What kind of value this is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self.data {
            Data::Null => "null",
            Data::Bool(_) => "a boolean",
            Data::Int(_) | Data::Float(_) => "a number",
            Data::Str(_) => "a string",
            Data::Seq(_) => "a list",
            Data::Map(_) => "a mapping",
        }
    }
}

/// Go's `%v` of a float: the shortest digits, with an exponent from 1e6 on and below 1e-4.
pub(crate) fn float_text(value: f64) -> String {
    if !value.is_finite() {
        let text = if value.is_nan() {
            "NaN"
        } else if value > 0.0 {
            "+Inf"
        } else {
            "-Inf"
        };
        return text.to_owned();
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    if value == 0.0 || (-4..6).contains(&exponent.parse().unwrap_or(0)) {
        return value.to_string();
    }
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

impl Map {
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.key == key)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.0
            .iter_mut()
            .find(|entry| entry.key == key)
            .map(|entry| &mut entry.value)
    }

    pub(crate) fn remove(&mut self, key: &str) -> Option<Entry> {
        let index = self.0.iter().position(|entry| entry.key == key)?;
        Some(self.0.remove(index))
    }

    /// Sets a value; the place of a new key is that of its value.
    pub(crate) fn set(&mut self, key: &str, value: Node) {
        match self.get_mut(key) {
            Some(slot) => *slot = value,
            None => self.0.push(Entry {
                key: key.to_owned(),
                key_span: value.span,
                value,
            }),
        }
    }

    pub(crate) fn set_default(&mut self, key: &str, mut value: Node) {
        if self.get(key).is_none() {
            value.mark(ValueOrigin::Default);
            self.set(key, value);
        }
    }
}
