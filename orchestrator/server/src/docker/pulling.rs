//! The lines of docker's that tell how an image is brought, made or sent.

use axum::response::Response;
use hoist_api::{ErrorBody, PullDetail, PullLine, PushResult};
use hoist_engine::{Handle, ImageInbox, ImageNews, phase_text};
use hoist_image::{Phase, Progress};

use super::streams::{Receive, json_lines};

/// News as lines.
struct Lines {
    news: ImageInbox,
    /// Of a push: it has words of its own.
    pushes: bool,
    /// What comes next.
    last: Option<PullLine>,
}

impl Receive<PullLine> for Lines {
    async fn receive(&mut self) -> Option<PullLine> {
        if let Some(line) = self.last.take() {
            return Some(line);
        }
        loop {
            let line = match self.news.recv().await? {
                ImageNews::Progress(progress) if self.pushes => pushing(progress),
                ImageNews::Progress(progress) => Some(pulling(progress)),
                ImageNews::Pulled {
                    reference,
                    up_to_date,
                } => {
                    let what = if up_to_date {
                        "Image is up to date"
                    } else {
                        "Downloaded newer image"
                    };
                    Some(status(format!("Status: {what} for {}", reference.short())))
                }
                ImageNews::Created { reference, id } => {
                    Some(status(format!("Created {} ({id})", reference.short())))
                }
                ImageNews::Loaded { name } => Some(PullLine {
                    stream: Some(format!("Loaded image: {name}\n")),
                    ..PullLine::default()
                }),
                ImageNews::Pushed { reference, pushed } => {
                    let tag = reference.tag().unwrap_or("latest").to_owned();
                    let text = format!("{tag}: digest: {} size: {}", pushed.digest, pushed.size);
                    // The last two lines of docker's: one for people, one for programs.
                    let aux = PushResult {
                        tag,
                        digest: pushed.digest.to_string(),
                        size: pushed.size,
                    };
                    self.last = Some(PullLine {
                        aux: Some(aux),
                        ..PullLine::default()
                    });
                    Some(status(text))
                }
                ImageNews::Failed(error) => Some(PullLine {
                    error: Some(error.message.clone()),
                    error_detail: Some(ErrorBody::new(error.kind, error.message)),
                    ..PullLine::default()
                }),
            };
            if line.is_some() {
                return line;
            }
        }
    }
}

pub(super) fn status(text: String) -> PullLine {
    PullLine {
        status: Some(text),
        ..PullLine::default()
    }
}

fn pulling(progress: Progress) -> PullLine {
    PullLine {
        status: Some(phase_text(progress.phase, &progress.text)),
        id: Some(progress.item).filter(|item| !item.is_empty()),
        progress_detail: progress.total.map(|total| PullDetail {
            current: progress.done,
            total,
        }),
        ..PullLine::default()
    }
}

/// `None`: docker says nothing of it.
fn pushing(progress: Progress) -> Option<PullLine> {
    let moving = matches!(progress.phase, Phase::Uploading);
    let text = match progress.phase {
        Phase::Exists => "Layer already exists".to_owned(),
        Phase::Complete if progress.item.is_empty() => return None,
        Phase::Complete => "Pushed".to_owned(),
        other => phase_text(other, &progress.text),
    };
    Some(PullLine {
        status: Some(text),
        id: Some(progress.item).filter(|item| !item.is_empty()),
        progress_detail: progress.total.filter(|_| moving).map(|total| PullDetail {
            current: progress.done,
            total,
        }),
        ..PullLine::default()
    })
}

pub(super) fn pull_lines(engine: &Handle, news: ImageInbox) -> Response {
    json_lines(
        engine,
        Lines {
            news,
            pushes: false,
            last: None,
        },
    )
}

pub(super) fn push_lines(engine: &Handle, news: ImageInbox) -> Response {
    json_lines(
        engine,
        Lines {
            news,
            pushes: true,
            last: None,
        },
    )
}
