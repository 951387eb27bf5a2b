//! Comments right above an instruction: what they describe, and which checks they switch off for it.

use super::{Rule, Settings};
use crate::diagnostic::{Diagnostic, SourceFile, Span};
use crate::dockerfile::{Dockerfile, Kind};

const DIRECTIVES: [&str; 3] = ["syntax", "escape", "check"];

/// `# name what it is` above a stage or an ARG; anything else there reads like a description and is none.
pub(super) fn check(source: &SourceFile, file: &Dockerfile, found: &mut Vec<Diagnostic>) {
    let mut described = |instruction: &str, names: &[&str], span: Span| {
        let Some(comment) = above(source, span).pop() else {
            return;
        };
        let first = comment.split_whitespace().next().unwrap_or_default();
        let [only, ..] = names else { return };
        if names.contains(&first) {
            return;
        }
        let name = if names.len() == 1 { only } else { "NAME" };
        let message = format!("the comment above this {instruction} does not begin with its name");
        found
            .push(Diagnostic::lint(Rule::InvalidDefinitionDescription, span, message).hint(format!(
                "`# {name} what it is for`; or an empty line below a comment that is not a description"
            )));
    };
    for stage in &file.stages {
        if let Some(name) = &stage.name {
            described(
                "FROM",
                &[&source.text[name.span.start..name.span.end], &name.value],
                stage.span,
            );
        }
        for instruction in &stage.instructions {
            if let Kind::Arg(pairs) = &instruction.kind {
                let names: Vec<&str> = pairs.iter().map(|pair| pair.name.value.as_str()).collect();
                described("ARG", &names, instruction.span);
            }
        }
    }
    for pair in &file.args {
        described("ARG", &[&pair.name.value], pair.name.span);
    }
}

/// `# check=skip=RULE` above an instruction is for this one alone.
pub(super) fn settings(source: &SourceFile, file: &Dockerfile) -> Vec<(Span, Settings)> {
    let own = |span: Span| {
        let comments = above(source, span);
        let text = comments.iter().find_map(|comment| {
            comment
                .strip_prefix("check")?
                .trim_start()
                .strip_prefix('=')
        })?;
        // What follows is a remark.
        let settings = Settings::parse(text.split_whitespace().next().unwrap_or_default()).ok()?;
        Some((span, settings))
    };
    let stages = file.stages.iter().flat_map(|stage| {
        std::iter::once(stage.span).chain(
            stage
                .instructions
                .iter()
                .map(|instruction| instruction.span),
        )
    });
    stages.filter_map(own).collect()
}

/// The comments of the lines right above a place, without their `#`. Directives are no comments.
fn above(source: &SourceFile, span: Span) -> Vec<&str> {
    let before = source.text.get(..span.start).unwrap_or_default();
    let line = before.rfind('\n').map_or(0, |newline| newline + 1);
    let mut comments: Vec<&str> = Vec::new();
    let mut at_top = true;
    for line in before[..line].lines().rev() {
        match line
            .trim_start_matches('\u{feff}')
            .trim()
            .strip_prefix('#')
            .map(str::trim)
        {
            Some(comment) if !comment.is_empty() => comments.push(comment),
            _ => {
                at_top = false;
                break;
            }
        }
    }
    comments.reverse();
    if at_top {
        let directive = |comment: &&&str| {
            let name = comment
                .split_once('=')
                .map(|(name, _)| name.trim().to_lowercase());
            name.is_some_and(|name| DIRECTIVES.contains(&name.as_str()))
        };
        let directives = comments.iter().take_while(directive).count();
        comments.drain(..directives);
    }
    comments
}
