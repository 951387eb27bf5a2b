//! What stages say: forms of commands, secrets, paths, ports.

use std::collections::BTreeMap;

use super::Rule;
use crate::diagnostic::{Diagnostic, SourceFile, Span, Spanned};
use crate::dockerfile::{ArgPair, Command, Dockerfile, Health, Instruction, Kind, Pair, Stage};

pub(super) fn check(source: &SourceFile, file: &Dockerfile, found: &mut Vec<Diagnostic>) {
    secret_arguments(&file.args, found);
    for (index, stage) in file.stages.iter().enumerate() {
        let mut state = StageState {
            workdir: inherits(file, index, |kind| matches!(kind, Kind::Workdir(_))),
            shell: inherits(file, index, |kind| matches!(kind, Kind::Shell(_))),
            ..StageState::default()
        };
        for instruction in &stage.instructions {
            one(source, instruction, &mut state, found);
        }
    }
}

#[derive(Debug, Default)]
struct StageState {
    /// One was set: what follows is relative to it.
    workdir: bool,
    shell: bool,
    /// The last one of those that count only once.
    last: BTreeMap<&'static str, Span>,
}

/// A stage on another one has its WORKDIR and its SHELL.
fn inherits(file: &Dockerfile, index: usize, sets: fn(&Kind) -> bool) -> bool {
    let base = &file.stages[index].base.value;
    let named = |stage: &Stage| {
        stage
            .name
            .as_ref()
            .is_some_and(|name| name.value.eq_ignore_ascii_case(base))
    };
    match file.stages[..index].iter().rposition(named) {
        Some(base) => {
            let own = &file.stages[base].instructions;
            own.iter().any(|instruction| sets(&instruction.kind)) || inherits(file, base, sets)
        }
        None => false,
    }
}

fn one(
    source: &SourceFile,
    instruction: &Instruction,
    state: &mut StageState,
    found: &mut Vec<Diagnostic>,
) {
    let span = instruction.span;
    match &instruction.kind {
        Kind::Cmd(command) => {
            shell_form("CMD", command, state, span, found);
            once("CMD", state, span, found);
        }
        Kind::Entrypoint(command) => {
            shell_form("ENTRYPOINT", command, state, span, found);
            once("ENTRYPOINT", state, span, found);
        }
        Kind::Healthcheck(Health::None | Health::Check { .. }) => {
            once("HEALTHCHECK", state, span, found)
        }
        Kind::Shell(_) => state.shell = true,
        Kind::Maintainer(_) => {
            let finding =
                Diagnostic::lint(Rule::MaintainerDeprecated, span, "MAINTAINER is deprecated");
            found.push(finding.hint("LABEL org.opencontainers.image.authors=\"…\""));
        }
        Kind::Env(pairs) => {
            legacy_pairs(source, "ENV", pairs, found);
            pairs
                .iter()
                .for_each(|pair| secret("ENV", &pair.name, found));
        }
        Kind::Label(pairs) => legacy_pairs(source, "LABEL", pairs, found),
        Kind::Arg(pairs) => secret_arguments(pairs, found),
        Kind::Workdir(path) => workdir(path, state, found),
        Kind::Expose(ports) => ports.iter().for_each(|port| expose(port, found)),
        _ => {}
    }
}

fn shell_form(
    name: &str,
    command: &Command,
    state: &StageState,
    span: Span,
    found: &mut Vec<Diagnostic>,
) {
    if matches!(command, Command::Shell(_)) && !state.shell {
        let message =
            format!("{name} is better written as a JSON array: a shell does not hand signals on");
        found.push(Diagnostic::lint(Rule::JSONArgsRecommended, span, message));
    }
}

fn once(name: &'static str, state: &mut StageState, span: Span, found: &mut Vec<Diagnostic>) {
    if let Some(earlier) = state.last.insert(name, span) {
        let message = format!("this {name} has no effect: only the last one of a stage counts");
        found.push(Diagnostic::lint(
            Rule::MultipleInstructionsDisallowed,
            earlier,
            message,
        ));
    }
}

/// `ENV name value`: there is no equals sign between the two.
fn legacy_pairs(
    source: &SourceFile,
    instruction: &str,
    pairs: &[Pair],
    found: &mut Vec<Diagnostic>,
) {
    for pair in pairs {
        let end = pair.name.span.end;
        if source
            .text
            .get(end..=end)
            .is_some_and(|between| between != "=")
        {
            let message = format!(
                "{instruction} name=value is the form to use, not {instruction} name value"
            );
            found.push(Diagnostic::lint(
                Rule::LegacyKeyValueFormat,
                pair.name.span,
                message,
            ));
        }
    }
}

fn secret_arguments(pairs: &[ArgPair], found: &mut Vec<Diagnostic>) {
    pairs
        .iter()
        .for_each(|pair| secret("ARG", &pair.name, found));
}

fn secret(instruction: &str, name: &Spanned<String>, found: &mut Vec<Diagnostic>) {
    const SECRET: [&str; 10] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
        "token",
    ];
    // What says where a secret is, or which one, is none.
    const NOT_SECRET: [&str; 3] = ["public", "file", "version"];
    let lower = name.value.to_lowercase();
    let has = |words: &[&str]| lower.split('_').any(|part| words.contains(&part));
    if has(&NOT_SECRET) || !has(&SECRET) {
        return;
    }
    let message = format!(
        "{instruction} {} stays in the image, where secrets do not belong",
        name.value
    );
    found.push(
        Diagnostic::lint(Rule::SecretsUsedInArgOrEnv, name.span, message)
            .hint("RUN --mount=type=secret,id=…"),
    );
}

/// Only the first one is judged: those that follow are relative to it.
fn workdir(path: &Spanned<String>, state: &mut StageState, found: &mut Vec<Diagnostic>) {
    if !path.value.starts_with(['/', '$']) && !state.workdir {
        let message = format!(
            "where the relative {} is depends on the base image",
            path.value
        );
        found.push(Diagnostic::lint(
            Rule::WorkdirRelativePath,
            path.span,
            message,
        ));
    }
    state.workdir = true;
}

fn expose(port: &Spanned<String>, found: &mut Vec<Diagnostic>) {
    if let Some((_, protocol)) = port.value.split_once('/')
        && protocol.chars().any(char::is_uppercase)
        && !protocol.contains('$')
    {
        let message = format!("the protocol of {} should be in lower case", port.value);
        found.push(Diagnostic::lint(
            Rule::ExposeProtoCasing,
            port.span,
            message,
        ));
    }
    if port.value.contains(':') && !port.value.contains('$') {
        let message = format!(
            "{} has more than a port: addresses and ports of the host have no place here",
            port.value
        );
        found.push(Diagnostic::lint(
            Rule::ExposeInvalidFormat,
            port.span,
            message,
        ));
    }
}
