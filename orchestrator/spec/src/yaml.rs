//! YAML text into [`Node`] trees: scalars resolved, aliases and `<<` expanded within a budget, duplicate keys refused.
//!
//! Must not know: Compose, but for the two tags that [`Tag`] names.

use std::collections::HashMap;

use granit_parser::{Event, Options, Parser, ScalarStyle};

use crate::node::{Data, Entry, Map, Node, Tag};
use crate::report::{Report, Span};

/// Nesting that the later, recursive phases must bear. Aliases can nest deeper than the text does.
const MAX_DEPTH: usize = 256;
/// Values that aliases may add before the share of copies is looked at.
const FREE_COPIES: usize = 1000;

/// The documents of a text, or `None` when it is broken (then `report` says how).
pub(crate) fn parse(report: &mut Report, file: u32) -> Option<Vec<Node>> {
    let text = report.text(file);
    let mut reader = Reader {
        file,
        report,
        stack: Vec::new(),
        anchors: HashMap::new(),
        parsed: 0,
        copied: 0,
        documents: Vec::new(),
    };
    // Comments would be kept, up to a number, for a caller that wants them; and a last line without its end has none.
    let mut options = Options::default();
    options.emit_comments = false;
    options.block_scalar_eof_without_line_feed = true;
    for next in Parser::new_from_str_with_options(&text.text, options) {
        match next {
            Ok((event, span)) => {
                let range = span.byte_range().unwrap_or(0..0);
                reader
                    .event(event, Span::new(file, range.start, range.end))
                    .ok()?;
            }
            Err(error) => {
                let start = byte_offset(&text.text, &error);
                let mut entry = reader
                    .report
                    .error("E0001", format!("invalid YAML: {}", error.info()))
                    .at(Span::new(file, start, start + 1), "here");
                if text.text[start.min(text.text.len())..].starts_with('\t')
                    || error.info().contains("tab")
                {
                    entry = entry.hint("YAML is indented with spaces, never with tabs");
                } else if text.text[start.min(text.text.len())..]
                    .starts_with(['*', '&', '@', '`', '%', '!', '|', '>'])
                {
                    entry = entry.hint("put a value that begins with this character in quotes");
                } else if error.info().contains("expected key") {
                    entry = entry.hint("all keys of one mapping begin in the same column, and each is followed by `:`");
                } else if error.info().contains("mapping values are not allowed") {
                    entry = entry.hint("put a value that contains `: ` in quotes");
                } else if error.info().contains("quoted scalar") {
                    entry = entry.hint("a quote before this may be missing, or one too many");
                }
                let _ = entry;
                return None;
            }
        }
    }
    Some(reader.documents)
}

fn byte_offset(text: &str, error: &granit_parser::ScanError) -> usize {
    let marker = error.marker();
    marker
        .byte_offset()
        .or_else(|| {
            text.char_indices()
                .nth(marker.index())
                .map(|(offset, _)| offset)
        })
        .map_or(text.len(), |offset| offset.min(text.len()))
}

/// Reported already; only says "stop".
struct Stop;

struct Reader<'a> {
    file: u32,
    report: &'a mut Report,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Anchor>,
    parsed: usize,
    copied: usize,
    documents: Vec<Node>,
}

struct Anchor {
    span: Span,
    /// `None` while the node is being read: an alias to it is a cycle.
    ready: Option<Sized>,
}

/// A finished node with the number of values in it and its height.
#[derive(Clone)]
struct Sized {
    node: Node,
    size: usize,
    /// Of its text.
    bytes: usize,
    depth: usize,
}

struct Frame {
    anchor: usize,
    span: Span,
    tag: Option<Tag>,
    size: usize,
    bytes: usize,
    depth: usize,
    collection: Collection,
}

enum Collection {
    Document(Option<Node>),
    Seq(Vec<Node>),
    Map {
        map: Map,
        keys: HashMap<String, Span>,
        merges: Vec<Node>,
        key: Option<Key>,
    },
}

enum Key {
    Name(String, Span),
    Merge,
}

