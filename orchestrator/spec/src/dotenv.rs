//! The dialect of `.env` and `env_file` files: quotes, `export`, several lines, comments, variables in values.
//!
//! Must not know: what the variables are for.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::interpolate;
use crate::size::Budget;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DotenvError {
    pub(crate) code: &'static str,
    /// Bytes into the text.
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) message: String,
}

/// Where a file gives a value to a name, in the order of the file.
pub(crate) type Assignments = Vec<(String, Range<usize>)>;

/// Reads a file onto `variables`. `outside` is asked first when a value names a variable, then what was read before.
pub(crate) fn parse(
    text: &str,
    outside: &dyn Fn(&str) -> Option<String>,
    variables: &mut BTreeMap<String, String>,
    assignments: &mut Assignments,
    budget: &Budget,
) -> Result<(), DotenvError> {
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut cursor = Cursor {
        text,
        at: text.len() - body.len(),
    };
    while let Some(statement) = cursor.next()? {
        let Statement { name, value, start } = statement;
        assignments.push((name.clone(), start..start + name.len()));
        match value {
            Raw::Absent => {
                if let Some(value) = outside(&name) {
                    variables.insert(name, value);
                }
            }
            Raw::Literal(value) => {
                variables.insert(name, value);
            }
            Raw::Template(value, start) => {
                let lookup = |name: &str| outside(name).or_else(|| variables.get(name).cloned());
                let value =
                    interpolate::expand(&value, &lookup, &mut |_| {}, budget).map_err(|error| {
                        DotenvError {
                            code: error.code(),
                            ..cursor.error(start, cursor.at, error.to_string())
                        }
                    })?;
                variables.insert(name, value);
            }
        }
    }
    Ok(())
}

/// `format: raw`: `KEY=VALUE` lines, nothing else has a meaning.
pub(crate) fn parse_raw(
    text: &str,
    outside: &dyn Fn(&str) -> Option<String>,
    variables: &mut BTreeMap<String, String>,
    assignments: &mut Assignments,
) {
    let mut next = text.len() - text.strip_prefix('\u{feff}').unwrap_or(text).len();
    for whole in text[next..].split_inclusive('\n') {
        let start = next;
        next += whole.len();
        let line = whole
            .strip_suffix('\n')
            .map_or(whole, |line| line.strip_suffix('\r').unwrap_or(line));
        let start = start + line.len() - line.trim_start().len();
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split('=').next().unwrap_or_default();
        assignments.push((name.to_owned(), start..start + name.len()));
        match line.split_once('=') {
            Some((name, value)) => {
                variables.insert(name.to_owned(), value.to_owned());
            }
            None => {
                if let Some(value) = outside(line) {
                    variables.insert(line.to_owned(), value);
                }
            }
        }
    }
}

struct Statement {
    name: String,
    value: Raw,
    /// Where the name begins.
    start: usize,
}

enum Raw {
    /// A bare name: passed through from outside.
    Absent,
    Literal(String),
    /// Variables are still to be replaced; and where the value begins.
    Template(String, usize),
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl Cursor<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn error(&self, start: usize, end: usize, message: impl Into<String>) -> DotenvError {
        DotenvError {
            code: "E0013",
            start,
            end: end.max(start),
            message: message.into(),
        }
    }

    fn next(&mut self) -> Result<Option<Statement>, DotenvError> {
        loop {
            self.at += self.rest().len() - self.rest().trim_start().len();
            if self.rest().is_empty() {
                return Ok(None);
            }
            if !self.rest().starts_with('#') {
                break;
            }
            self.skip_line();
        }
        if let Some(tail) = self.rest().strip_prefix("export")
            && tail.starts_with([' ', '\t'])
        {
            self.at += self.rest().len() - tail.trim_start_matches([' ', '\t']).len();
        }
        let start = self.at;
        let (name, bare) = self.name()?;
        let value = if bare { Raw::Absent } else { self.value()? };
        Ok(Some(Statement { name, value, start }))
    }

    fn skip_line(&mut self) {
        self.at += self
            .rest()
            .find('\n')
            .map_or(self.rest().len(), |end| end + 1);
    }

