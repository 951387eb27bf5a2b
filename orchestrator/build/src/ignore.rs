//! `.dockerignore`: which paths of the context a build may see. moby's pattern language, decided path by path.
//!
//! Knows texts and relative paths, no file system.

use crate::glob::{Glob, GlobError};

/// The rules of one ignore file, in order; the last one that matches decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    /// `!pattern`: what an earlier rule excluded is back.
    includes: bool,
    glob: Glob,
    cleaned: String,
}

#[derive(Debug, thiserror::Error)]
pub enum IgnoreError {
    #[error("line {line} of the ignore file")]
    Pattern {
        line: usize,
        #[source]
        source: GlobError,
    },
    #[error("line {0} of the ignore file: a ! needs a pattern after it")]
    Bare(usize),
}

impl Ignore {
    pub fn parse(text: &str) -> Result<Self, IgnoreError> {
        let mut rules = Vec::new();
        for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            // A comment has its # in the first column.
            if line.starts_with('#') {
                continue;
            }
            let pattern = line.trim();
            if pattern
                .strip_prefix('!')
                .is_some_and(|rest| rest.trim().is_empty())
            {
                return Err(IgnoreError::Bare(index + 1));
            }
            rules.extend(Rule::parse(pattern).map_err(|source| IgnoreError::Pattern {
                line: index + 1,
                source,
            })?);
        }
        Ok(Self { rules })
    }

    /// From single patterns, as in `COPY --exclude`.
    pub(crate) fn from_patterns<'a>(
        patterns: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, GlobError> {
        let rules: Result<Vec<_>, _> = patterns
            .into_iter()
            .map(|pattern| Rule::parse(pattern.trim()))
            .collect();
        Ok(Self {
            rules: rules?.into_iter().flatten().collect(),
        })
    }

    /// Equal texts are equal rules.
    pub(crate) fn text(&self) -> String {
        let rule =
            |rule: &Rule| format!("{}{}\n", if rule.includes { "!" } else { "" }, rule.cleaned);
        self.rules.iter().map(rule).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// `path`: relative to the context, with slashes. A pattern that matches a folder matches what is in it.
    pub fn excludes(&self, path: &str) -> bool {
        let mut excluded = false;
        for rule in &self.rules {
            // Only a rule that would change the verdict is worth trying.
            if rule.includes == excluded && rule.matches(path) {
                excluded = !rule.includes;
            }
        }
        excluded
    }

    /// Whether something below an excluded folder may be back, so that the folder has to be entered.
    pub fn may_include_below(&self, folder: &str) -> bool {
        self.rules.iter().any(|rule| {
            rule.includes
                && (rule.cleaned.starts_with(&format!("{folder}/"))
                    || Glob::has_wildcards(&rule.cleaned))
        })
    }
}

impl Rule {
    fn parse(pattern: &str) -> Result<Option<Self>, GlobError> {
        let (includes, pattern) = match pattern.strip_prefix('!') {
            Some(rest) => (true, rest.trim()),
            None => (false, pattern),
        };
        if pattern.is_empty() {
            return Ok(None);
        }
        let cleaned = clean(pattern);
        let cleaned = cleaned
            .strip_prefix('/')
            .filter(|rest| !rest.is_empty())
            .unwrap_or(&cleaned)
            .to_owned();
        Ok(Some(Self {
            includes,
            glob: Glob::new(&cleaned, true)?,
            cleaned,
        }))
    }

    fn matches(&self, path: &str) -> bool {
        let ancestors = path.match_indices('/').map(|(slash, _)| &path[..slash]);
        self.glob.matches(path)
            || ancestors
                .into_iter()
                .any(|folder| self.glob.matches(folder))
    }
}

/// Go's `filepath.Clean`: no empty parts, no `.`, and `..` takes the part before it.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if rooted => {}
            other => parts.push(other),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_decide_as_mobys_do() {
        // pattern lines, path, excluded
        let table: &[(&str, &str, bool)] = &[
            ("*.o", "a.o", true),
            ("*.o", "sub/a.o", false),
            ("**/*.o", "sub/deep/a.o", true),
            ("**/*.o", "a.o", true),
            ("node_modules", "node_modules/x/y.js", true),
            ("node_modules", "sub/node_modules/x", false),
            ("/build", "build/a", true),
            ("build/", "build/a", true),
            ("./build/../dist", "dist", true),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("**", "anything/at/all", true),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("a/**/b", "ab", false),
            ("**/b", "xb", false),
            ("**b", "xb", true),
            ("**b", "x/ab", true),
            ("**b", "b/c", true),
            ("**b?", "xbc", false),
            ("**b?", "x/bc", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("*\n!keep", "keep", false),
            ("*\n!keep", "other", true),
            ("*\n!keep/this", "keep/this", false),
            ("*\n!keep/this", "keep/that", true),
            ("*\n!keep\nkeep/secret", "keep/secret", true),
            ("# comment\n\nx", "x", true),
            ("  x  ", "x", true),
            ("! x\n", "x", false),
            ("\\*.txt", "*.txt", true),
            ("\\*.txt", "a.txt", false),
            ("a.b", "axb", false),
            ("dir/*", "dir/sub/file", true),
            ("*/temp*", "somedir/temporary.txt", true),
            ("*/*/temp*", "somedir/subdir/temporary.txt", true),
            (".", "anything", false),
            ("/", "anything", false),
        ];
        for (patterns, path, expected) in table {
            let ignore = Ignore::parse(patterns).unwrap();
            assert_eq!(ignore.excludes(path), *expected, "{patterns:?} on {path}");
        }
    }

    #[test]
    fn an_excluded_folder_is_entered_only_when_something_may_be_back() {
        let ignore = Ignore::parse("*\n!src/lib.rs").unwrap();
        assert!(ignore.may_include_below("src"));
        assert!(!ignore.may_include_below("target"));
        assert!(
            Ignore::parse("*\n!**/*.rs")
                .unwrap()
                .may_include_below("target")
        );
    }

    #[test]
    fn a_broken_pattern_names_its_line() {
        let error = Ignore::parse("ok\n[a-").unwrap_err();
        assert_eq!(error.to_string(), "line 2 of the ignore file");
        assert!(
            Ignore::parse("ok\n ! \n")
                .unwrap_err()
                .to_string()
                .starts_with("line 2 of the ignore file: a !")
        );
    }
}