impl Reader<'_> {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Stop> {
        match event {
            Event::DocumentStart(..) => {
                self.anchors.clear();
                self.push(0, span, None, Collection::Document(None));
                Ok(())
            }
            Event::DocumentEnd => {
                if let Some(Frame {
                    collection: Collection::Document(Some(node)),
                    ..
                }) = self.stack.pop()
                {
                    self.documents.push(node);
                }
                Ok(())
            }
            Event::SequenceStart(_, anchor, tag) => {
                let tag = compose_tag(tag.as_deref());
                self.open(anchor, span);
                self.push(anchor, span, tag, Collection::Seq(Vec::new()));
                Ok(())
            }
            Event::MappingStart(_, anchor, tag) => {
                let tag = compose_tag(tag.as_deref());
                self.open(anchor, span);
                let collection = Collection::Map {
                    map: Map::default(),
                    keys: HashMap::new(),
                    merges: Vec::new(),
                    key: None,
                };
                self.push(anchor, span, tag, collection);
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            Event::Scalar(text, style, anchor, tag) => {
                self.scalar(&text, style, anchor, tag.as_deref(), span)
            }
            Event::Alias(id) => self.alias(id, span),
            _ => Ok(()),
        }
    }

    fn open(&mut self, anchor: usize, span: Span) {
        if anchor != 0 {
            self.anchors.insert(anchor, Anchor { span, ready: None });
        }
    }

    fn push(&mut self, anchor: usize, span: Span, tag: Option<Tag>, collection: Collection) {
        self.stack.push(Frame {
            anchor,
            span,
            tag,
            size: 1,
            bytes: 0,
            depth: 0,
            collection,
        });
    }

    fn close(&mut self, end: Span) -> Result<(), Stop> {
        let Some(frame) = self.stack.pop() else {
            return Ok(());
        };
        let data = match frame.collection {
            Collection::Seq(items) => Data::Seq(items),
            Collection::Map { map, merges, .. } => Data::Map(self.merged(map, merges)?),
            Collection::Document(_) => return Ok(()),
        };
        // A block collection "ends" at the next token; what the user sees ends with the last value.
        let end = if end.end > end.start {
            end.end
        } else {
            last_end(&data).unwrap_or(frame.span.end)
        };
        let span = Span {
            end: end.max(frame.span.start),
            ..frame.span
        };
        let node = Node {
            tag: frame.tag,
            ..Node::new(span, data)
        };
        self.value(
            frame.anchor,
            Sized {
                node,
                size: frame.size,
                bytes: frame.bytes,
                depth: frame.depth + 1,
            },
        )
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&granit_parser::Tag>,
        span: Span,
    ) -> Result<(), Stop> {
        let plain = matches!(style, ScalarStyle::Plain);
        if let Some(Frame {
            bytes,
            collection:
                Collection::Map {
                    key: key @ None,
                    keys,
                    ..
                },
            ..
        }) = self.stack.last_mut()
        {
            if plain && text == "<<" {
                *key = Some(Key::Merge);
                return Ok(());
            }
            *bytes += text.len();
            let first = keys.insert(text.to_owned(), span);
            *key = Some(Key::Name(text.to_owned(), span));
            if let Some(first) = first {
                self.report
                    .error("E0002", format!("`{text}` is given twice in one mapping"))
                    .at(span, "given again")
                    .at(first, "first given here");
                return Err(Stop);
            }
            if plain && tag.is_none() && !matches!(resolve(text), Data::Str(_)) {
                self.report
                    .error("E0004", format!("the key `{text}` is not a string"))
                    .at(span, "YAML reads this as another type")
                    .hint(format!("quote it: \"{text}\""));
                return Err(Stop);
            }
            return Ok(());
        }
        let data = match tag {
            Some(tag) => self.tagged(text, tag, span)?,
            None if plain => resolve(text),
            None => Data::Str(text.to_owned()),
        };
        let node = Node {
            tag: compose_tag(tag),
            ..Node::new(span, data)
        };
        self.open(anchor, span);
        self.value(
            anchor,
            Sized {
                node,
                size: 1,
                bytes: text.len(),
                depth: 1,
            },
        )
    }

    /// A scalar whose type is said.
    fn tagged(&mut self, text: &str, tag: &granit_parser::Tag, span: Span) -> Result<Data, Stop> {
        let written = tag.original();
        let data = match (tag.core_suffix(), resolve(text)) {
            (Some("str"), _) => Some(Data::Str(text.to_owned())),
            _ if matches!(written.as_str(), "!!binary" | "!<tag:yaml.org,2002:binary>") => {
                base64(text).map(Data::Str)
            }
            (Some("float"), Data::Int(value)) => Some(Data::Float(value as f64)),
            (Some("int"), data @ Data::Int(_))
            | (Some("float"), data @ Data::Float(_))
            | (Some("bool"), data @ Data::Bool(_))
            | (Some("null"), data @ Data::Null) => Some(data),
            (None, data) if compose_tag(Some(tag)).is_some() => Some(data),
            (None, _) if written == "!" => Some(Data::Str(text.to_owned())),
            _ => None,
        };
        data.ok_or_else(|| {
            let message = match tag.core_suffix() {
                Some(_) => format!("`{text}` cannot be read as `{written}`"),
                None => format!("`{written}` is not a tag of YAML or Compose"),
            };
            let _ = self.report.error("E0009", message).at(span, "this value").hint(
                "there are !!str, !!int, !!float, !!bool, !!null and !!binary, and Compose's !reset and !override",
            );
            Stop
        })
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<(), Stop> {
        let Some(anchor) = self.anchors.get(&id) else {
            return Ok(());
        };
        let at = anchor.span;
        let Some(ready) = &anchor.ready else {
            self.report
                .error("E0003", "an alias refers to a node that contains it")
                .at(span, "this would be inside itself")
                .at(at, "the node begins here");
            return Err(Stop);
        };
        if let Some(Frame {
            collection: Collection::Map { key: None, .. },
            ..
        }) = self.stack.last()
        {
            let Some(text) = ready.node.as_str().map(str::to_owned) else {
                self.report
                    .error("E0004", "a key is not a string")
                    .at(span, "this alias is used as a key");
                return Err(Stop);
            };
            return self.scalar(&text, ScalarStyle::DoubleQuoted, 0, None, span);
        }
        self.copied += ready.size;
        let total = self.parsed + self.copied;
        if self.copied > FREE_COPIES && copies_exceeded(self.copied, total) {
            self.report
                .error(
                    "E0003",
                    "the aliases of this document expand to far more than its text",
                )
                .at(
                    span,
                    format!(
                        "with this alias there are {total} values from {} written ones",
                        self.parsed
                    ),
                )
                .at(at, "refers to this");
            return Err(Stop);
        }
        let bytes = ready.bytes;
        if !self.report.spend(bytes, span) {
            return Err(Stop);
        }
        let copy = ready.clone();
        self.value(0, copy)
    }

    /// Puts a finished value into the collection that is open.
    fn value(&mut self, anchor: usize, value: Sized) -> Result<(), Stop> {
        self.parsed += 1;
        if anchor != 0
            && let Some(slot) = self.anchors.get_mut(&anchor)
        {
            slot.ready = Some(value.clone());
        }
        let Some(frame) = self.stack.last_mut() else {
            return Ok(());
        };
        frame.size += value.size;
        frame.bytes += value.bytes;
        frame.depth = frame.depth.max(value.depth);
        if frame.depth + self.stack.len() > MAX_DEPTH {
            self.report
                .error(
                    "E0003",
                    format!("values are nested more than {MAX_DEPTH} deep"),
                )
                .at(value.node.span, "");
            return Err(Stop);
        }
        let Some(frame) = self.stack.last_mut() else {
            return Ok(());
        };
        let span = value.node.span;
        match &mut frame.collection {
            Collection::Document(slot) => *slot = Some(value.node),
            Collection::Seq(items) => items.push(value.node),
            Collection::Map {
                map, merges, key, ..
            } => match key.take() {
                Some(Key::Name(key, key_span)) => map.0.push(Entry {
                    key,
                    key_span,
                    value: value.node,
                }),
                Some(Key::Merge) => merges.push(value.node),
                None => {
                    self.report
                        .error("E0004", "a key is not a string")
                        .at(span, "a mapping's keys are plain words");
                    return Err(Stop);
                }
            },
        }
        Ok(())
    }

    /// Adds what `<<` brings; the mapping's own keys win, then earlier sources.
    fn merged(&mut self, mut map: Map, merges: Vec<Node>) -> Result<Map, Stop> {
        for merge in merges {
            let sources = match merge.data {
                Data::Seq(items) => items,
                _ => vec![merge],
            };
            for source in sources {
                let Data::Map(from) = source.data else {
                    self.report
                        .error("E0003", "`<<` needs a mapping or a list of mappings")
                        .at(
                            Span {
                                file: self.file,
                                ..source.span
                            },
                            format!("this is {}", source.kind()),
                        );
                    return Err(Stop);
                };
                for entry in from.0 {
                    if map.get(&entry.key).is_none() {
                        map.0.push(entry);
                    }
                }
            }
        }
        Ok(map)
    }
}

