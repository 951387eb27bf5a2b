//! Ways to cut the text after an instruction's name into words: plain, quoted, flags, JSON, heredoc markers.
//!
//! Offsets are those of the logical line.

use crate::diagnostic::Diagnostic;

use super::lines::LogicalLine;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    /// Quotes and escapes still in it.
    pub(crate) text: String,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// `--name=value` or `--name`, before the arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flag {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Cuts at white space, whatever quotes there are: COPY, ADD, FROM, EXPOSE, VOLUME.
pub(crate) fn plain_words(line: &LogicalLine, from: usize) -> Vec<Word> {
    let mut words = Vec::new();
    let mut start = None;
    for (index, character) in line.text[from..].char_indices() {
        match (start, character.is_whitespace()) {
            (None, false) => start = Some(from + index),
            (Some(begin), true) => {
                words.push(word(&line.text, begin, from + index));
                start = None;
            }
            _ => {}
        }
    }
    if let Some(begin) = start {
        words.push(word(&line.text, begin, line.text.len()));
    }
    words
}

fn word(text: &str, start: usize, end: usize) -> Word {
    Word {
        text: text[start..end].to_owned(),
        start,
        end,
    }
}

/// Cuts at white space outside of quotes; quotes and escapes stay: ENV, LABEL, ARG.
pub(crate) fn shell_words(text: &str, escape: char) -> Vec<Word> {
    shell_words_from(text, 0, escape)
}

pub(crate) fn shell_words_from(text: &str, from: usize, escape: char) -> Vec<Word> {
    let mut words = Vec::new();
    let mut start: Option<usize> = None;
    let mut quote: Option<char> = None;
    let mut characters = text[from..].char_indices();
    while let Some((index, character)) = characters.next() {
        let at = from + index;
        if quote.is_none() && character.is_whitespace() {
            if let Some(begin) = start.take() {
                words.push(word(text, begin, at));
            }
            continue;
        }
        start.get_or_insert(at);
        match quote {
            None if character == '\'' || character == '"' => quote = Some(character),
            None if character == escape => drop(characters.next()),
            Some('"') if character == escape => drop(characters.next()),
            Some(open) if character == open => quote = None,
            _ => {}
        }
    }
    if let Some(begin) = start {
        words.push(word(text, begin, text.len()));
    }
    words
}

/// Reads the flags at `from`; returns them and where the arguments begin. `--` alone ends the flags.
pub(crate) fn flags(line: &LogicalLine, from: usize, escape: char) -> (Vec<Flag>, usize) {
    let mut found = Vec::new();
    let text = &line.text;
    let mut at = from;
    loop {
        at += text[at..].len() - text[at..].trim_start().len();
        let Some(rest) = text[at..].strip_prefix("--") else {
            return (found, at);
        };
        if rest.is_empty() || rest.starts_with(char::is_whitespace) {
            return (found, at + 2);
        }
        let (flag, end) = flag(text, at, escape);
        found.push(flag);
        at = end;
    }
}

/// One flag: quotes group, the escape character takes the next character as it is.
fn flag(text: &str, start: usize, escape: char) -> (Flag, usize) {
    let mut value = String::new();
    let mut quote: Option<char> = None;
    let mut end = text.len();
    let mut characters = text[start..].char_indices();
    while let Some((index, character)) = characters.next() {
        match quote {
            None if character.is_whitespace() => {
                end = start + index;
                break;
            }
            None if character == '\'' || character == '"' => quote = Some(character),
            Some(open) if character == open => quote = None,
            _ if character == escape && quote != Some('\'') => match characters.next() {
                Some((_, next)) => value.push(next),
                None => value.push(character),
            },
            _ => value.push(character),
        }
    }
    let body = &value[2..];
    let (name, value) = match body.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (body.to_owned(), None),
    };
    (
        Flag {
            name,
            value,
            start,
            end,
        },
        end,
    )
}

/// The exec form: a JSON array of strings. `None`: not that form at all.
pub(crate) fn json_array(
    line: &LogicalLine,
    from: usize,
) -> Option<Result<Vec<String>, Diagnostic>> {
    let rest = line.text[from..].trim();
    if !rest.starts_with('[') {
        return None;
    }
    let values: Vec<serde_json::Value> = serde_json::from_str(rest).ok()?;
    let strings: Option<Vec<String>> = values
        .iter()
        .map(|value| value.as_str().map(str::to_owned))
        .collect();
    let start = from + line.text[from..].len() - line.text[from..].trim_start().len();
    Some(strings.ok_or_else(|| {
        Diagnostic::error(
            line.place(start, start + rest.len()),
            "the exec form takes only strings",
        )
        .hint("quote every element: [\"program\", \"1\"]")
    }))
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeredocMarker {
    pub(crate) name: String,
    pub(crate) expand: bool,
    pub(crate) strip_tabs: bool,
    pub(crate) text: String,
}

/// `<<NAME`, `<<-NAME`, `<<"NAME"`, with an optional file descriptor before it.
pub(crate) fn heredoc_marker(word: &str, escape: char) -> Option<HeredocMarker> {
    let text = word.trim_start_matches(|c: char| c.is_ascii_digit());
    let rest = text.strip_prefix("<<")?;
    let (strip_tabs, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if rest.contains('<') {
        return None;
    }
    let name: String = rest
        .chars()
        .filter(|c| !matches!(c, '\'' | '"') && *c != escape)
        .collect();
    (!name.is_empty()).then(|| HeredocMarker {
        expand: name == rest,
        name,
        strip_tabs,
        text: text.to_owned(),
    })
}
