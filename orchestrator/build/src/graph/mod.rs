//! A Dockerfile and a request → the steps that make the wanted stage, as data. Pure.
//!
//! Three moves: choose the stages that matter ([`Selection`]), let the caller find their base images, lower their
//! instructions to steps ([`lower`]). A step names the file system trees that it reads; whatever is not connected may run
//! at the same time. Metadata instructions make no steps: they are folded into the result's configuration.

mod contexts;
mod copy;
mod lower;
mod metadata;
mod run;
mod scope;
mod stages;
mod step;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use hoist_image::{Execution, ImageConfig, Platform};

use crate::diagnostic::{Diagnostic, Span};

pub(crate) use contexts::layout_image;
pub(crate) use lower::{Lowered, lower};
pub(crate) use scope::PLATFORM_ARGS;
pub(crate) use stages::Selection;
pub(crate) use step::{CopyItem, CopyStep, Mkdir, Op, Origin, RunMountSource, RunStepOp};

/// Index into [`Graph::steps`].
pub(crate) type StepId = usize;

/// A file system tree that a step starts from or reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tree {
    /// Nothing at all.
    Scratch,
    Image(BaseImage),
    /// What a step leaves.
    Step(StepId),
}

/// An image that stages start from or copy from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BaseImage {
    /// The reference as written.
    pub(crate) name: String,
    /// `os/arch[/variant]`
    pub(crate) platform: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    pub(crate) parent: Tree,
    pub(crate) op: Op,
    /// `[build 2/6] RUN make`
    pub(crate) name: String,
    pub(crate) span: Span,
    /// Run, whatever the cache knows.
    pub(crate) fresh: bool,
}

impl Graph {
    /// Named contexts and downloads that steps take files from.
    pub(crate) fn files(&self) -> BTreeSet<Origin> {
        self.steps
            .iter()
            .flat_map(|step| step.op.origins())
            .filter(|origin| origin.is_brought())
            .collect()
    }
}

impl Step {
    /// Every step that has to be done before this one.
    pub(crate) fn after(&self) -> Vec<StepId> {
        let mut trees = vec![self.parent.clone()];
        trees.extend(self.op.inputs());
        let mut steps: Vec<StepId> = trees
            .into_iter()
            .filter_map(|tree| {
                if let Tree::Step(step) = tree {
                    Some(step)
                } else {
                    None
                }
            })
            .collect();
        steps.sort_unstable();
        steps.dedup();
        steps
    }
}

/// One line of the resulting image's history.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HistoryLine {
    pub(crate) created_by: String,
    /// The step whose layer it is; `None` for metadata.
    pub(crate) step: Option<StepId>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Graph {
    /// In an order in which they could run one by one. What platforms have in common is there once.
    pub(crate) steps: Vec<Step>,
    /// One for each platform.
    pub(crate) results: Vec<Outcome>,
    /// What the checks say about its instructions.
    pub(crate) findings: Vec<Diagnostic>,
    /// Build arguments that no ARG asked for.
    pub(crate) unused_args: Vec<String>,
}

/// What an image is made of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) tree: Tree,
    /// The base image at the bottom of the tree; its history comes first.
    pub(crate) base: Option<BaseImage>,
    pub(crate) platform: Platform,
    pub(crate) execution: Execution,
    pub(crate) author: Option<String>,
    pub(crate) history: Vec<HistoryLine>,
}

/// The configurations of the images that the selected stages start from or copy from. `None`: there is such an image,
/// and nothing is known about it (a check does not pull).
pub(crate) type Bases = BTreeMap<BaseImage, Option<ImageConfig>>;