/// The share of copies that is still a document and not a bomb: nearly all of a small one, a tenth of a huge one.
fn copies_exceeded(copied: usize, total: usize) -> bool {
    let allowed_percent = match total {
        0..=400_000 => 99,
        400_001..=4_000_000 => 99 - 89 * (total - 400_000) / 3_600_000,
        _ => 10,
    };
    copied * 100 > total * allowed_percent
}

fn last_end(data: &Data) -> Option<u32> {
    match data {
        Data::Seq(items) => items.iter().map(|item| item.span.end).max(),
        Data::Map(map) => map
            .0
            .iter()
            .map(|entry| entry.value.span.end.max(entry.key_span.end))
            .max(),
        _ => None,
    }
}

/// The text that a `!!binary` holds; white space counts for nothing.
fn base64(text: &str) -> Option<String> {
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0u32, 0);
    for letter in text
        .trim_end_matches(|c: char| c == '=' || c.is_whitespace())
        .bytes()
    {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b' ' | b'\t' | b'\r' | b'\n' => continue,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    String::from_utf8(bytes).ok()
}

fn compose_tag(tag: Option<&granit_parser::Tag>) -> Option<Tag> {
    match tag?.original().as_str() {
        "!reset" => Some(Tag::Reset),
        "!override" => Some(Tag::Override),
        _ => None,
    }
}

