//! Owns how a failure becomes an exit code and text: its kind decides the code, its hints are printed after it.
//! The only place that turns errors into text for the user.

use hoist_api::ApplyResult;
use hoist_client::ClientError;
use hoist_spec::{Diagnostic, Severity};

use crate::options::ErrorFormat;
use crate::render::Ui;
use crate::render::text::inert;

pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// What a verb ends with when it did what it was asked to; the number becomes the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit(pub(crate) u8);

impl Exit {
    pub(crate) const OK: Self = Self(0);
    /// `plan` found something that cannot be done.
    pub(crate) const PROBLEMS: Self = Self(1);
    /// `port` found no published port.
    pub(crate) const NOT_PUBLISHED: Self = Self(1);
    /// `plan` found something to do.
    pub(crate) const CHANGES: Self = Self(2);
    /// `system check` found something broken that it did not put right.
    pub(crate) const UNSOUND: Self = Self(3);
    /// The terminal was closed, and the process in it had to be killed.
    pub(crate) const HUNG_UP: Self = Self(129);
    pub(crate) const INTERRUPTED: Self = Self(130);

    /// A container's exit code as this program's own.
    pub(crate) fn of_container(code: i64) -> Self {
        Self(u8::try_from(code.rem_euclid(256)).unwrap_or(1))
    }
}

#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    error: anyhow::Error,
    hints: Vec<String>,
}

#[derive(Debug)]
enum Kind {
    /// The request, or what it ran into: the ordinary failure.
    Plain,
    /// The Compose files are wrong.
    Spec(Vec<Diagnostic>),
    /// The engine did the work in part; each failure stands for itself.
    Apply(ApplyResult),
    /// A command that could not be executed in a container; docker's message, printed without context.
    Command(Exit),
    /// Ctrl-C, or a question answered with no.
    Interrupted,
    /// Nobody reads standard output any more.
    BrokenPipe,
}

