//! ENV, LABEL, ARG, VOLUME: instructions that only describe.

use super::words::{self, Word};
use super::{ArgPair, Kind, Pair, Parser};
use crate::diagnostic::{Diagnostic, Spanned};

impl Parser<'_> {
    /// `name=value name=value …`, or the old form `name the rest of the line`.
    pub(super) fn pairs(&self, at: usize, instruction: &str) -> Result<Vec<Pair>, Diagnostic> {
        let words = words::shell_words_from(&self.line.text, at, self.escape);
        let Some(first) = words.first() else {
            return Err(self.missing_argument(instruction));
        };
        if !first.text.contains('=') {
            return self.old_form(first, instruction).map(|pair| vec![pair]);
        }
        words
            .iter()
            .map(|word| self.pair(word, instruction))
            .collect()
    }

    fn pair(&self, word: &Word, instruction: &str) -> Result<Pair, Diagnostic> {
        let Some(equals) = word.text.find('=') else {
            let span = self.line.place(word.start, word.end);
            return Err(Diagnostic::error(
                span,
                format!("{instruction}: {} has no value", word.text),
            )
            .hint(format!(
                "{instruction} name=value; quote values with spaces"
            )));
        };
        if equals == 0 {
            let span = self.line.place(word.start, word.end);
            return Err(Diagnostic::error(
                span,
                format!("{instruction} needs a name before the ="),
            ));
        }
        Ok(Pair {
            name: self.slice(word.start, word.start + equals),
            value: self.slice(word.start + equals + 1, word.end),
        })
    }

    fn old_form(&self, name: &Word, instruction: &str) -> Result<Pair, Diagnostic> {
        let text = &self.line.text;
        let value = text[name.end..].trim();
        if value.is_empty() {
            return Err(Diagnostic::error(
                self.line.span,
                format!("{instruction} needs a name and a value"),
            )
            .hint(format!("{instruction} {}=value", name.text)));
        }
        let start = name.end + text[name.end..].len() - text[name.end..].trim_start().len();
        Ok(Pair {
            name: self.slice(name.start, name.end),
            value: self.slice(start, start + value.len()),
        })
    }

    pub(super) fn arg(&self, at: usize) -> Result<Kind, Diagnostic> {
        let words = words::shell_words_from(&self.line.text, at, self.escape);
        if words.is_empty() {
            return Err(self.missing_argument("ARG"));
        }
        let pairs = words.iter().map(|word| match word.text.find('=') {
            Some(0) => Err(Diagnostic::error(
                self.line.place(word.start, word.end),
                "ARG needs a name before the =",
            )),
            Some(equals) => Ok(ArgPair {
                name: self.slice(word.start, word.start + equals),
                default: Some(self.slice(word.start + equals + 1, word.end)),
            }),
            None => Ok(ArgPair {
                name: self.slice(word.start, word.end),
                default: None,
            }),
        });
        pairs.collect::<Result<_, _>>().map(Kind::Arg)
    }

    pub(super) fn volume(&self, at: usize) -> Result<Kind, Diagnostic> {
        let volumes: Vec<Spanned<String>> = match words::json_array(self.line, at) {
            Some(array) => array?
                .into_iter()
                .map(|value| Spanned {
                    value,
                    span: self.line.span,
                })
                .collect(),
            None => self.words_of(at, "VOLUME")?,
        };
        if volumes.is_empty() || volumes.iter().any(|volume| volume.value.trim().is_empty()) {
            return Err(Diagnostic::error(
                self.line.span,
                "VOLUME needs a path, and none may be empty",
            ));
        }
        Ok(Kind::Volume(volumes))
    }

    pub(super) fn slice(&self, start: usize, end: usize) -> Spanned<String> {
        Spanned {
            value: self.line.text[start..end].to_owned(),
            span: self.line.place(start, end),
        }
    }
}
