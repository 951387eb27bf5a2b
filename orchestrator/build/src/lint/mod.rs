//! Build checks: what a Dockerfile may say and had better not. The rules are BuildKit's, by their names.
//!
//! A rule only looks at the text and its meaning; nothing is built for it.

mod comments;
mod from;
mod instructions;
mod text;

use std::collections::BTreeSet;
use std::fmt;

use crate::diagnostic::{Diagnostic, Severity, SourceFile, Span};
use crate::dockerfile::Dockerfile;

macro_rules! rules {
    ($($name:ident,)*) => {
        /// A check, named as BuildKit names it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Rule {
            $($name,)*
        }

        impl Rule {
            const ALL: &[Self] = &[$(Self::$name,)*];

            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

rules! {
    StageNameCasing,
    FromAsCasing,
    NoEmptyContinuation,
    ConsistentInstructionCasing,
    DuplicateStageName,
    ReservedStageName,
    JSONArgsRecommended,
    MaintainerDeprecated,
    UndefinedArgInFrom,
    WorkdirRelativePath,
    UndefinedVar,
    MultipleInstructionsDisallowed,
    LegacyKeyValueFormat,
    SecretsUsedInArgOrEnv,
    InvalidDefaultArgInFrom,
    RedundantTargetPlatform,
    InvalidBaseImagePlatform,
    FromPlatformFlagConstDisallowed,
    CopyIgnoredFile,
    InvalidDefinitionDescription,
    ExposeProtoCasing,
    ExposeInvalidFormat,
}

impl Rule {
    /// Off unless it is asked for.
    fn is_experimental(self) -> bool {
        self == Self::InvalidDefinitionDescription
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// `# check=skip=RULE,…;error=true;experimental=RULE,…`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    skip: Rules,
    experimental: Rules,
    /// A build with findings fails.
    pub(crate) error: bool,
    /// Names of no rule: of a later BuildKit, or mistaken.
    unknown: BTreeSet<String>,
    /// What comments above single instructions say, by the instruction's place.
    above: Vec<(Span, Self)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rules {
    All,
    These(BTreeSet<Rule>),
}

impl Default for Rules {
    fn default() -> Self {
        Self::These(BTreeSet::new())
    }
}

impl Rules {
    fn has(&self, rule: Rule) -> bool {
        match self {
            Self::All => true,
            Self::These(rules) => rules.contains(&rule),
        }
    }

    /// Names of no rule go to `unknown`.
    fn parse(text: &str, unknown: &mut BTreeSet<String>) -> Self {
        if text.eq_ignore_ascii_case("all") {
            return Self::All;
        }
        let mut rules = BTreeSet::new();
        for name in text
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            match Rule::ALL
                .iter()
                .find(|rule| rule.name().eq_ignore_ascii_case(name))
            {
                Some(rule) => drop(rules.insert(*rule)),
                None => drop(unknown.insert(name.to_owned())),
            }
        }
        Self::These(rules)
    }
}

impl Settings {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut settings = Self::default();
        for part in text
            .split(';')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let (key, value) = part
                .split_once('=')
                .ok_or_else(|| format!("{part:?} has no value"))?;
            match key.trim().to_lowercase().as_str() {
                "skip" => settings.skip = Rules::parse(value.trim(), &mut settings.unknown),
                "experimental" => {
                    settings.experimental = Rules::parse(value.trim(), &mut settings.unknown);
                }
                "error" => {
                    settings.error = match value.trim() {
                        "true" | "1" => true,
                        "false" | "0" => false,
                        other => return Err(format!("error is true or false, not {other}")),
                    };
                }
                other => {
                    return Err(format!(
                        "there is no setting {other:?}; there are skip, error and experimental"
                    ));
                }
            }
        }
        Ok(settings)
    }

    /// Of the file; an argument of the build goes before its directive. Names of no rule are findings: a Dockerfile may
    /// be written for rules that are not known here.
    pub(crate) fn of(
        source: &SourceFile,
        file: &Dockerfile,
        argument: Option<&str>,
    ) -> Result<(Self, Vec<Diagnostic>), Diagnostic> {
        let (text, span) = match (argument, &file.check) {
            (Some(text), _) => (text, Span::default()),
            (None, Some(directive)) => (directive.value.as_str(), directive.span),
            (None, None) => ("", Span::default()),
        };
        let mut settings = Self::parse(text).map_err(|reason| {
            Diagnostic::error(
                span,
                format!("the check directive cannot be read: {reason}"),
            )
            .hint("# check=skip=StageNameCasing,FromAsCasing;error=true")
        })?;
        settings.above = comments::settings(source, file);
        let unknown = settings.unknown.iter().map(|name| Diagnostic {
            severity: Severity::Warning,
            ..Diagnostic::error(span, format!("there is no check {name:?}"))
        });
        let unknown = unknown.collect();
        Ok((settings, unknown))
    }

    pub(crate) fn keeps(&self, diagnostic: &Diagnostic) -> bool {
        let Some(rule) = diagnostic.rule else {
            return true;
        };
        let inside = |span: &Span| (span.start..span.end).contains(&diagnostic.span.start);
        let mut say = self
            .above
            .iter()
            .filter(|(span, _)| inside(span))
            .map(|(_, own)| own)
            .chain([self]);
        match rule.is_experimental() {
            true => say.any(|settings| settings.experimental.has(rule)),
            false => !say.any(|settings| settings.skip.has(rule)),
        }
    }
}

/// What can be found in the file alone.
pub(crate) fn file(source: &SourceFile, file: &Dockerfile) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    text::check(source, file, &mut found);
    comments::check(source, file, &mut found);
    from::check(source, file, &mut found);
    instructions::check(source, file, &mut found);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_name_rules_in_any_case() {
        let settings =
            Settings::parse("skip=stagenamecasing, JSONArgsRecommended;error=true").unwrap();
        let finding = |rule| Diagnostic::lint(rule, Default::default(), "");
        assert!(settings.error);
        assert!(!settings.keeps(&finding(Rule::StageNameCasing)));
        assert!(settings.keeps(&finding(Rule::FromAsCasing)));
        assert!(!settings.keeps(&finding(Rule::InvalidDefinitionDescription)));
        assert!(
            Settings::parse("experimental=all")
                .unwrap()
                .keeps(&finding(Rule::InvalidDefinitionDescription))
        );
        assert!(
            !Settings::parse("skip=all")
                .unwrap()
                .keeps(&finding(Rule::FromAsCasing))
        );
        assert_eq!(
            Settings::parse("skip=Newer").unwrap().unknown,
            BTreeSet::from(["Newer".to_owned()])
        );
        for wrong in ["skip", "other=1", "error=maybe"] {
            assert!(Settings::parse(wrong).is_err(), "{wrong}");
        }
    }
}