impl Failure {
    pub(crate) fn user(message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Plain,
            error: anyhow::Error::msg(message.into()),
            hints: Vec::new(),
        }
    }

    pub(crate) fn spec(diagnostics: Vec<Diagnostic>) -> Self {
        let first = diagnostics
            .iter()
            .find(|diagnostic| diagnostic.severity == Severity::Error);
        let message = first.map_or("the stack could not be read", |first| {
            first.message.as_str()
        });
        let error = anyhow::Error::msg(message.to_owned());
        Self {
            kind: Kind::Spec(diagnostics),
            error,
            hints: Vec::new(),
        }
    }

    /// The failures of an apply, as the engine tells them.
    pub(crate) fn apply(result: ApplyResult) -> Self {
        let message = if result.errors.is_empty() {
            "the work failed".to_owned()
        } else {
            result.errors.join("\n")
        };
        Self {
            kind: Kind::Apply(result),
            error: anyhow::Error::msg(message),
            hints: Vec::new(),
        }
    }

    /// A command that could not be run in a container, with docker's codes for why.
    pub(crate) fn command(error: ClientError) -> Self {
        match &error {
            ClientError::Api { error: body, .. } if body.kind.is_command() => Self {
                kind: Kind::Command(command_exit(body.exit_code)),
                ..Self::from(error)
            },
            _ => error.into(),
        }
    }

    pub(crate) fn interrupted() -> Self {
        Self {
            kind: Kind::Interrupted,
            error: anyhow::Error::msg("interrupted"),
            hints: Vec::new(),
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Part of the work was done, and what could not be done is listed.
    pub(crate) fn is_partial(&self) -> bool {
        matches!(self.kind, Kind::Apply(_))
    }

    /// No stack file was found.
    pub(crate) fn lacks_stack(&self) -> bool {
        self.has_code("E0022")
    }

    pub(crate) fn has_code(&self, code: &str) -> bool {
        matches!(&self.kind, Kind::Spec(diagnostics) if diagnostics.iter().any(|diagnostic| diagnostic.code == code))
    }

    pub(crate) fn is_interruption(&self) -> bool {
        matches!(self.kind, Kind::Interrupted)
    }

    pub(crate) fn report_as_warning(&self, ui: Ui) {
        chain(&self.error).lines().for_each(|line| ui.warn(line));
    }

    pub(crate) fn exit(&self) -> Exit {
        match &self.kind {
            Kind::Plain | Kind::Spec(_) => Exit(1),
            Kind::Apply(result) => command_exit(result.code),
            Kind::Command(exit) => *exit,
            Kind::Interrupted => Exit::INTERRUPTED,
            Kind::BrokenPipe => Exit::OK,
        }
    }

    /// Writes the failure to standard error, in the form that was asked for.
    pub(crate) fn report(&self, ui: Ui) {
        match (&self.kind, ui.error_format()) {
            (Kind::BrokenPipe, _) => {}
            (Kind::Interrupted, ErrorFormat::Text) => {}
            (Kind::Spec(diagnostics), ErrorFormat::Text) => {
                for diagnostic in diagnostics {
                    ui.diagnostic(diagnostic);
                }
                if diagnostics.len() > 1 {
                    ui.error(&count(diagnostics));
                }
                self.hints.iter().for_each(|hint| ui.hint(hint));
            }
            // Lines end as docker ends them.
            (Kind::Command(_), ErrorFormat::Text) => ui.talk(&(inert(&chain(&self.error)) + "\r")),
            (Kind::Apply(result), ErrorFormat::Text) => {
                for error in &result.errors {
                    // It may end in what a build step wrote.
                    ui.error(&inert(error));
                }
            }
            (_, ErrorFormat::Text) => {
                ui.error(&chain(&self.error));
                for hint in &self.hints {
                    ui.hint(hint);
                }
            }
            (_, ErrorFormat::Json) => ui.talk(&self.to_json().to_string()),
        }
    }

    fn to_json(&self) -> serde_json::Value {
        let mut value = serde_json::json!({ "error": true, "message": chain(&self.error) });
        if let Kind::Spec(diagnostics) = &self.kind {
            value["diagnostics"] = diagnostics
                .iter()
                .map(hoist_spec::diagnostic::to_json)
                .collect();
        }
        if !self.hints.is_empty() {
            value["hints"] = self.hints.clone().into();
        }
        value
    }
}

/// `the stack has 2 errors and 1 warning`
fn count(diagnostics: &[Diagnostic]) -> String {
    let of = |severity, word: &str| {
        let count = diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.severity == severity)
            .count();
        (count > 0).then(|| format!("{count} {word}{}", if count == 1 { "" } else { "s" }))
    };
    let counts = of(Severity::Error, "error")
        .into_iter()
        .chain(of(Severity::Warning, "warning"));
    format!("the stack has {}", counts.collect::<Vec<_>>().join(" and "))
}

/// A command that could not be run keeps docker's codes, 126 and 127; every other failure is 1, as in docker compose.
fn command_exit(code: i32) -> Exit {
    match u8::try_from(code) {
        Ok(code @ 126..=127) => Exit(code),
        _ => Exit(1),
    }
}

/// The error and its causes in one line. A cause that the line before already ends with is not said twice.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self {
            kind: Kind::Plain,
            error,
            hints: Vec::new(),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        let kind = if error.kind() == std::io::ErrorKind::BrokenPipe {
            Kind::BrokenPipe
        } else {
            Kind::Plain
        };
        Self {
            kind,
            error: error.into(),
            hints: Vec::new(),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let hint = match &error {
            ClientError::Permission { .. } => Some(
                "the socket belongs to the engine's user; become that user, or name an engine of your own with -H",
            ),
            ClientError::NoEngine { .. } => Some("HOIST_RUN_DIR and -H say where the engine is"),
            _ => None,
        };
        let failure = Self::from(anyhow::Error::new(error));
        match hint {
            None => failure,
            Some(hint) => failure.hint(hint),
        }
    }
}
