//! How work goes: redrawn on a terminal, plain lines, JSON lines (of builds in two depths), nothing. What others wrote
//! (builds, registries) is shown to people without anything that a terminal would obey.

mod board;
mod draw;
mod screen;

use std::collections::HashMap;

use hoist_api::{ApplyEvent, BuildEvent, PullLine, StepState};

use crate::options::ProgressMode;
use crate::render::Ui;
use crate::render::text::inert;
use screen::Screen;

/// Draws what happens; `finish` (or dropping) leaves the last state on the screen.
#[derive(Debug)]
pub(crate) struct Progress {
    ui: Ui,
    form: Form,
    /// What the steps of the plan are about.
    labels: HashMap<usize, String>,
}

#[derive(Debug)]
enum Form {
    Quiet,
    Plain,
    Json,
    RawJson,
    Tty(Screen),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Working,
    Done,
    Error,
    Warning,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Self::Working => "Working",
            Self::Done => "Done",
            Self::Error => "Error",
            Self::Warning => "Warning",
        }
    }
}

/// One line's new state.
#[derive(Debug)]
struct Line<'a> {
    id: &'a str,
    /// The line that this one belongs under: an image over its layers.
    parent: Option<&'a str>,
    text: &'a str,
    status: Status,
    /// Only in JSON: for people the end of the command says what failed.
    details: &'a str,
    bytes: Option<(u64, u64)>,
}

impl Progress {
    pub(crate) fn new(ui: Ui) -> Self {
        let form = match ui.progress() {
            ProgressMode::Quiet => Form::Quiet,
            ProgressMode::Json => Form::Json,
            ProgressMode::RawJson => Form::RawJson,
            ProgressMode::Tty => Form::Tty(Screen::new(ui)),
            ProgressMode::Auto | ProgressMode::Plain => Form::Plain,
        };
        Self {
            ui,
            form,
            labels: HashMap::new(),
        }
    }

    pub(crate) fn event(&mut self, event: &ApplyEvent) {
        match event {
            ApplyEvent::Plan { .. }
            | ApplyEvent::Attach { .. }
            | ApplyEvent::Shell { .. }
            | ApplyEvent::Result(_) => {}
            ApplyEvent::Pull { .. } if self.ui.hide_pulls => {}
            ApplyEvent::Build { .. } if self.ui.hide_builds => {}
            ApplyEvent::Step { id, label, state } => {
                self.labels.insert(*id, label.clone());
                self.step(label, state);
            }
            ApplyEvent::Pull {
                image,
                layer,
                status,
                current,
                total,
                ..
            } => {
                let label = format!("Image {image}");
                let (id, parent) = if layer.is_empty() {
                    (&label, None)
                } else {
                    (layer, Some(label.as_str()))
                };
                self.line(&Line {
                    id,
                    parent,
                    text: status,
                    // Only the step itself says that the image as a whole is there.
                    status: if layer.is_empty() {
                        Status::Working
                    } else {
                        pull_status(status)
                    },
                    details: "",
                    bytes: (*total > 0).then_some((*current, *total)),
                });
            }
            ApplyEvent::Build {
                step,
                service,
                event,
            } => self.build(*step, service, event),
            // The remark about orphans names the option that removes them.
            ApplyEvent::Warning { text }
                if self.ui.hide_orphans && text.contains("--remove-orphans") => {}
            ApplyEvent::Warning { text } => self.suspend(|ui| ui.warn(&inert(text))),
        }
    }

    /// A line of docker's pull stream.
    pub(crate) fn pull(&mut self, image: &str, line: &PullLine) {
        if let Some(text) = &line.stream {
            return self.output(image, text.trim_end());
        }
        let status = line.status.as_deref().unwrap_or_default();
        let bytes = line
            .progress_detail
            .as_ref()
            .filter(|d| d.total > 0)
            .map(|d| (d.current, d.total));
        let (id, parent) = match line.id.as_deref() {
            Some(layer) if !layer.is_empty() => (layer, Some(image)),
            _ => (image, None),
        };
        self.line(&Line {
            id,
            parent,
            text: status,
            status: pull_status(status),
            details: "",
            bytes,
        });
    }

    /// Runs something that writes itself, without the redrawn lines in the way.
    pub(crate) fn suspend<T>(&self, write: impl FnOnce(Ui) -> T) -> T {
        match &self.form {
            Form::Tty(screen) => screen.above(|| write(self.ui)),
            _ => write(self.ui),
        }
    }

    /// Leaves the terminal to other output until the next event.
    pub(crate) fn leave(&mut self) {
        if let Form::Tty(screen) = &mut self.form {
            screen.leave();
        }
    }

    pub(crate) fn finish(&mut self) {
        if let Form::Tty(screen) = &mut self.form {
            screen.finish();
        }
    }

