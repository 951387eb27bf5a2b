//! Which stages a build needs, and which images those need.

use std::collections::BTreeSet;

use hoist_image::Platform;

use super::scope::Globals;
use crate::diagnostic::closest;
use crate::dockerfile::{Dockerfile, Instruction, Kind, MountKind, Stage};
use crate::{BuildRequest, Diagnostic, Span};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StageBase {
    Scratch,
    /// An earlier stage.
    Stage(usize),
    Image(String),
}

/// Where `--from` points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FromTarget {
    Stage(usize),
    Image(String),
}

#[derive(Debug, Clone)]
pub(crate) struct Selection {
    pub(super) globals: Globals,
    pub(super) bases: Vec<StageBase>,
    pub(super) target: usize,
    /// In order; the target is among them.
    pub(super) needed: BTreeSet<usize>,
}

impl Selection {
    pub(crate) fn new(file: &Dockerfile, request: &BuildRequest, platform: &Platform) -> Result<Self, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let globals = Globals::new(&file.args, file.escape, request, platform, &mut problems);
        let mut bases = Vec::new();
        for (index, stage) in file.stages.iter().enumerate() {
            match base_of(file, index, &globals).and_then(|base| own_platform(stage, &globals, platform).map(|()| base))
            {
                Ok(base) => bases.push(base),
                Err(problem) => {
                    problems.push(problem);
                    bases.push(StageBase::Scratch);
                }
            }
        }
        let target = match &request.target {
            None => file.stages.len() - 1,
            Some(name) => match stage_named(&file.stages, name) {
                Some(index) => index,
                None => {
                    problems.push(no_such_target(file, name));
                    0
                }
            },
        };
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut selection = Self { globals, bases, target, needed: BTreeSet::new() };
        selection.need(file, target, &mut problems);
        if problems.is_empty() { Ok(selection) } else { Err(problems) }
    }

    fn need(&mut self, file: &Dockerfile, target: usize, problems: &mut Vec<Diagnostic>) {
        // Stages only refer backwards, so this ends.
        let mut open = vec![target];
        while let Some(index) = open.pop() {
            if !self.needed.insert(index) {
                continue;
            }
            if let StageBase::Stage(base) = self.bases[index] {
                open.push(base);
            }
            for (from, span) in file.stages[index].instructions.iter().flat_map(from_references) {
                match from_target(file, index, from, span) {
                    Ok(FromTarget::Stage(stage)) => open.push(stage),
                    Ok(FromTarget::Image(_)) => {}
                    Err(problem) => problems.push(problem),
                }
            }
        }
    }

    /// References of all images that the needed stages start from or copy from, with the place to blame.
    pub(crate) fn images(&self, file: &Dockerfile) -> Vec<(String, Span)> {
        let mut images: Vec<(String, Span)> = Vec::new();
        let mut add = |image: String, span: Span| {
            if !images.iter().any(|(known, _)| *known == image) {
                images.push((image, span));
            }
        };
        for &index in &self.needed {
            let stage = &file.stages[index];
            if let StageBase::Image(image) = &self.bases[index] {
                add(image.clone(), stage.base.span);
            }
            for (from, span) in stage.instructions.iter().flat_map(from_references) {
                if let Ok(FromTarget::Image(image)) = from_target(file, index, from, span) {
                    add(image, span);
                }
            }
        }
        images
    }
}

fn base_of(file: &Dockerfile, index: usize, globals: &Globals) -> Result<StageBase, Diagnostic> {
    let stage = &file.stages[index];
    let base = globals.expand(&stage.base)?;
    if base.is_empty() {
        return Err(Diagnostic::error(stage.base.span, format!("the base {} is empty", stage.base.value))
            .hint("declare its variables with ARG before the first FROM, and give them a value"));
    }
    if base == "scratch" {
        return Ok(StageBase::Scratch);
    }
    let earlier = file.stages[..index].iter().rposition(|other| has_name(other, &base));
    Ok(earlier.map_or(StageBase::Image(base), StageBase::Stage))
}

fn own_platform(stage: &Stage, globals: &Globals, platform: &Platform) -> Result<(), Diagnostic> {
    let Some(wanted) = &stage.platform else { return Ok(()) };
    let name = globals.expand(wanted)?;
    let parsed: Platform =
        name.parse().map_err(|error: hoist_image::PlatformError| Diagnostic::error(wanted.span, error.to_string()))?;
    let same_variant = parsed.variant.is_none() || platform.variant.is_none() || parsed.variant == platform.variant;
    if parsed.os == platform.os && parsed.architecture == platform.architecture && same_variant {
        return Ok(());
    }
    Err(Diagnostic::error(wanted.span, format!("platform {name} cannot be built here"))
        .label(format!("this build is for {platform}")))
}

fn has_name(stage: &Stage, name: &str) -> bool {
    stage.name.as_ref().is_some_and(|own| own.value.eq_ignore_ascii_case(name))
}

fn stage_named(stages: &[Stage], name: &str) -> Option<usize> {
    let named = stages.iter().rposition(|stage| has_name(stage, name));
    named.or_else(|| name.parse().ok().filter(|index| *index < stages.len()))
}

fn no_such_target(file: &Dockerfile, name: &str) -> Diagnostic {
    let names: Vec<&str> =
        file.stages.iter().filter_map(|stage| stage.name.as_ref()).map(|name| name.value.as_str()).collect();
    let span = file.stages.last().map(|stage| stage.span).unwrap_or_default();
    let problem = Diagnostic::error(span, format!("target stage {name:?} is not in the Dockerfile"));
    match closest(name, names.iter().copied()) {
        Some(known) => problem.hint(format!("did you mean {known}?")),
        None if names.is_empty() => problem.hint("no stage has a name: FROM image AS name"),
        None => problem.hint(format!("its stages are {}", names.join(", "))),
    }
}

/// The `--from`s of an instruction.
pub(super) fn from_references(instruction: &Instruction) -> Vec<(&str, Span)> {
    match &instruction.kind {
        Kind::Copy(copy) | Kind::Add(copy) => copy.from.iter().map(|from| (from.value.as_str(), from.span)).collect(),
        Kind::Run(run) => run
            .mounts
            .iter()
            .filter_map(|mount| match &mount.kind {
                MountKind::Bind { from, .. } | MountKind::Cache { from, .. } => Some((from.as_deref()?, mount.span)),
                MountKind::Tmpfs { .. } | MountKind::Secret { .. } => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// An earlier stage by name or number, else an image.
pub(super) fn from_target(file: &Dockerfile, index: usize, from: &str, span: Span) -> Result<FromTarget, Diagnostic> {
    if let Some(stage) = file.stages[..index].iter().rposition(|stage| has_name(stage, from)) {
        return Ok(FromTarget::Stage(stage));
    }
    if let Ok(number) = from.parse::<usize>() {
        if number < index {
            return Ok(FromTarget::Stage(number));
        }
        return Err(Diagnostic::error(span, format!("there is no stage {number} before this one")));
    }
    if file.stages.get(index).is_some_and(|stage| has_name(stage, from)) {
        return Err(Diagnostic::error(span, format!("stage {from} cannot copy from itself")));
    }
    Ok(FromTarget::Image(from.to_owned()))
}
