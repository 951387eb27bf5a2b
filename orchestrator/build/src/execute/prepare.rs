//! Looks up what a step reads and makes its key, before it is known whether the step has to run.

use std::sync::Arc;

use hoist_image::Digest;

use super::copy::Ready;
use super::key::Key;
use super::{Inputs, Work, failed};
use crate::Diagnostic;
use crate::error::BuildError;
use crate::fs::View;
use crate::graph::{CopyItem, CopyStep, Op, Origin, RunMountSource, RunStepOp, Step};
use crate::ignore::Ignore;
use crate::source::{self, PickError, Picked, Picker};
use crate::stamps::Stamps;

#[derive(Debug, Default)]
pub(super) struct Prepared {
    /// Of everything that COPY or ADD picks.
    pub(super) content: Option<Digest>,
    /// Of COPY and ADD.
    pub(super) sources: Vec<Ready>,
    /// Of each mount of RUN that binds a part of a context, in order.
    pub(super) mounts: Vec<(Arc<View>, Vec<Picked>)>,
}

/// Files to look up.
struct SourceTree<'a> {
    view: Arc<View>,
    ignore: Option<&'a Ignore>,
    stamps: &'a Stamps,
    /// Whether the owners of files count.
    owners: bool,
}

fn place<'a>(
    work: &'a Work,
    step: &Step,
    inputs: &Inputs,
    origin: &Origin,
) -> Result<SourceTree<'a>, BuildError> {
    if let Origin::Tree(tree) = origin {
        let lowers = inputs.tree(tree).lowers(work)?;
        let view = View::of_layers(lowers).map_err(|error| failed(work, step, error))?;
        return Ok(SourceTree {
            view: Arc::new(view),
            ignore: None,
            stamps: &work.context.stamps,
            owners: true,
        });
    }
    let context = work.context_of(origin);
    let view = Arc::clone(&context.view);
    Ok(SourceTree {
        view,
        ignore: Some(&context.ignore),
        stamps: &context.stamps,
        owners: false,
    })
}

/// The key under which it is known what a copy from layers picks: it follows from the layers and the patterns, so that
/// neither the files nor the layers have to be here to make the key of such a step.
pub(super) fn picks(step: &Step, inputs: &Inputs) -> Option<Digest> {
    let (Op::Copy(copy) | Op::Link(copy)) = &step.op else {
        return None;
    };
    let Origin::Tree(tree) = &copy.from else {
        return None;
    };
    let mut paths = Vec::new();
    for item in &copy.sources {
        let CopyItem::Path(path) = item else {
            return None;
        };
        paths.push(path);
    }
    let mut key = Key::new("picks", Some(inputs.tree(tree).chain()), None);
    key.picks(copy, &paths);
    Some(key.finish())
}

/// `content`: what a copy picks, where that is known without looking.
pub(super) fn prepare(
    work: &Work,
    step: &Step,
    inputs: &Inputs,
    content: Option<Digest>,
) -> Result<(Digest, Prepared), BuildError> {
    let below = inputs.parent.chain();
    match &step.op {
        Op::Copy(copy) => prepare_copy(
            work,
            step,
            copy,
            Key::new("copy", Some(below), work.epoch),
            inputs,
            content,
        ),
        Op::Link(copy) => prepare_copy(
            work,
            step,
            copy,
            Key::new("link", None, work.epoch),
            inputs,
            content,
        ),
        Op::Mkdir(mkdir) => {
            let mut key = Key::new("mkdir", Some(below), work.epoch);
            key.mkdir(mkdir);
            Ok((key.finish(), Prepared::default()))
        }
        Op::Run(run) => prepare_run(
            work,
            step,
            run,
            Key::new("run", Some(below), work.epoch),
            inputs,
        ),
    }
}

fn prepare_copy(
    work: &Work,
    step: &Step,
    copy: &CopyStep,
    mut key: Key,
    inputs: &Inputs,
    content: Option<Digest>,
) -> Result<(Digest, Prepared), BuildError> {
    let (content, sources) = match content {
        Some(content) => (content, Vec::new()),
        None => gather(work, step, copy, inputs)?,
    };
    key.digest(content);
    key.copy(copy);
    Ok((
        key.finish(),
        Prepared {
            content: Some(content),
            sources,
            ..Prepared::default()
        },
    ))
}

