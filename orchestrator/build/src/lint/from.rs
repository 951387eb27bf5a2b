//! FROM: names of stages, arguments of bases, platforms.

use std::collections::BTreeMap;

use hoist_image::{Platform, Reference};

use super::Rule;
use crate::budget::Budget;
use crate::diagnostic::{Diagnostic, SourceFile, Spanned};
use crate::dockerfile::{Dockerfile, Stage};
use crate::expand::{self, mentioned};
use crate::graph::PLATFORM_ARGS;

pub(super) fn check(_: &SourceFile, file: &Dockerfile, found: &mut Vec<Diagnostic>) {
    let budget = Budget::default();
    let defaults = defaults(file, &budget);
    for (index, stage) in file.stages.iter().enumerate() {
        names(&file.stages, index, found);
        for word in std::iter::once(&stage.base).chain(&stage.platform) {
            undefined(file, word, found);
        }
        invalid_default(file, index, &defaults, &budget, found);
        platform(stage, found);
    }
}

fn names(stages: &[Stage], index: usize, found: &mut Vec<Diagnostic>) {
    let Some(name) = &stages[index].name else {
        return;
    };
    let earlier = stages[..index]
        .iter()
        .filter_map(|other| other.name.as_ref());
    if earlier.into_iter().any(|other| other.value == name.value) {
        let message = format!("two stages are named {}", name.value);
        let finding = Diagnostic::lint(Rule::DuplicateStageName, name.span, message);
        found.push(finding.label("this one hides the earlier one"));
    }
    if ["scratch", "context"].contains(&name.value.as_str()) {
        let message = format!(
            "a stage should not be named {}: the name has a meaning of its own",
            name.value
        );
        found.push(Diagnostic::lint(
            Rule::ReservedStageName,
            name.span,
            message,
        ));
    }
}

fn undefined(file: &Dockerfile, word: &Spanned<String>, found: &mut Vec<Diagnostic>) {
    for name in mentioned(&word.value, file.escape) {
        let declared = file.args.iter().any(|arg| arg.name.value == name);
        if !declared && !PLATFORM_ARGS.contains(&name.as_str()) {
            let message = format!("{name} is not declared by an ARG before the first FROM");
            found.push(Diagnostic::lint(
                Rule::UndefinedArgInFrom,
                word.span,
                message,
            ));
        }
    }
}

/// The ARGs before the first FROM as they are when no argument is given.
fn defaults(file: &Dockerfile, budget: &Budget) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for arg in &file.args {
        let lookup = |name: &str| values.get(name).cloned();
        let default = arg
            .default
            .as_ref()
            .and_then(|word| expand::expand(&word.value, file.escape, &lookup, budget).ok());
        values.extend(default.map(|value| (arg.name.value.clone(), value)));
    }
    values
}

fn invalid_default(
    file: &Dockerfile,
    index: usize,
    defaults: &BTreeMap<String, String>,
    budget: &Budget,
    found: &mut Vec<Diagnostic>,
) {
    let base = &file.stages[index].base;
    let names = mentioned(&base.value, file.escape);
    if !names
        .iter()
        .any(|name| file.args.iter().any(|arg| arg.name.value == *name))
    {
        return;
    }
    let lookup = |name: &str| {
        let platform = PLATFORM_ARGS.contains(&name).then(|| "linux".to_owned());
        defaults.get(name).cloned().or(platform)
    };
    let expanded = expand::expand(&base.value, file.escape, &lookup, budget).unwrap_or_default();
    let is_stage = file.stages[..index].iter().any(|stage| {
        stage
            .name
            .as_ref()
            .is_some_and(|name| name.value == expanded)
    });
    if !is_stage && Reference::parse(&expanded).is_err() {
        let message = format!("without arguments, the base is {expanded:?}, which is not an image");
        found.push(
            Diagnostic::lint(Rule::InvalidDefaultArgInFrom, base.span, message)
                .hint("give the ARG a default with which the Dockerfile can be built"),
        );
    }
}

fn platform(stage: &Stage, found: &mut Vec<Diagnostic>) {
    let Some(platform) = &stage.platform else {
        return;
    };
    if matches!(
        platform.value.as_str(),
        "$TARGETPLATFORM" | "${TARGETPLATFORM}"
    ) {
        let message = "the platform of a stage is $TARGETPLATFORM anyway";
        found.push(Diagnostic::lint(
            Rule::RedundantTargetPlatform,
            platform.span,
            message,
        ));
    }
    if let Ok(constant) = platform.value.parse::<Platform>() {
        // A stage that is named for its platform means it.
        let named = stage.name.as_ref().is_some_and(|name| {
            name.value.contains(&constant.os) || name.value.contains(&constant.architecture)
        });
        if !named {
            let message = format!("the platform {} is constant", platform.value);
            found.push(
                Diagnostic::lint(
                    Rule::FromPlatformFlagConstDisallowed,
                    platform.span,
                    message,
                )
                .hint("use $BUILDPLATFORM, or leave it to --platform"),
            );
        }
    }
}
