//! What a running build tells the world: one closed enum of events.

use std::time::Duration;

use crate::step::OutputStream;

/// Number of a step in one build, counted in the order in which steps are first mentioned.
pub type StepNumber = u32;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildEvent {
    /// Something to know that does not stop the build, already rendered.
    Warning {
        text: String,
    },
    Started {
        step: StepNumber,
        name: String,
    },
    /// The step's result was there already; nothing was run.
    Cached {
        step: StepNumber,
        name: String,
    },
    /// One whole line (or a long part of one) of a step's output.
    Output {
        step: StepNumber,
        stream: OutputStream,
        /// Since the step began.
        at: Duration,
        line: String,
    },
    /// Something of an image that is pulled.
    Transfer {
        step: StepNumber,
        /// A layer; empty for the image.
        item: String,
        status: String,
        /// Bytes that came.
        current: u64,
        /// Of how many; 0 when they are not counted.
        total: u64,
    },
    Done {
        step: StepNumber,
        took: Duration,
    },
    Failed {
        step: StepNumber,
        error: String,
    },
}

/// Receives events, from any thread; must not block for long.
pub trait Progress: Send + Sync {
    fn event(&self, event: BuildEvent);
}

impl<F: Fn(BuildEvent) + Send + Sync> Progress for F {
    fn event(&self, event: BuildEvent) {
        self(event);
    }
}
