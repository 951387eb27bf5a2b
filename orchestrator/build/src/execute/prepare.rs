//! Looks up what a step reads and makes its key, before it is known whether the step has to run.

use hoist_image::Digest;

use super::copy::Ready;
use super::key::Key;
use super::{Inputs, Work, failed};
use crate::Diagnostic;
use crate::error::BuildError;
use crate::fs::View;
use crate::graph::{CopyItem, CopyStep, Op, RunMountSource, RunStepOp, Step};
use crate::ignore::Ignore;
use crate::source::{self, PickError, Picked, Picker};

#[derive(Debug, Default)]
pub(super) struct Prepared {
    /// Of COPY and ADD.
    pub(super) sources: Vec<Ready>,
    /// Where they are, when it is not the context.
    pub(super) view: Option<View>,
    /// Of each mount of RUN that binds a part of the context, in order.
    pub(super) mounts: Vec<Vec<Picked>>,
}

pub(super) fn prepare(work: &Work, step: &Step, inputs: &Inputs) -> Result<(Digest, Prepared), BuildError> {
    let below = inputs.parent.chain();
    match &step.op {
        Op::Copy(copy) => prepare_copy(work, step, copy, Key::new("copy", Some(below)), inputs),
        Op::Link(copy) => prepare_copy(work, step, copy, Key::new("link", None), inputs),
        Op::Mkdir(mkdir) => {
            let mut key = Key::new("mkdir", Some(below));
            key.mkdir(mkdir);
            Ok((key.finish(), Prepared::default()))
        }
        Op::Run(run) => prepare_run(work, step, run, Key::new("run", Some(below)), inputs),
    }
}

fn prepare_copy(
    work: &Work,
    step: &Step,
    copy: &CopyStep,
    mut key: Key,
    inputs: &Inputs,
) -> Result<(Digest, Prepared), BuildError> {
    let view = match &copy.from {
        None => None,
        Some(tree) => {
            let lowers = &inputs.tree(tree).lowers;
            Some(View::of_layers(lowers).map_err(|error| failed(work, step, error))?)
        }
    };
    let nothing = Ignore::default();
    let ignore = if copy.from.is_some() { &nothing } else { &work.context.ignore };
    let seen = view.as_ref().unwrap_or(&work.context.view);
    let picker = Picker { view: seen, ignore, exclude: &copy.exclude };
    let mut sources = Vec::new();
    let mut missing = None;
    for item in &copy.sources {
        match item {
            CopyItem::Inline { name, content } => {
                key.text("inline");
                key.text(name);
                key.text(content);
                sources.push(Ready::Inline { name: name.clone(), content: content.clone() });
            }
            CopyItem::Path(pattern) => match picker.pick(pattern) {
                Ok(picked) => {
                    let digest = source::digest(seen, &work.context.stamps, &picked, copy.from.is_some());
                    key.digest(digest.map_err(|error| failed(work, step, error))?);
                    sources.extend(picked.into_iter().map(Ready::Picked));
                }
                // `COPY package.json package-lock.json* ./` is a habit: one of several may match nothing.
                Err(error @ PickError::NoMatch(_)) => missing = Some(error),
                Err(error) => return Err(not_found(work, step, copy, &error)),
            },
        }
    }
    if sources.is_empty()
        && let Some(error) = missing
    {
        return Err(not_found(work, step, copy, &error));
    }
    if sources.len() > 1 && !copy.into_folder {
        let message = format!("several files match, but {} is not a folder", copy.destination);
        let diagnostic = Diagnostic::error(step.span, message).hint("end the destination with a /");
        return Err(at_step(work, diagnostic));
    }
    key.copy(copy);
    Ok((key.finish(), Prepared { sources, view, mounts: Vec::new() }))
}

fn not_found(work: &Work, step: &Step, copy: &CopyStep, error: &PickError) -> BuildError {
    let place = if copy.from.is_some() { "what it copies from" } else { "the build context" };
    let mut diagnostic = Diagnostic::error(step.span, format!("{} (in {place})", super::chain(error)));
    if let PickError::Missing(_) = error
        && copy.from.is_none()
    {
        diagnostic = diagnostic.hint("paths are relative to the context, and symlinks cannot lead out of it");
    }
    at_step(work, diagnostic)
}

fn at_step(work: &Work, diagnostic: Diagnostic) -> BuildError {
    BuildError::Step { file: work.file.clone(), diagnostic: Box::new(diagnostic), source: None }
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
            RunMountSource::Context { path, writable } => {
                let picker = Picker { view: &work.context.view, ignore: &work.context.ignore, exclude: &nothing };
                let picked = picker.pick(path).map_err(|error| failed(work, step, error))?;
                let digest = source::digest(&work.context.view, &work.context.stamps, &picked, false);
                key.text(&format!("context {path} {writable}"));
                key.digest(digest.map_err(|error| failed(work, step, error))?);
                mounts.push(picked);
            }
            RunMountSource::Tree { tree, path, writable } => {
                key.text(&format!("tree {path} {writable}"));
                key.digest(inputs.tree(tree).chain());
            }
            // What is in a cache must not change the result, so only its name counts.
            RunMountSource::Cache { id, read_only, .. } => key.text(&format!("cache {id} {read_only}")),
            RunMountSource::Tmpfs { size } => key.text(&format!("tmpfs {size:?}")),
        }
    }
    Ok((key.finish(), Prepared { mounts, ..Prepared::default() }))
}
