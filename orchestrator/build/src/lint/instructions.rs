//! What stages say: forms of commands, secrets, paths, ports.

use std::collections::BTreeMap;

use super::Rule;
use crate::diagnostic::{Diagnostic, SourceFile, Span, Spanned};
use crate::dockerfile::{ArgPair, Command, Dockerfile, Health, Instruction, Kind, Pair, Stage};

pub(super) fn check(source: &SourceFile, file: &Dockerfile, found: &mut Vec<Diagnostic>) {
    secret_arguments(&file.args, found);
    for (index, stage) in file.stages.iter().enumerate() {
        let mut state = StageState { workdir: has_workdir(file, index), ..StageState::default() };
        for instruction in &stage.instructions {
            one(source, instruction, &mut state, found);
        }
    }
}

#[derive(Debug, Default)]
struct StageState {
    /// An absolute one was set.
    workdir: bool,
    shell: bool,
    /// The last one of those that count only once.
    last: BTreeMap<&'static str, Span>,
}

/// A stage on another one has its WORKDIR.
fn has_workdir(file: &Dockerfile, index: usize) -> bool {
    let base = &file.stages[index].base.value;
    let named = |stage: &Stage| stage.name.as_ref().is_some_and(|name| name.value.eq_ignore_ascii_case(base));
    let absolute =
        |instruction: &Instruction| matches!(&instruction.kind, Kind::Workdir(path) if path.value.starts_with('/'));
    match file.stages[..index].iter().rposition(named) {
        Some(base) => file.stages[base].instructions.iter().any(absolute) || has_workdir(file, base),
        None => false,
    }
}

fn one(source: &SourceFile, instruction: &Instruction, state: &mut StageState, found: &mut Vec<Diagnostic>) {
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
        Kind::Healthcheck(Health::None | Health::Check { .. }) => once("HEALTHCHECK", state, span, found),
        Kind::Shell(_) => state.shell = true,
        Kind::Maintainer(_) => {
            let finding = Diagnostic::lint(Rule::MaintainerDeprecated, span, "MAINTAINER is deprecated");
            found.push(finding.hint("LABEL org.opencontainers.image.authors=\"…\""));
        }
        Kind::Env(pairs) => {
            legacy_pairs(source, "ENV", pairs, found);
            pairs.iter().for_each(|pair| secret("ENV", &pair.name, found));
        }
        Kind::Label(pairs) => legacy_pairs(source, "LABEL", pairs, found),
        Kind::Arg(pairs) => secret_arguments(pairs, found),
        Kind::Workdir(path) => workdir(path, state, found),
        Kind::Expose(ports) => ports.iter().for_each(|port| expose(port, found)),
        _ => {}
    }
}

fn shell_form(name: &str, command: &Command, state: &StageState, span: Span, found: &mut Vec<Diagnostic>) {
    if matches!(command, Command::Shell(_)) && !state.shell {
        let message = format!("{name} is better written as a JSON array: a shell does not hand signals on");
        found.push(Diagnostic::lint(Rule::JSONArgsRecommended, span, message));
    }
}

fn once(name: &'static str, state: &mut StageState, span: Span, found: &mut Vec<Diagnostic>) {
    if let Some(earlier) = state.last.insert(name, span) {
        let message = format!("this {name} has no effect: only the last one of a stage counts");
        found.push(Diagnostic::lint(Rule::MultipleInstructionsDisallowed, earlier, message));
    }
}

/// `ENV name value`: the text between the two is no equals sign.
fn legacy_pairs(source: &SourceFile, instruction: &str, pairs: &[Pair], found: &mut Vec<Diagnostic>) {
    for pair in pairs {
        let end = pair.name.span.end;
        if source.text.get(end..=end).is_some_and(|between| between != "=") {
            let message = format!("{instruction} name=value is the form to use, not {instruction} name value");
            found.push(Diagnostic::lint(Rule::LegacyKeyValueFormat, pair.name.span, message));
        }
    }
}

fn secret_arguments(pairs: &[ArgPair], found: &mut Vec<Diagnostic>) {
    pairs.iter().for_each(|pair| secret("ARG", &pair.name, found));
}

fn secret(instruction: &str, name: &Spanned<String>, found: &mut Vec<Diagnostic>) {
    const SECRET: [&str; 10] =
        ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];
    let lower = name.value.to_lowercase();
    let mut parts = lower.split('_');
    if parts.clone().any(|part| part == "public") || !parts.any(|part| SECRET.contains(&part)) {
        return;
    }
    let message = format!("{instruction} {} stays in the image: it is no place for a secret", name.value);
    found.push(Diagnostic::lint(Rule::SecretsUsedInArgOrEnv, name.span, message).hint("RUN --mount=type=secret,id=…"));
}

fn workdir(path: &Spanned<String>, state: &mut StageState, found: &mut Vec<Diagnostic>) {
    if path.value.starts_with(['/', '$']) {
        state.workdir = true;
    } else if !state.workdir {
        let message = format!("where the relative {} is depends on the base image", path.value);
        found.push(Diagnostic::lint(Rule::WorkdirRelativePath, path.span, message));
    }
}

fn expose(port: &Spanned<String>, found: &mut Vec<Diagnostic>) {
    if let Some((_, protocol)) = port.value.split_once('/')
        && protocol.chars().any(char::is_uppercase)
        && !protocol.contains('$')
    {
        let message = format!("the protocol of {} should be in lower case", port.value);
        found.push(Diagnostic::lint(Rule::ExposeProtoCasing, port.span, message));
    }
    if port.value.contains(':') && !port.value.contains('$') {
        let message =
            format!("{} has more than a port: addresses and ports of the host have no place here", port.value);
        found.push(Diagnostic::lint(Rule::ExposeInvalidFormat, port.span, message));
    }
}
