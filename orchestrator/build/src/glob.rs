//! Wildcards over paths: Go's `filepath.Match` (for COPY sources) and moby's language with `**` (for ignore files).
//!
//! Compiled to a list of tokens and matched without a regex engine; a run over n characters with m tokens costs n·m.

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Literal(char),
    /// `?`: one character, no slash.
    One,
    /// `*`: any characters, no slash.
    Many,
    /// `**/`: nothing, or whole folders.
    Folders,
    /// `**` at the end, or before a name: anything.
    Rest,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glob {
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid pattern {pattern:?}: {reason}")]
pub struct GlobError {
    pattern: String,
    reason: &'static str,
}

impl Glob {
    /// `deep`: `**` crosses slashes; otherwise it means the same as `*`.
    pub(crate) fn new(pattern: &str, deep: bool) -> Result<Self, GlobError> {
        let error = |reason| GlobError {
            pattern: pattern.to_owned(),
            reason,
        };
        let mut tokens = Vec::new();
        let mut characters = pattern.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '*' if deep && characters.peek() == Some(&'*') => {
                    characters.next();
                    let whole = characters.next_if_eq(&'/').is_some();
                    let last = characters.peek().is_none();
                    // `**name` at the beginning ends anything, as long as it is only a name.
                    let ending = tokens.is_empty() && !whole && !Self::has_wildcards(&pattern[2..]);
                    tokens.push(if last || ending {
                        Token::Rest
                    } else {
                        Token::Folders
                    });
                }
                '*' => {
                    while characters.next_if(|next| *next == '*' && !deep).is_some() {}
                    tokens.push(Token::Many);
                }
                '?' => tokens.push(Token::One),
                '[' => {
                    tokens.push(class(&mut characters).ok_or_else(|| error("a [ without its ]"))?)
                }
                '\\' => {
                    let escaped = characters
                        .next()
                        .ok_or_else(|| error("it ends in a backslash"))?;
                    tokens.push(Token::Literal(escaped));
                }
                other => tokens.push(Token::Literal(other)),
            }
        }
        Ok(Self { tokens })
    }

    pub(crate) fn has_wildcards(pattern: &str) -> bool {
        pattern.contains(['*', '?', '[', '\\'])
    }

    /// How many tokens a run over a text takes for each of its characters.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// How many characters every match has, if they all have the same number.
    pub(crate) fn fixed(&self) -> Option<usize> {
        let varies = self
            .tokens
            .iter()
            .any(|token| matches!(token, Token::Many | Token::Folders | Token::Rest));
        (!varies).then_some(self.tokens.len())
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        let characters: Vec<char> = text.chars().collect();
        // reached[i]: the tokens so far can have consumed exactly i characters.
        let mut reached = vec![false; characters.len() + 1];
        reached[0] = true;
        for token in &self.tokens {
            reached = token.advance(&characters, &reached);
            if !reached.contains(&true) {
                return false;
            }
        }
        reached[characters.len()]
    }
}

impl Token {
    fn advance(&self, text: &[char], reached: &[bool]) -> Vec<bool> {
        let mut next = vec![false; reached.len()];
        match self {
            Self::Rest => {
                let first = reached
                    .iter()
                    .position(|here| *here)
                    .unwrap_or(reached.len());
                next[first..].fill(true);
            }
            Self::Folders => {
                let mut inside = false;
                for at in 0..reached.len() {
                    next[at] = reached[at] || (inside && at > 0 && text[at - 1] == '/');
                    inside |= reached[at];
                }
            }
            Self::Many => {
                let mut running = false;
                for at in 0..reached.len() {
                    running = reached[at] || (running && at > 0 && text[at - 1] != '/');
                    next[at] = running;
                }
            }
            _ => {
                for at in 0..text.len() {
                    next[at + 1] = reached[at] && self.is(text[at]);
                }
            }
        }
        next
    }

    fn is(&self, character: char) -> bool {
        match self {
            Self::Literal(own) => *own == character,
            Self::One => character != '/',
            Self::Class { negated, ranges } => {
                character != '/'
                    && ranges
                        .iter()
                        .any(|(low, high)| (*low..=*high).contains(&character))
                        != *negated
            }
            Self::Many | Self::Folders | Self::Rest => false,
        }
    }
}

/// After `[`, up to and with `]`.
fn class(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Token> {
    let negated = characters.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        let one =
            |characters: &mut std::iter::Peekable<std::str::Chars<'_>>| match characters.next()? {
                '\\' => characters.next(),
                other => Some(other),
            };
        if !ranges.is_empty() && characters.next_if_eq(&']').is_some() {
            return Some(Token::Class { negated, ranges });
        }
        if characters.peek() == Some(&']') {
            return None;
        }
        let low = one(characters)?;
        let high = if characters.next_if_eq(&'-').is_some() {
            one(characters)?
        } else {
            low
        };
        if high < low {
            return None;
        }
        ranges.push((low, high));
    }
}
