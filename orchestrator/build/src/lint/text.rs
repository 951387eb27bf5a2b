//! How things are written: the case of instructions and keywords.

use super::Rule;
use crate::diagnostic::{Diagnostic, SourceFile, Span};
use crate::dockerfile::Dockerfile;

pub(super) fn check(source: &SourceFile, file: &Dockerfile, found: &mut Vec<Diagnostic>) {
    instruction_case(file, found);
    for stage in &file.stages {
        let Some(name) = &stage.name else { continue };
        let written = source
            .text
            .get(name.span.start..name.span.end)
            .unwrap_or_default();
        if written != name.value {
            let message = format!("stage name {written} should be lower case");
            found.push(Diagnostic::lint(Rule::StageNameCasing, name.span, message));
        }
        let words: Vec<&str> = stage.text.split_whitespace().collect();
        if let ([from, ..], [.., keyword, _]) = (words.as_slice(), words.as_slice())
            && keyword.eq_ignore_ascii_case("as")
            && (is_upper(from) && !is_upper(keyword) || is_lower(from) && !is_lower(keyword))
        {
            let message = format!("{from} and {keyword} are written in different cases");
            found.push(Diagnostic::lint(Rule::FromAsCasing, stage.span, message));
        }
    }
}

fn is_upper(word: &str) -> bool {
    !word.chars().any(char::is_lowercase)
}

fn is_lower(word: &str) -> bool {
    !word.chars().any(char::is_uppercase)
}

fn instruction_case(file: &Dockerfile, found: &mut Vec<Diagnostic>) {
    let stages = file.stages.iter().flat_map(|stage| {
        let own = stage
            .instructions
            .iter()
            .map(|instruction| (instruction.text.as_str(), instruction.span));
        std::iter::once((stage.text.as_str(), stage.span)).chain(own)
    });
    let keywords: Vec<(&str, Span)> = stages
        .filter_map(|(text, span)| Some((text.split_whitespace().next()?, span)))
        .collect();
    let lower = keywords.iter().filter(|(word, _)| is_lower(word)).count();
    let upper = keywords.iter().filter(|(word, _)| is_upper(word)).count();
    let majority_is_lower = lower > upper;
    for (word, span) in keywords {
        if if majority_is_lower {
            is_lower(word)
        } else {
            is_upper(word)
        } {
            continue;
        }
        let case = if majority_is_lower { "lower" } else { "upper" };
        let message = format!("{word} should be in {case} case, as most instructions are");
        let span = Span::new(span.start, span.start + word.len());
        found.push(Diagnostic::lint(
            Rule::ConsistentInstructionCasing,
            span,
            message,
        ));
    }
}