/// Everything that a copy picks, and its digest.
fn gather(
    work: &Work,
    step: &Step,
    copy: &CopyStep,
    inputs: &Inputs,
) -> Result<(Digest, Vec<Ready>), BuildError> {
    let mut sources = Vec::new();
    let mut content = Key::new("content", None, None);
    for item in &copy.sources {
        let origin = match item {
            CopyItem::Inline {
                name,
                content: text,
            } => {
                content.text("inline");
                content.text(name);
                content.text(text);
                sources.push(Ready::Inline {
                    name: name.clone(),
                    content: text.clone(),
                });
                continue;
            }
            CopyItem::Remote(remote) => Origin::Remote(remote.clone()),
            CopyItem::Path(_) => copy.from.clone(),
        };
        let place = place(work, step, inputs, &origin)?;
        match pick(work, copy, item, &origin, &place) {
            Ok(picked) => {
                let digest = source::digest(&place.view, place.stamps, &picked, place.owners);
                content.digest(digest.map_err(|error| failed(work, step, error))?);
                let remote = matches!(item, CopyItem::Remote(_));
                sources.extend(picked.into_iter().map(|picked| Ready::Picked {
                    view: Arc::clone(&place.view),
                    picked,
                    remote,
                }));
            }
            // `COPY package.json package-lock.json* ./` is a habit: a pattern may match nothing.
            Err(PickError::NoMatch(_)) => {}
            Err(error) => return Err(not_found(work, step, copy, &error)),
        }
    }
    if sources.len() > 1 && !copy.into_folder {
        let message = format!(
            "several files match, but {} is not a folder",
            copy.destination
        );
        let diagnostic = Diagnostic::error(step.span, message).hint("end the destination with a /");
        return Err(at_step(work, diagnostic));
    }
    Ok((content.finish(), sources))
}

fn pick(
    work: &Work,
    copy: &CopyStep,
    item: &CopyItem,
    origin: &Origin,
    place: &SourceTree<'_>,
) -> Result<Vec<Picked>, PickError> {
    let nothing = Ignore::default();
    let picker = Picker {
        view: &place.view,
        ignore: place.ignore.unwrap_or(&nothing),
        exclude: &copy.exclude,
    };
    match item {
        CopyItem::Path(pattern) if copy.parents => {
            picker.with_parents(pattern).map(|picked| vec![picked])
        }
        CopyItem::Path(pattern) => picker.pick(pattern),
        CopyItem::Remote(_) => {
            let file = work
                .fetched
                .get(origin)
                .and_then(|fetched| fetched.file.as_deref());
            picker
                .literal(file.unwrap_or("."))
                .map(|picked| vec![picked])
        }
        CopyItem::Inline { .. } => Ok(Vec::new()),
    }
}

fn not_found(work: &Work, step: &Step, copy: &CopyStep, error: &PickError) -> BuildError {
    let from_context = copy.from == Origin::Context;
    let place = if from_context {
        "the build context"
    } else {
        "what it copies from"
    };
    let mut diagnostic =
        Diagnostic::error(step.span, format!("{} (in {place})", super::chain(error)));
    if let PickError::Missing(_) = error
        && from_context
    {
        diagnostic = diagnostic
            .hint("paths are relative to the context, and symlinks cannot lead out of it");
    }
    at_step(work, diagnostic)
}

fn at_step(work: &Work, diagnostic: Diagnostic) -> BuildError {
    BuildError::Step {
        file: work.file.clone(),
        diagnostic: Box::new(diagnostic),
        source: None,
    }
}

fn prepare_run(
    work: &Work,
    step: &Step,
    run: &RunStepOp,
    mut key: Key,
    inputs: &Inputs,
) -> Result<(Digest, Prepared), BuildError> {
    key.run(run, &work.request);
    let nothing = Ignore::default();
    let mut mounts = Vec::new();
    for mount in &run.mounts {
        key.text(&mount.target);
        match &mount.source {
            RunMountSource::Files {
                origin: Origin::Tree(tree),
                path,
                writable,
            } => {
                key.text(&format!("tree {path} {writable}"));
                key.digest(inputs.tree(tree).chain());
            }
            RunMountSource::Files {
                origin,
                path,
                writable,
            } => {
                let place = place(work, step, inputs, origin)?;
                let ignore = place.ignore.unwrap_or(&nothing);
                let picker = Picker {
                    view: &place.view,
                    ignore,
                    exclude: &nothing,
                };
                let picked = picker
                    .pick(path)
                    .map_err(|error| failed(work, step, error))?;
                let digest = source::digest(&place.view, place.stamps, &picked, false);
                key.text(&format!("context {path} {writable}"));
                key.digest(digest.map_err(|error| failed(work, step, error))?);
                mounts.push((place.view, picked));
            }
            // What is in a cache must not change the result, so only its name counts.
            RunMountSource::Cache { id, read_only, .. } => {
                key.text(&format!("cache {id} {read_only}"))
            }
            RunMountSource::Tmpfs { size, read_only } => {
                key.text(&format!("tmpfs {size:?} {read_only}"))
            }
        }
    }
    Ok((
        key.finish(),
        Prepared {
            mounts,
            ..Prepared::default()
        },
    ))
}
