//! What kinds of errors there are, and what each means outside: one table.

use serde::{Deserialize, Serialize};

/// What went wrong, as far as somebody may act on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The request is malformed, or asks for what cannot be.
    Invalid,
    /// A registry refuses the credentials.
    Unauthorized,
    Forbidden,
    NotFound,
    /// It contradicts what there is: a name or an address in use, an object in the wrong state.
    Conflict,
    /// The command of a container or exec cannot be run as asked: its user or group does not exist.
    Command,
    CommandNotExecutable,
    CommandNotFound,
    /// The engine or its host.
    Engine,
    /// The engine is about to end.
    Unavailable,
    /// The work itself: a build, a pull, a dependency. Also what a client does not know.
    #[default]
    #[serde(other)]
    Failed,
}

impl ErrorKind {
    /// HTTP status, and exit code in docker's numbering: 125 the engine, 126 and 127 the command of a container.
    const fn meaning(self) -> (u16, i32) {
        match self {
            Self::Invalid => (400, 1),
            Self::Unauthorized => (401, 1),
            Self::Forbidden => (403, 1),
            Self::NotFound => (404, 1),
            Self::Conflict => (409, 1),
            Self::Command => (400, 125),
            Self::CommandNotExecutable => (400, 126),
            Self::CommandNotFound => (400, 127),
            Self::Failed => (500, 1),
            Self::Engine => (500, 125),
            Self::Unavailable => (503, 125),
        }
    }

    pub const fn status(self) -> u16 {
        self.meaning().0
    }

    pub const fn exit_code(self) -> i32 {
        self.meaning().1
    }

    /// Of a start that failed with this exit code.
    pub const fn of_exit_code(code: i32) -> Self {
        match code {
            127 => Self::CommandNotFound,
            126 => Self::CommandNotExecutable,
            125 => Self::Engine,
            _ => Self::Failed,
        }
    }

    /// Of an answer without a kind.
    pub const fn of_status(status: u16) -> Self {
        match status {
            401 => Self::Unauthorized,
            403 => Self::Forbidden,
            404 => Self::NotFound,
            409 => Self::Conflict,
            400..=499 => Self::Invalid,
            503 => Self::Unavailable,
            _ => Self::Failed,
        }
    }

    /// A command could not be run in a container; the message is in docker's words.
    pub const fn is_command(self) -> bool {
        matches!(
            self,
            Self::Command | Self::CommandNotExecutable | Self::CommandNotFound
        )
    }
}

/// The body of every answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    pub message: String,
    #[serde(default)]
    pub kind: ErrorKind,
    #[serde(default = "exit_code_of_others")]
    pub exit_code: i32,
}

fn exit_code_of_others() -> i32 {
    ErrorKind::default().exit_code()
}

impl ErrorBody {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            kind,
            exit_code: kind.exit_code(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_of_other_engines_are_read() {
        let decode = |text: &str| serde_json::from_str::<ErrorBody>(text).unwrap();
        assert_eq!(
            decode(r#"{"message":"a"}"#),
            ErrorBody::new(ErrorKind::Failed, "a")
        );
        let later = decode(r#"{"message":"a","kind":"of-tomorrow","exit_code":126,"more":1}"#);
        assert_eq!((later.kind, later.exit_code), (ErrorKind::Failed, 126));
    }

    #[test]
    fn every_kind_keeps_its_exit_code_on_the_way() {
        for kind in [
            ErrorKind::CommandNotFound,
            ErrorKind::CommandNotExecutable,
            ErrorKind::Engine,
        ] {
            assert_eq!(ErrorKind::of_exit_code(kind.exit_code()), kind);
            let body = serde_json::to_string(&ErrorBody::new(kind, "x")).unwrap();
            assert_eq!(
                serde_json::from_str::<ErrorBody>(&body).unwrap().kind,
                kind,
                "{body}"
            );
        }
    }
}