    /// The name before `=` or `:`, and whether there was none of the two.
    fn name(&mut self) -> Result<(String, bool), DotenvError> {
        let start = self.at;
        let mut end = self.text.len();
        let mut bare = true;
        for (offset, c) in self.rest().char_indices() {
            match c {
                '=' | ':' => (end, bare) = (start + offset, false),
                '\n' => end = start + offset,
                ' ' | '\t' | '\r' | '_' | '.' | '-' | '[' | ']' => continue,
                c if c.is_alphanumeric() => continue,
                c => {
                    let line_end = start + self.rest().find('\n').unwrap_or(self.rest().len());
                    return Err(self.error(
                        start + offset,
                        start + offset + c.len_utf8(),
                        format!(
                            "unexpected character `{c}` in variable name `{}`",
                            &self.text[start..line_end]
                        ),
                    ));
                }
            }
            break;
        }
        let name = self.text[start..end].trim_end().to_owned();
        if name.contains([' ', '\t']) {
            return Err(self.error(
                start,
                end,
                "a variable name cannot contain a space; the form is NAME=VALUE",
            ));
        }
        self.at = if bare { end } else { end + 1 };
        Ok((name, bare))
    }

    fn value(&mut self) -> Result<Raw, DotenvError> {
        self.at += self.rest().len() - self.rest().trim_start_matches([' ', '\t']).len();
        let start = self.at;
        match self.rest().chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let body = self.quoted(quote)?;
                // What follows the closing quote on its line is a comment.
                self.skip_line();
                Ok(if quote == '\'' {
                    Raw::Literal(body.replace("\\'", "'"))
                } else {
                    Raw::Template(unescape(&body), start)
                })
            }
            _ => {
                let line = self.rest().lines().next().unwrap_or_default().to_owned();
                self.skip_line();
                // A value that begins with `#` is one, as in the reference: only what follows a value is a comment.
                let comment = line.find(" #").into_iter().chain(line.find("\t#")).min();
                let value = comment.map_or(line.as_str(), |comment| &line[..comment]);
                Ok(Raw::Template(value.trim_end().to_owned(), start))
            }
        }
    }

    /// The text between quotes; may span lines.
    fn quoted(&mut self, quote: char) -> Result<String, DotenvError> {
        let start = self.at;
        let mut escaped = false;
        for (offset, c) in self.rest().char_indices().skip(1) {
            if escaped {
                escaped = false;
            } else if c == '\\' {
                escaped = true;
            } else if c == quote {
                let body = self.rest()[1..offset].to_owned();
                self.at += offset + 1;
                return Ok(body);
            }
        }
        let line_end = start + self.rest().find('\n').unwrap_or(self.rest().len());
        Err(self.error(
            start,
            line_end,
            format!("unterminated quoted value {}", &self.text[start..line_end]),
        ))
    }
}

/// The escapes of double quotes. `\$` becomes `$$`, which interpolation turns into a dollar sign.
fn unescape(body: &str) -> String {
    let mut output = String::with_capacity(body.len());
    let mut chars = body.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            output.push(c);
            continue;
        }
        match chars.next() {
            Some('a') => output.push('\u{7}'),
            Some('b') => output.push('\u{8}'),
            Some('f') => output.push('\u{c}'),
            Some('n') => output.push('\n'),
            Some('r') => output.push('\r'),
            Some('t') => output.push('\t'),
            Some('v') => output.push('\u{b}'),
            Some('\\') => output.push('\\'),
            Some('"') => output.push('"'),
            Some('\'') => output.push('\''),
            Some('$') => output.push_str("$$"),
            Some('0') => {
                let mut code = 0u32;
                let mut digits = 0;
                while let Some(digit) = chars
                    .peek()
                    .and_then(|c| c.to_digit(8))
                    .filter(|_| digits < 3)
                {
                    code = code * 8 + digit;
                    digits += 1;
                    chars.next();
                }
                output.push(char::from_u32(code).unwrap_or('\u{fffd}'));
            }
            Some(other) => {
                output.push('\\');
                output.push(other);
            }
            None => output.push('\\'),
        }
    }
    output
}
