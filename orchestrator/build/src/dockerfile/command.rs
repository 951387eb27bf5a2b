//! RUN, CMD, ENTRYPOINT, SHELL, HEALTHCHECK: what is executed, in shell or exec form.

use super::{Command, Health, Kind, LogicalLine, Parser, Run, words};
use crate::diagnostic::{Diagnostic, Spanned};

impl Parser<'_> {
    /// JSON array → exec form; anything else is one line for the shell.
    pub(super) fn command(&self, at: usize, instruction: &str) -> Result<Command, Diagnostic> {
        if let Some(array) = words::json_array(self.line, at) {
            return array.map(Command::Exec);
        }
        let rest = self.line.text[at..].trim();
        if rest.is_empty() {
            return Err(self.missing_argument(instruction));
        }
        Ok(Command::Shell(rest.to_owned()))
    }

    pub(super) fn run(&self, at: usize) -> Result<Run, Diagnostic> {
        let (flags, at) = self.flags(at, "RUN", &["mount", "network", "security", "device"])?;
        if let Some(device) = flags.first("device") {
            return Err(Diagnostic::error(device, "RUN --device is not supported")
                .hint("steps have no devices of the host"));
        }
        let insecure = match flags.value("security")? {
            Some(security) if security.value == "insecure" => Some(security.span),
            Some(security) if security.value != "sandbox" => {
                let message = format!("unknown security {}", security.value);
                return Err(Diagnostic::error(security.span, message)
                    .hint("--security is sandbox or insecure"));
            }
            _ => None,
        };
        let mounts = flags
            .values("mount")
            .map(|text| self.mount(&text?))
            .collect::<Result<Vec<_>, _>>()?;
        let command = self.command(at, "RUN")?;
        if command == Command::Exec(Vec::new()) {
            return Err(Diagnostic::error(self.line.span, "RUN needs a program"));
        }
        Ok(Run {
            command,
            heredocs: self.line.heredocs.clone(),
            mounts,
            network: flags.value("network")?,
            insecure,
        })
    }

    pub(super) fn shell(&self, at: usize) -> Result<Kind, Diagnostic> {
        match words::json_array(self.line, at) {
            Some(array) => {
                let array = array?;
                if array.is_empty() {
                    Err(self.missing_argument("SHELL"))
                } else {
                    Ok(Kind::Shell(array))
                }
            }
            None => Err(
                Diagnostic::error(self.line.span, "SHELL takes a JSON array")
                    .hint("SHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]"),
            ),
        }
    }

    /// `HEALTHCHECK NONE`, or `HEALTHCHECK [options] CMD command`.
    pub(super) fn healthcheck(&self, at: usize) -> Result<Kind, Diagnostic> {
        const FLAGS: [&str; 5] = [
            "interval",
            "timeout",
            "start-period",
            "start-interval",
            "retries",
        ];
        let (flags, at) = self.flags(at, "HEALTHCHECK", &FLAGS)?;
        let text = &self.line.text;
        let start = at + text[at..].len() - text[at..].trim_start().len();
        let end = text[start..]
            .find(char::is_whitespace)
            .map_or(text.len(), |length| start + length);
        match text[start..end].to_uppercase().as_str() {
            "NONE" if text[end..].trim().is_empty() && flags.0.is_empty() => {
                Ok(Kind::Healthcheck(Health::None))
            }
            "NONE" => Err(Diagnostic::error(
                self.line.span,
                "HEALTHCHECK NONE takes no options and no command",
            )),
            "CMD" => {
                let duration = |name: &str| {
                    flags
                        .value(name)?
                        .map_or(Ok(0), |value| nanoseconds(&value))
                };
                Ok(Kind::Healthcheck(Health::Check {
                    command: self.command(end, "HEALTHCHECK CMD")?,
                    interval: duration("interval")?,
                    timeout: duration("timeout")?,
                    start_period: duration("start-period")?,
                    start_interval: duration("start-interval")?,
                    retries: flags
                        .value("retries")?
                        .map_or(Ok(0), |value| retries(&value))?,
                }))
            }
            "" => Err(self.missing_argument("HEALTHCHECK")),
            other => Err(Diagnostic::error(
                self.line.place(start, end),
                format!("unknown type {other} in HEALTHCHECK"),
            )
            .hint("HEALTHCHECK [--interval=30s …] CMD command, or HEALTHCHECK NONE")),
        }
    }

    /// Checks the trigger and keeps its text, with the bodies of its heredocs.
    pub(super) fn onbuild(&self, at: usize) -> Result<Kind, Diagnostic> {
        let trigger = self.rest_of(at, "ONBUILD")?;
        let name = trigger
            .value
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_uppercase();
        if matches!(name.as_str(), "ONBUILD" | "FROM" | "MAINTAINER") {
            return Err(Diagnostic::error(
                trigger.span,
                format!("{name} is not allowed as an ONBUILD trigger"),
            ));
        }
        let line = LogicalLine::synthetic(
            trigger.value.clone(),
            self.line.heredocs.clone(),
            trigger.span,
        );
        Parser {
            line: &line,
            escape: self.escape,
        }
        .line_kind()?;
        let mut text = trigger.value;
        for heredoc in &self.line.heredocs {
            text.push('\n');
            text.push_str(&heredoc.raw);
            text.push_str(&heredoc.name);
        }
        Ok(Kind::OnBuild(text))
    }
}

fn retries(value: &Spanned<String>) -> Result<i64, Diagnostic> {
    match value.value.parse() {
        Ok(number) if number >= 0 => Ok(number),
        _ => Err(Diagnostic::error(
            value.span,
            format!("--retries is a number of 0 or more, not {}", value.value),
        )),
    }
}

/// Go's duration: `1h30m`, `1.5s`, `100ms`.
fn nanoseconds(value: &Spanned<String>) -> Result<i64, Diagnostic> {
    let invalid = || {
        Diagnostic::error(value.span, format!("invalid duration {:?}", value.value))
            .hint("a number with a unit: 30s, 1m30s, 500ms")
    };
    let mut rest = value.value.as_str();
    if rest == "0" {
        return Ok(0);
    }
    let mut total = 0f64;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(invalid)?;
        let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let unit_end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let unit = match &rest[..unit_end] {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return Err(invalid()),
        };
        rest = &rest[unit_end..];
        total += number * unit;
    }
    if total > 0.0 && total < 1e6 {
        return Err(Diagnostic::error(
            value.span,
            format!("{} is shorter than 1ms", value.value),
        ));
    }
    if value.value.is_empty() || total > 9e18 {
        return Err(invalid());
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "checked against the range just above"
    )]
    Ok(total as i64)
}