/// The type of a plain scalar, as the reference loader's YAML library decides it.
pub(crate) fn resolve(text: &str) -> Data {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Data::Null,
        "true" | "True" | "TRUE" => return Data::Bool(true),
        "false" | "False" | "FALSE" => return Data::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Data::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Data::Float(f64::INFINITY);
        }
        "-.inf" | "-.Inf" | "-.INF" => return Data::Float(f64::NEG_INFINITY),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Data::Str(text.to_owned());
    }
    if let Some(value) = integer(text) {
        return Data::Int(value);
    }
    let digits = text.replace('_', "");
    let float_like = digits
        .bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'))
        && digits.bytes().any(|b| b.is_ascii_digit())
        && !digits.starts_with(['e', 'E']);
    match digits.parse::<f64>() {
        Ok(value) if float_like => Data::Float(value),
        _ => Data::Str(text.to_owned()),
    }
}

fn integer(text: &str) -> Option<i64> {
    let plain = text.replace('_', "");
    let (negative, digits) = match plain.as_bytes().first()? {
        b'-' => (true, &plain[1..]),
        b'+' => (false, &plain[1..]),
        _ => (false, plain.as_str()),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let lower = digits.to_ascii_lowercase();
    let (radix, body) = if let Some(body) = lower.strip_prefix("0x") {
        (16, body)
    } else if let Some(body) = lower.strip_prefix("0o") {
        (8, body)
    } else if let Some(body) = lower.strip_prefix("0b") {
        (2, body)
    } else if lower.len() > 1
        && lower.starts_with('0')
        && lower.bytes().all(|b| (b'0'..=b'7').contains(&b))
    {
        (8, &lower[1..])
    } else {
        (10, lower.as_str())
    };
    let value = i64::from_str_radix(body, radix).ok()?;
    Some(if negative { -value } else { value })
}