    fn step(&mut self, label: &str, state: &StepState) {
        let (text, status, details) = match state {
            StepState::Started { action } => (action.as_str(), Status::Working, ""),
            StepState::Done { action } => (action.as_str(), Status::Done, ""),
            StepState::Failed { error, .. } => ("Error", Status::Error, error.as_str()),
            StepState::Skipped { .. } => ("Skipped", Status::Warning, ""),
        };
        self.line(&Line {
            id: label,
            parent: None,
            text,
            status,
            details,
            bytes: None,
        });
    }

    fn line(&mut self, line: &Line<'_>) {
        match &mut self.form {
            Form::Quiet => {}
            Form::Plain if line.bytes.is_some() => {}
            Form::Plain => {
                self.ui
                    .status(&inert(&format!(" {}  {}", line.id, line.text)));
            }
            Form::Json | Form::RawJson => self.ui.status(&json(line).to_string()),
            Form::Tty(screen) => screen.change(|board, now| board.line(line, now)),
        }
    }

    fn build(&mut self, step: usize, service: &str, event: &BuildEvent) {
        let label = self
            .labels
            .get(&step)
            .map_or(service, String::as_str)
            .to_owned();
        match (&mut self.form, event) {
            (Form::RawJson, event) => self.ui.status(&raw(service, event).to_string()),
            (
                Form::Json | Form::Plain,
                BuildEvent::Transfer {
                    item,
                    status,
                    current,
                    total,
                    ..
                },
            ) => {
                let (parent, bytes) = (
                    Some(label.as_str()),
                    (*total > 0).then_some((*current, *total)),
                );
                let status = (status.as_str(), pull_status(status));
                self.line(&Line {
                    id: item,
                    parent,
                    text: status.0,
                    status: status.1,
                    details: "",
                    bytes,
                });
            }
            // It is for reading, also when the step has gone by.
            (Form::Tty(_), BuildEvent::Warning { text }) => self.output(service, text),
            (Form::Tty(screen), event) => {
                screen.change(|board, now| board.build(&label, event, now))
            }
            (Form::Quiet | Form::Plain | Form::Json, event) => {
                self.output(service, &event.to_string())
            }
        }
    }

    /// A program's output: builds, bootstrap.
    fn output(&mut self, source: &str, text: &str) {
        match &self.form {
            Form::Quiet => {}
            Form::Json | Form::RawJson => {
                let value = serde_json::json!({ "id": source, "text": text, "status": Status::Working.word() });
                self.ui.status(&value.to_string());
            }
            Form::Plain | Form::Tty(_) => {
                let text = inert(text);
                self.suspend(|ui| {
                    text.lines()
                        .for_each(|line| ui.status(&format!("{source}  {line}")))
                });
            }
        }
    }
}

fn json(line: &Line<'_>) -> serde_json::Value {
    let mut value =
        serde_json::json!({ "id": line.id, "text": line.text, "status": line.status.word() });
    if let Some(parent) = line.parent {
        value["parent_id"] = parent.into();
    }
    if !line.details.is_empty() {
        value["details"] = line.details.into();
    }
    if let Some((current, total)) = line.bytes {
        value["current"] = current.into();
        value["total"] = total.into();
        value["percent"] = (current.min(total) * 100 / total).into();
    }
    value
}

/// The build's own event, with whose it is.
fn raw(service: &str, event: &BuildEvent) -> serde_json::Value {
    let mut value = serde_json::json!({ "id": service });
    if let (Some(fields), Ok(serde_json::Value::Object(event))) =
        (value.as_object_mut(), serde_json::to_value(event))
    {
        fields.extend(event);
    }
    value
}

fn pull_status(text: &str) -> Status {
    let done = [
        "complete",
        "exists",
        "Pushed",
        "Mounted",
        "digest: ",
        "Pulled",
        "Downloaded newer",
        "up to date",
        "Loaded",
    ];
    if done.iter().any(|word| text.contains(word)) {
        Status::Done
    } else {
        Status::Working
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn raw_json_line_is_the_builds_own_event() {
        let at = Duration::from_millis(1500);
        let begun = BuildEvent::Started {
            step: 3,
            name: "RUN x".to_owned(),
        };
        let line =
            serde_json::json!({ "id": "web", "event": "started", "step": 3, "name": "RUN x" });
        assert_eq!(raw("web", &begun), line);
        let done = BuildEvent::Done { step: 3, took: at };
        assert_eq!(
            raw("web", &done),
            serde_json::json!({ "id": "web", "event": "done", "step": 3, "took": 1.5 })
        );
    }

    #[test]
    fn json_line_has_composes_fields() {
        let line = Line {
            id: "abc",
            parent: Some("Image x"),
            text: "Downloading",
            status: Status::Working,
            details: "",
            bytes: Some((5, 10)),
        };
        assert_eq!(
            json(&line),
            serde_json::json!({
                "id": "abc", "text": "Downloading", "status": "Working", "parent_id": "Image x",
                "current": 5, "total": 10, "percent": 50
            })
        );
    }
}
