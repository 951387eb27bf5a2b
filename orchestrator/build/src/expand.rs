//! Variables in instruction arguments: `$name`, `${name}` and the modifiers of BuildKit's shell words.
//!
//! Knows words and a way to look up names; which variables are in scope is the caller's business.

mod pattern;

use crate::budget::{Budget, Exceeded};
use pattern::Pattern;

/// Nesting of `${A:-${B:-…}}` that is still believed to be meant.
const MAX_NESTING: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    #[error("{0} is not closed")]
    Unclosed(&'static str),
    #[error("bad modifier in ${{{0}}}")]
    BadModifier(String),
    #[error("{name}: {message}")]
    Required { name: String, message: String },
    #[error("bad pattern in ${{{0}}}")]
    BadPattern(String),
    #[error("variables are nested more than {MAX_NESTING} deep")]
    Nesting,
    #[error(transparent)]
    Exceeded(#[from] Exceeded),
}

pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Expands one word to one word; quotes are removed, nothing is split.
pub fn expand(
    word: &str,
    escape: char,
    lookup: Lookup<'_>,
    budget: &Budget,
) -> Result<String, ExpandError> {
    expand_noting(word, escape, lookup, budget).map(|(text, _)| text)
}

/// Also says which variables were not there and would have been needed.
pub(crate) fn expand_noting(
    word: &str,
    escape: char,
    lookup: Lookup<'_>,
    budget: &Budget,
) -> Result<(String, Vec<String>), ExpandError> {
    let mut scanner = Scanner::new(word, escape, lookup, budget);
    let pieces = scanner.pieces(None)?;
    Ok((
        pieces.into_iter().map(|piece| piece.text).collect(),
        scanner.unset,
    ))
}

/// The variables that a word needs.
pub(crate) fn mentioned(word: &str, escape: char) -> Vec<String> {
    expand_noting(word, escape, &|_| None, &Budget::default())
        .map(|(_, names)| names)
        .unwrap_or_default()
}

/// Expands one word to several: what comes from unquoted variables is split at white space (EXPOSE).
pub fn expand_words(
    word: &str,
    escape: char,
    lookup: Lookup<'_>,
    budget: &Budget,
) -> Result<Vec<String>, ExpandError> {
    let mut scanner = Scanner::new(word, escape, lookup, budget);
    let mut words: Vec<String> = Vec::new();
    let mut open = false;
    for piece in scanner.pieces(None)? {
        if !piece.splits {
            if open {
                words
                    .last_mut()
                    .expect("a word is open")
                    .push_str(&piece.text);
            } else {
                words.push(piece.text);
            }
            open = true;
            continue;
        }
        for (index, part) in piece.text.split(char::is_whitespace).enumerate() {
            open = open && index == 0;
            if part.is_empty() {
                continue;
            }
            if open {
                words.last_mut().expect("a word is open").push_str(part);
            } else {
                words.push(part.to_owned());
            }
            open = true;
        }
    }
    Ok(words)
}

/// Expands the text of a heredoc: quotes stand for themselves, and a backslash takes whatever is next as it is, with
/// any escape directive. Also says which variables were not there and would have been needed.
pub(crate) fn expand_text(
    text: &str,
    lookup: Lookup<'_>,
    budget: &Budget,
) -> Result<(String, Vec<String>), ExpandError> {
    let mut scanner = Scanner {
        quotes: false,
        ..Scanner::new(text, '\\', lookup, budget)
    };
    let pieces = scanner.pieces(None)?;
    Ok((
        pieces.into_iter().map(|piece| piece.text).collect(),
        scanner.unset,
    ))
}

#[derive(Debug)]
struct Piece {
    text: String,
    splits: bool,
}

struct Scanner<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    escape: char,
    lookup: Lookup<'a>,
    budget: &'a Budget,
    /// How many `${` are open.
    depth: usize,
    /// Whether quotes are more than characters.
    quotes: bool,
    /// Variables without a value that no modifier makes up for.
    unset: Vec<String>,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str, escape: char, lookup: Lookup<'a>, budget: &'a Budget) -> Self {
        Self {
            rest: text.chars().peekable(),
            escape,
            lookup,
            budget,
            depth: 0,
            quotes: true,
            unset: Vec::new(),
        }
    }

    /// Reads up to `until` (which is taken), or to the end.
    fn pieces(&mut self, until: Option<char>) -> Result<Vec<Piece>, ExpandError> {
        let mut pieces: Vec<Piece> = Vec::new();
        loop {
            let Some(character) = self.rest.next() else {
                return if until.is_some() {
                    Err(ExpandError::Unclosed("${"))
                } else {
                    Ok(pieces)
                };
            };
            if Some(character) == until {
                return Ok(pieces);
            }
            let piece = match character {
                '\'' if self.quotes => Piece {
                    text: self.single_quoted()?,
                    splits: false,
                },
                '"' if self.quotes => Piece {
                    text: self.double_quoted()?,
                    splits: false,
                },
                '$' => Piece {
                    text: self.dollar()?,
                    splits: true,
                },
                c if c == self.escape => match self.rest.next() {
                    Some(next) => Piece {
                        text: next.to_string(),
                        splits: false,
                    },
                    // Nothing to escape: it stands for itself.
                    None => Piece {
                        text: c.to_string(),
                        splits: false,
                    },
                },
                c => Piece {
                    text: c.to_string(),
                    splits: false,
                },
            };
            match pieces.last_mut() {
                Some(last) if last.splits == piece.splits => last.text.push_str(&piece.text),
                _ => pieces.push(piece),
            }
        }
    }

    fn single_quoted(&mut self) -> Result<String, ExpandError> {
        let mut text = String::new();
        for character in self.rest.by_ref() {
            if character == '\'' {
                return Ok(text);
            }
            text.push(character);
        }
        Err(ExpandError::Unclosed("a single quote"))
    }

    fn double_quoted(&mut self) -> Result<String, ExpandError> {
        let mut text = String::new();
        while let Some(character) = self.rest.next() {
            match character {
                '"' => return Ok(text),
                '$' => text.push_str(&self.dollar()?),
                c if c == self.escape => match self.rest.next() {
                    // Only these three lose their escape inside of double quotes.
                    Some(next) if next == '"' || next == '$' || next == self.escape => {
                        text.push(next)
                    }
                    Some(next) => {
                        text.push(c);
                        text.push(next);
                    }
                    None => return Err(ExpandError::Unclosed("a double quote")),
                },
                c => text.push(c),
            }
        }
        Err(ExpandError::Unclosed("a double quote"))
    }

    /// After `$`.
    fn dollar(&mut self) -> Result<String, ExpandError> {
        if self.rest.next_if_eq(&'{').is_some() {
            if self.depth == MAX_NESTING {
                return Err(ExpandError::Nesting);
            }
            self.depth += 1;
            let value = self.braced();
            self.depth -= 1;
            return value;
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        Ok(self.needed(name)?.unwrap_or_default())
    }

    fn value(&self, name: &str) -> Result<Option<String>, ExpandError> {
        let value = (self.lookup)(name);
        self.budget.text(value.as_ref().map_or(0, String::len))?;
        Ok(value)
    }

    fn needed(&mut self, name: String) -> Result<Option<String>, ExpandError> {
        let value = self.value(&name)?;
        if value.is_none() {
            self.unset.push(name);
        }
        Ok(value)
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        if let Some(special) = self
            .rest
            .next_if(|c| c.is_ascii_digit() || "@*#?-!$".contains(*c))
        {
            name.push(special);
            return name;
        }
        while let Some(c) = self
            .rest
            .next_if(|c| c.is_ascii_alphanumeric() || *c == '_')
        {
            name.push(c);
        }
        name
    }

    /// After `${`.
    fn braced(&mut self) -> Result<String, ExpandError> {
        let name = self.name();
        if name.is_empty() {
            return Err(ExpandError::BadModifier(
                self.rest.clone().take(20).collect(),
            ));
        }
        let Some(modifier) = self.rest.next() else {
            return Err(ExpandError::Unclosed("${"));
        };
        let value = match modifier {
            ':' | '-' | '+' | '?' => self.value(&name)?,
            _ => self.needed(name.clone())?,
        };
        match modifier {
            '}' => Ok(value.unwrap_or_default()),
            ':' | '-' | '+' | '?' => {
                let empty_counts = modifier == ':';
                let kind = if empty_counts {
                    self.rest.next()
                } else {
                    Some(modifier)
                };
                let word = self.word()?;
                let set = value.filter(|value| !(empty_counts && value.is_empty()));
                match kind {
                    Some('-') => Ok(set.unwrap_or(word)),
                    Some('+') => Ok(if set.is_some() { word } else { String::new() }),
                    Some('?') => set.ok_or_else(|| {
                        let message = if word.is_empty() {
                            "is not set".to_owned()
                        } else {
                            word
                        };
                        ExpandError::Required { name, message }
                    }),
                    _ => Err(ExpandError::BadModifier(name)),
                }
            }
            '#' | '%' => {
                let longest = self.rest.next_if_eq(&modifier).is_some();
                let pattern = self.raw_until(&['}'])?.0;
                let pattern = Pattern::new(&pattern, &name, self.budget)?;
                pattern.trim(&value.unwrap_or_default(), modifier == '#', longest)
            }
            '/' => {
                let all = self.rest.next_if_eq(&'/').is_some();
                let (pattern, end) = self.raw_until(&['/', '}'])?;
                let replacement = if end == '/' {
                    self.word()?
                } else {
                    String::new()
                };
                let pattern = Pattern::new(&pattern, &name, self.budget)?;
                pattern.replace(&value.unwrap_or_default(), &replacement, all)
            }
            _ => Err(ExpandError::BadModifier(name)),
        }
    }

    /// The word of a modifier, itself expanded.
    fn word(&mut self) -> Result<String, ExpandError> {
        Ok(self
            .pieces(Some('}'))?
            .into_iter()
            .map(|piece| piece.text)
            .collect())
    }

    /// A pattern: variables are expanded, escapes stay for the pattern.
    fn raw_until(&mut self, ends: &[char]) -> Result<(String, char), ExpandError> {
        let mut text = String::new();
        while let Some(character) = self.rest.next() {
            match character {
                c if ends.contains(&c) => return Ok((text, c)),
                '$' => text.push_str(&self.dollar()?),
                c if c == self.escape => {
                    text.push('\\');
                    text.extend(self.rest.next());
                }
                '\'' if self.quotes => text.push_str(&self.single_quoted()?),
                '"' if self.quotes => text.push_str(&self.double_quoted()?),
                c => text.push(c),
            }
        }
        Err(ExpandError::Unclosed("${"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "foo" => Some("bar".to_owned()),
            "empty" => Some(String::new()),
            "path" => Some("/usr/local/bin/tool.tar.gz".to_owned()),
            "ports" => Some("80 443".to_owned()),
            "word" => Some("foobarfoobar".to_owned()),
            "\u{1}" => None,
            _ => None,
        }
    }

    #[test]
    fn modifiers_do_what_the_shell_does() {
        let table = [
            ("$foo", "bar"),
            ("${foo}x", "barx"),
            ("$foo$foo", "barbar"),
            ("$unset.", "."),
            ("\\$foo", "$foo"),
            ("'$foo'", "$foo"),
            ("\"$foo\"", "bar"),
            ("\"a\\\"b\\n\"", "a\"b\\n"),
            ("a\\ b", "a b"),
            ("$", "$"),
            ("a$/b", "a$/b"),
            ("${unset:-default}", "default"),
            ("${empty:-default}", "default"),
            ("${empty-default}", ""),
            ("${unset-default}", "default"),
            ("${foo:-default}", "bar"),
            ("${foo:+set}", "set"),
            ("${empty:+set}", ""),
            ("${empty+set}", "set"),
            ("${unset+set}", ""),
            ("${unset:-${foo}}", "bar"),
            ("${unset:-\"a b\"}", "a b"),
            ("${foo:?needed}", "bar"),
            ("${path#*/}", "usr/local/bin/tool.tar.gz"),
            ("${path##*/}", "tool.tar.gz"),
            ("${path%.*}", "/usr/local/bin/tool.tar"),
            ("${path%%.*}", "/usr/local/bin/tool"),
            ("${path#nothing}", "/usr/local/bin/tool.tar.gz"),
            ("${word/bar/_}", "foo_foobar"),
            ("${word//bar/_}", "foo_foo_"),
            ("${word//o}", "fbarfbar"),
            ("${path//\\//-}", "-usr-local-bin-tool.tar.gz"),
            ("${word/b?r/$foo$foo}", "foobarbarfoobar"),
        ];
        for (word, expected) in table {
            assert_eq!(
                expand(word, '\\', &lookup, &Budget::default()).as_deref(),
                Ok(expected),
                "{word}"
            );
        }
    }

    #[test]
    fn mistakes_are_named() {
        let table = [
            ("${unset:?must be given}", "unset: must be given"),
            ("${unset?}", "unset: is not set"),
            ("${foo", "${ is not closed"),
            ("'foo", "a single quote is not closed"),
            ("\"foo", "a double quote is not closed"),
            ("${foo!x}", "bad modifier in ${foo}"),
            ("${foo:x}", "bad modifier in ${foo}"),
            ("${foo#[a}", "bad pattern in ${foo}"),
        ];
        for (word, expected) in table {
            assert_eq!(
                expand(word, '\\', &lookup, &Budget::default())
                    .unwrap_err()
                    .to_string(),
                expected,
                "{word}"
            );
        }
    }

    #[test]
    fn only_unquoted_variables_split() {
        let split = |word| expand_words(word, '\\', &lookup, &Budget::default()).unwrap();
        assert_eq!(split("$ports"), ["80", "443"]);
        assert_eq!(split("\"$ports\""), ["80 443"]);
        assert_eq!(split("1$ports/tcp"), ["180", "443/tcp"]);
        assert_eq!(split("$unset"), Vec::<String>::new());
    }

    #[test]
    fn in_texts_quotes_are_characters_and_backslashes_take_the_next_one() {
        let text = |text| expand_text(text, &lookup, &Budget::default()).map(|(text, _)| text);
        assert_eq!(
            text("it's \"$foo\" \\$foo \\\\ \\n").as_deref(),
            Ok("it's \"bar\" $foo \\ n")
        );
        assert_eq!(text("${unset:-\"q\"}").as_deref(), Ok("\"q\""));
    }

    #[test]
    fn another_escape_character_leaves_backslashes_alone() {
        assert_eq!(
            expand("c:\\dir\\`$foo", '`', &lookup, &Budget::default()).as_deref(),
            Ok("c:\\dir\\$foo")
        );
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let nested = |depth: usize| format!("{}x{}", "${unset:-".repeat(depth), "}".repeat(depth));
        let result = |word: &str| expand(word, '\\', &lookup, &Budget::default());
        assert_eq!(result(&nested(MAX_NESTING)).as_deref(), Ok("x"));
        for deep in [
            nested(MAX_NESTING + 1),
            nested(20_000),
            "\"${a#${a/".repeat(20_000),
            "${a/${a%".repeat(20_000),
        ] {
            assert_eq!(result(&deep), Err(ExpandError::Nesting));
        }
        let big = "x".repeat(1000);
        let lookup = |_: &str| Some(big.clone());
        let result = |word: &str| {
            expand(word, '\\', &lookup, &Budget::new(20_000, 1_000_000)).map(|text| text.len())
        };
        assert_eq!(result(&"$A".repeat(10)), Ok(10_000));
        assert_eq!(result("${A//x/yy}"), Ok(2000));
        for word in [
            &*"$A".repeat(20),
            &"${A:-}".repeat(20),
            &"${A+$A}".repeat(20),
            "${A//x/$A}",
        ] {
            assert_eq!(
                result(word),
                Err(ExpandError::Exceeded(Exceeded::Text)),
                "{word:.20}"
            );
        }
        for word in ["${A%%*y}", "${A//x*y}", "${A#$A$A}"] {
            assert_eq!(
                result(word),
                Err(ExpandError::Exceeded(Exceeded::Compared)),
                "{word}"
            );
        }
    }
}
