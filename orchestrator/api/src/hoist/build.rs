//! What a running build tells: one closed enum of events, its JSON form and its plain text form.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Of a step's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputStream {
    Stdout,
    Stderr,
}

/// Its JSON form, one object an event, is what `--progress=rawjson` writes: the names here are documented
/// (docs/progress.md).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum BuildEvent {
    /// Something to know that does not stop the build, already rendered.
    Warning {
        text: String,
    },
    Started {
        step: u32,
        name: String,
    },
    /// The step's result was there already; nothing was run.
    Cached {
        step: u32,
        name: String,
    },
    /// One whole line (or a long part of one) of a step's output.
    Output {
        step: u32,
        stream: OutputStream,
        /// Since the step began.
        #[serde(with = "seconds")]
        at: Duration,
        line: String,
    },
    /// Something of an image that is pulled.
    Transfer {
        step: u32,
        /// A layer; empty for the image.
        item: String,
        status: String,
        /// Bytes that came.
        current: u64,
        /// Of how many; 0 when they are not counted.
        total: u64,
    },
    Done {
        step: u32,
        #[serde(with = "seconds")]
        took: Duration,
    },
    Failed {
        step: u32,
        error: String,
    },
}

/// Durations as JSON numbers, in whole milliseconds.
mod seconds {
    use super::{Deserialize, Deserializer, Duration, Serializer};

    #[expect(
        clippy::cast_precision_loss,
        reason = "a step that runs for 2^53 ms is none"
    )]
    pub(super) fn serialize<S: Serializer>(
        time: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(time.as_millis() as f64 / 1000.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(deserializer)?)
            .map_err(serde::de::Error::custom)
    }
}

/// The plain form, one event a line (or two: a step's name and its state), as buildx prints it.
impl fmt::Display for BuildEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Warning { text } => f.write_str(text),
            Self::Started { step, name } => write!(f, "#{step} {name}"),
            Self::Cached { step, name } => write!(f, "#{step} {name}\n#{step} CACHED"),
            Self::Output { step, at, line, .. } => {
                write!(f, "#{step} {:.3} {line}", at.as_secs_f64())
            }
            Self::Transfer {
                step, item, status, ..
            } => write!(f, "#{step} {item} {status}"),
            Self::Done { step, took } => write!(f, "#{step} DONE {:.1}s", took.as_secs_f64()),
            Self::Failed { step, error } => write!(f, "#{step} ERROR: {error}"),
        }
    }
}
