//! Instructions that change only the configuration of the result.

use hoist_image::Healthcheck;
use hoist_object::signal;

use super::lower::{Lowering, Stage};
use super::scope::Globals;
use crate::dockerfile::{ArgPair, Command, Health, Instruction, Kind, Pair};
use crate::{Diagnostic, Spanned, expand};

impl Lowering<'_> {
    pub(super) fn describe(
        &mut self,
        instruction: &Instruction,
        stage: &mut Stage,
    ) -> Result<(), Diagnostic> {
        let escape = self.escape();
        let line = match &instruction.kind {
            Kind::Env(pairs) => env(pairs, stage, escape)?,
            Kind::Label(pairs) => label(pairs, stage, escape)?,
            Kind::Arg(pairs) => {
                declare(pairs, stage, self.globals(), escape)?;
                instruction.text.clone()
            }
            Kind::Expose(ports) => expose(ports, stage, escape)?,
            Kind::Volume(volumes) => volume(volumes, stage, escape)?,
            Kind::User(user) => {
                stage.execution.user = stage.expand(user, escape)?;
                format!("USER {}", stage.execution.user)
            }
            Kind::StopSignal(signal) => stop_signal(signal, stage, escape)?,
            Kind::Cmd(command) => cmd(command, stage),
            Kind::Entrypoint(command) => entrypoint(command, stage),
            Kind::Shell(shell) => {
                stage.execution.shell = Some(shell.clone());
                format!("SHELL {shell:?}")
            }
            Kind::Healthcheck(health) => {
                stage.execution.healthcheck = Some(healthcheck(health));
                instruction.text.clone()
            }
            Kind::Maintainer(author) => {
                stage.author = Some(author.clone());
                format!("MAINTAINER {author}")
            }
            Kind::OnBuild(trigger) => {
                stage.execution.on_build.push(trigger.clone());
                // As with BuildKit: it is about other images, so it is not in the history of this one.
                return Ok(());
            }
            Kind::Run(_) | Kind::Copy(_) | Kind::Add(_) | Kind::Workdir(_) => return Ok(()),
        };
        stage.metadata(line);
        Ok(())
    }
}

fn env(pairs: &[Pair], stage: &mut Stage, escape: char) -> Result<String, Diagnostic> {
    let pairs = expand_pairs(pairs, stage, escape)?;
    let shown = shown_pairs(&pairs);
    pairs
        .into_iter()
        .for_each(|(name, value)| stage.scope.set_env(name, value));
    Ok(format!("ENV {shown}"))
}

fn label(pairs: &[Pair], stage: &mut Stage, escape: char) -> Result<String, Diagnostic> {
    let pairs = expand_pairs(pairs, stage, escape)?;
    let shown = shown_pairs(&pairs);
    stage.execution.labels.extend(pairs);
    Ok(format!("LABEL {shown}"))
}

fn declare(
    pairs: &[ArgPair],
    stage: &mut Stage,
    globals: &Globals,
    escape: char,
) -> Result<(), Diagnostic> {
    for pair in pairs {
        let name = stage.expand(&pair.name, escape)?;
        let default = pair
            .default
            .as_ref()
            .map(|default| stage.expand(default, escape))
            .transpose()?;
        stage.scope.declare(name, default, globals);
    }
    Ok(())
}

fn volume(
    volumes: &[Spanned<String>],
    stage: &mut Stage,
    escape: char,
) -> Result<String, Diagnostic> {
    let volumes = volumes
        .iter()
        .map(|volume| stage.expand(volume, escape))
        .collect::<Result<Vec<_>, _>>()?;
    let shown = format!("VOLUME [{}]", volumes.join(" "));
    stage.execution.volumes.extend(volumes);
    Ok(shown)
}

fn stop_signal(
    signal: &Spanned<String>,
    stage: &mut Stage,
    escape: char,
) -> Result<String, Diagnostic> {
    let name = stage.expand(signal, escape)?;
    check_signal(&name, signal)?;
    let shown = format!("STOPSIGNAL {name}");
    stage.execution.stop_signal = Some(name);
    Ok(shown)
}

fn cmd(command: &Command, stage: &mut Stage) -> String {
    let argv = stage.argv(command);
    let shown = format!("CMD {argv:?}");
    stage.execution.cmd = Some(argv);
    stage.cmd_is_own = true;
    shown
}

fn entrypoint(command: &Command, stage: &mut Stage) -> String {
    let argv = stage.argv(command);
    let shown = format!("ENTRYPOINT {argv:?}");
    stage.execution.entrypoint = Some(argv);
    // The base's CMD was meant for the base's ENTRYPOINT.
    if !stage.cmd_is_own {
        stage.execution.cmd = None;
    }
    shown
}

/// All values of one instruction see the variables as they were before it.
fn expand_pairs(
    pairs: &[Pair],
    stage: &Stage,
    escape: char,
) -> Result<Vec<(String, String)>, Diagnostic> {
    pairs
        .iter()
        .map(|pair| {
            Ok((
                stage.expand(&pair.name, escape)?,
                stage.expand(&pair.value, escape)?,
            ))
        })
        .collect()
}

fn shown_pairs(pairs: &[(String, String)]) -> String {
    pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join(" ")
}

fn expose(
    ports: &[Spanned<String>],
    stage: &mut Stage,
    escape: char,
) -> Result<String, Diagnostic> {
    let mut shown = Vec::new();
    for word in ports {
        let words = expand::expand_words(
            &word.value,
            escape,
            &|name| stage.scope.get(name),
            &stage.budget,
        )
        .map_err(|error| Diagnostic::error(word.span, error.to_string()))?;
        for port in words {
            let invalid = || {
                Diagnostic::error(word.span, format!("invalid port {port:?}"))
                    .hint("EXPOSE 80, 80/tcp, 53/udp or 8000-8010")
            };
            // An address and a port of the host may stand before it, and mean nothing.
            let own = port.rsplit(':').next().unwrap_or_default();
            let (range, protocol) = own.split_once('/').unwrap_or((own, "tcp"));
            let protocol = protocol.to_lowercase();
            if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
                return Err(invalid());
            }
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (u16, u16) = match (first.parse(), last.parse()) {
                (Ok(first), Ok(last)) if first > 0 && first <= last => (first, last),
                _ => return Err(invalid()),
            };
            stage
                .execution
                .exposed_ports
                .extend((first..=last).map(|number| format!("{number}/{protocol}")));
            shown.push(port);
        }
    }
    Ok(format!("EXPOSE {}", shown.join(" ")))
}

fn check_signal(name: &str, place: &Spanned<String>) -> Result<(), Diagnostic> {
    if signal::number(name).is_some() {
        Ok(())
    } else {
        Err(Diagnostic::error(
            place.span,
            format!("unknown signal {name:?}"),
        ))
    }
}

fn healthcheck(health: &Health) -> Healthcheck {
    match health {
        Health::None => Healthcheck {
            test: vec!["NONE".to_owned()],
            ..Healthcheck::default()
        },
        Health::Check {
            command,
            interval,
            timeout,
            start_period,
            start_interval,
            retries,
        } => Healthcheck {
            test: match command {
                Command::Shell(line) => vec!["CMD-SHELL".to_owned(), line.clone()],
                Command::Exec(argv) => std::iter::once("CMD".to_owned())
                    .chain(argv.iter().cloned())
                    .collect(),
            },
            interval: *interval,
            timeout: *timeout,
            start_period: *start_period,
            start_interval: *start_interval,
            retries: *retries,
        },
    }
}
