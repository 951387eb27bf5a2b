//! The places of the parts of a short form: `8080:80/tcp` is one text, and each part of it a value of its own.
//!
//! Must not know: what the parts mean.

use std::ops::Range;

use crate::report::{Report, Span};

/// A text as it stands in its file, where that shows its parts.
#[derive(Debug)]
pub(crate) struct Written {
    whole: Span,
    /// Of the first character between the quotes.
    start: usize,
    /// What is inside `${…}` is not notation, so it is masked; offsets stay.
    text: String,
}

impl Written {
    /// Where escapes, or several lines, keep the parts from being found, the whole is the place of each.
    pub(crate) fn new(whole: Span, report: &Report) -> Self {
        let hidden = Self {
            whole,
            start: whole.start as usize,
            text: String::new(),
        };
        let source = report.written(whole);
        let quoted = |quote: char| {
            source
                .strip_prefix(quote)
                .and_then(|rest| rest.strip_suffix(quote))
        };
        let (text, opening) = match (quoted('"'), quoted('\'')) {
            (Some(text), _) if !text.contains('\\') => (text, 1),
            (None, Some(text)) if !text.contains('\'') => (text, 1),
            (None, None) if !source.starts_with(['|', '>', '&', '*', '!']) => (source.as_str(), 0),
            _ => return hidden,
        };
        if text.contains('\n') {
            return hidden;
        }
        Self {
            whole,
            start: whole.start as usize + opening,
            text: masked(text),
        }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn whole(&self) -> Span {
        self.whole
    }

    pub(crate) fn place(&self, part: Range<usize>) -> Span {
        if self.text.is_empty() || part.is_empty() {
            return self.whole;
        }
        Span::new(
            self.whole.file,
            self.start + part.start,
            self.start + part.end,
        )
    }

    /// The place of what follows the first separator.
    pub(crate) fn after(&self, separator: char) -> Span {
        self.text.find(separator).map_or(self.whole, |at| {
            self.place(at + separator.len_utf8()..self.text.len())
        })
    }

    /// The places of this many parts between separators; the whole for each, if there are more or fewer.
    pub(crate) fn split(&self, separator: char, count: usize) -> Vec<Span> {
        let mut start = 0;
        let parts = self.text.split(separator).map(|part| {
            let range = start..start + part.len();
            start = range.end + separator.len_utf8();
            self.place(range)
        });
        let parts: Vec<Span> = parts.collect();
        if parts.len() == count {
            parts
        } else {
            vec![self.whole; count]
        }
    }
}

fn masked(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut braces = 0usize;
    let mut before = ' ';
    for c in text.chars() {
        match c {
            '{' if braces > 0 || before == '$' => braces += 1,
            '}' if braces > 0 => braces -= 1,
            c if braces == 0 => {
                masked.push(c);
                before = c;
                continue;
            }
            _ => {}
        }
        masked.extend(std::iter::repeat_n('_', c.len_utf8()));
        before = c;
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(source: &str, separator: char, count: usize) -> Vec<String> {
        let mut report = Report::default();
        let file = report.add_file("a".to_owned(), source.to_owned());
        let written = Written::new(Span::new(file, 0, source.len()), &report);
        written
            .split(separator, count)
            .into_iter()
            .map(|span| report.written(span))
            .collect()
    }

    #[test]
    fn parts_are_found_in_every_quoting_and_beside_variables() {
        assert_eq!(parts("8080:80", ':', 2), ["8080", "80"]);
        assert_eq!(parts("\"8080:80\"", ':', 2), ["8080", "80"]);
        assert_eq!(parts("'${A:-é:1}:80'", ':', 2), ["${A:-é:1}", "80"]);
        assert_eq!(parts("'${A:-${B:-1}}:$C'", ':', 2), ["${A:-${B:-1}}", "$C"]);
        assert_eq!(
            parts("$AB", ':', 2),
            ["$AB", "$AB"],
            "a variable that holds both"
        );
        assert_eq!(
            parts("\"a\\t:b\"", ':', 2),
            ["\"a\\t:b\"", "\"a\\t:b\""],
            "not the value's own characters"
        );
    }
}
