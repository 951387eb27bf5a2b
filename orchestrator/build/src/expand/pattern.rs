//! Patterns of `${NAME#…}`, `${NAME%…}` and `${NAME/…}` over values. Owns what matching them may cost.

use super::ExpandError;
use crate::budget::Budget;
use crate::glob::Glob;

/// Slashes are nothing special in these patterns, so they are hidden from the path language.
const SLASH: &str = "\u{f8ff}";

pub(super) struct Pattern<'a> {
    glob: Glob,
    budget: &'a Budget,
}

impl<'a> Pattern<'a> {
    /// `name` is the variable that the pattern is for.
    pub(super) fn new(text: &str, name: &str, budget: &'a Budget) -> Result<Self, ExpandError> {
        let glob = Glob::new(&text.replace('/', SLASH), false);
        let glob = glob.map_err(|_| ExpandError::BadPattern(name.to_owned()))?;
        Ok(Self { glob, budget })
    }

    fn matches(&self, text: &str) -> Result<bool, ExpandError> {
        self.budget
            .compared((text.len() + 1).saturating_mul(self.glob.len() + 1))?;
        Ok(self.glob.matches(&text.replace('/', SLASH)))
    }

    pub(super) fn trim(
        &self,
        value: &str,
        at_start: bool,
        longest: bool,
    ) -> Result<String, ExpandError> {
        let mut cuts = boundaries(value);
        // For a prefix, a later cut is a longer match; for a suffix, an earlier one.
        if longest == at_start {
            cuts.reverse();
        }
        for cut in cuts {
            let (head, tail) = value.split_at(cut);
            let (candidate, rest) = if at_start { (head, tail) } else { (tail, head) };
            if self.matches(candidate)? {
                return Ok(rest.to_owned());
            }
        }
        Ok(value.to_owned())
    }

    pub(super) fn replace(
        &self,
        value: &str,
        replacement: &str,
        all: bool,
    ) -> Result<String, ExpandError> {
        let cuts = boundaries(value);
        let mut result = String::new();
        let mut at = 0;
        while at + 1 < cuts.len() {
            let Some(end) = self.longest(value, at, &cuts)? else {
                result.push_str(&value[cuts[at]..cuts[at + 1]]);
                at += 1;
                continue;
            };
            self.budget.text(replacement.len())?;
            result.push_str(replacement);
            at = end;
            if !all {
                break;
            }
        }
        result.push_str(&value[cuts[at]..]);
        Ok(result)
    }

    /// Where the longest match that begins at `at` ends; both are numbers of characters.
    fn longest(
        &self,
        value: &str,
        at: usize,
        cuts: &[usize],
    ) -> Result<Option<usize>, ExpandError> {
        let ends = match self.glob.fixed() {
            Some(length) => at + length..(at + length + 1).min(cuts.len()),
            None => at + 1..cuts.len(),
        };
        for end in ends.rev().filter(|end| *end > at) {
            if self.matches(&value[cuts[at]..cuts[end]])? {
                return Ok(Some(end));
            }
        }
        Ok(None)
    }
}

fn boundaries(text: &str) -> Vec<usize> {
    text.char_indices()
        .map(|(index, _)| index)
        .chain([text.len()])
        .collect()
}
