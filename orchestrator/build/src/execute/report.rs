//! From what happens to numbered progress events: step numbers, whole lines, the tail of a step's output.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::host::{Transfer, TransferSink};
use crate::progress::{BuildEvent, Progress, StepNumber};
use crate::step::{OutputSink, OutputStream};

/// Lines of a failed step that its error repeats.
const TAIL: usize = 20;
/// Longer lines are shown in parts.
const MAX_LINE: usize = 16 << 10;

#[derive(Clone)]
pub(crate) struct Reporter {
    progress: Arc<dyn Progress>,
    next: Arc<AtomicU32>,
    pub(crate) ran: Arc<AtomicUsize>,
    pub(crate) cached: Arc<AtomicUsize>,
}

impl std::fmt::Debug for Reporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reporter")
    }
}

impl Reporter {
    pub(crate) fn new(progress: Arc<dyn Progress>) -> Self {
        Self {
            progress,
            next: Arc::new(AtomicU32::new(1)),
            ran: Arc::default(),
            cached: Arc::default(),
        }
    }

    pub(crate) fn warning(&self, text: String) {
        self.progress.event(BuildEvent::Warning { text });
    }

    pub(crate) fn cached(&self, name: &str) {
        self.cached.fetch_add(1, Ordering::Relaxed);
        self.found(name);
    }

    /// Something that was found and is not a step.
    pub(crate) fn found(&self, name: &str) {
        let step = self.next.fetch_add(1, Ordering::Relaxed);
        self.progress.event(BuildEvent::Cached {
            step,
            name: name.to_owned(),
        });
    }

    pub(crate) fn started(&self, name: &str) -> Running {
        let step = self.next.fetch_add(1, Ordering::Relaxed);
        self.progress.event(BuildEvent::Started {
            step,
            name: name.to_owned(),
        });
        let lines = Mutex::new(Lines::default());
        Running {
            progress: Arc::clone(&self.progress),
            step,
            since: Instant::now(),
            lines: Arc::new(lines),
        }
    }
}

/// One running step.
#[derive(Clone)]
pub(crate) struct Running {
    progress: Arc<dyn Progress>,
    step: StepNumber,
    since: Instant,
    lines: Arc<Mutex<Lines>>,
}

#[derive(Debug, Default)]
struct Lines {
    /// Begun and not ended yet, by stream.
    open: [Vec<u8>; 2],
    tail: VecDeque<String>,
}

impl Running {
    pub(crate) fn done(&self) {
        self.flush();
        self.progress.event(BuildEvent::Done {
            step: self.step,
            took: self.since.elapsed(),
        });
    }

    pub(crate) fn failed(&self, error: &str) {
        self.flush();
        self.progress.event(BuildEvent::Failed {
            step: self.step,
            error: error.to_owned(),
        });
    }

    pub(crate) fn output(&self) -> OutputSink {
        let running = self.clone();
        OutputSink::new(move |stream, bytes| running.write(stream, bytes))
    }

    pub(crate) fn transfers(&self) -> TransferSink {
        let (progress, step) = (Arc::clone(&self.progress), self.step);
        Box::new(
            move |Transfer {
                      item,
                      status,
                      current,
                      total,
                  }| {
                progress.event(BuildEvent::Transfer {
                    step,
                    item,
                    status,
                    current,
                    total,
                });
            },
        )
    }

    /// The last lines, from both streams as they came.
    pub(crate) fn tail(&self) -> Vec<String> {
        self.flush();
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .tail
            .iter()
            .cloned()
            .collect()
    }

    fn write(&self, stream: OutputStream, bytes: &[u8]) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let open = &mut lines.open[stream as usize];
            open.extend_from_slice(piece);
            if piece.ends_with(b"\n") || open.len() >= MAX_LINE {
                let line = std::mem::take(open);
                self.line(&mut lines, stream, &line);
            }
        }
    }

    fn flush(&self) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in [OutputStream::Stdout, OutputStream::Stderr] {
            let line = std::mem::take(&mut lines.open[stream as usize]);
            if !line.is_empty() {
                self.line(&mut lines, stream, &line);
            }
        }
    }

    fn line(&self, lines: &mut Lines, stream: OutputStream, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        // What a progress bar drew over is not shown.
        let text = text.trim_end_matches(['\n', '\r']);
        let line = text.rsplit('\r').next().unwrap_or_default().to_owned();
        if lines.tail.len() == TAIL {
            lines.tail.pop_front();
        }
        lines.tail.push_back(line.clone());
        self.progress.event(BuildEvent::Output {
            step: self.step,
            stream,
            at: self.since.elapsed(),
            line,
        });
    }
}
