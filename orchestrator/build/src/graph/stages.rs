//! Which stages a build needs, and which images those need.

use std::collections::BTreeSet;

use hoist_image::Platform;

use super::BaseImage;
use super::contexts::{Named, named};
use super::scope::Globals;
use crate::diagnostic::closest;
use crate::dockerfile::{Dockerfile, Instruction, Kind, Stage};
use crate::{BuildRequest, Diagnostic, Span};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StageBase {
    Scratch,
    /// An earlier stage.
    Stage(usize),
    Image(String),
    /// A context of that name.
    Files(String),
}

/// Where `--from` points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FromTarget {
    Stage(usize),
    Image(String),
    Files(String),
}

/// What a stage is made on, and for which platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) of: StageBase,
    pub(super) platform: Platform,
    /// A context of the stage's own name stands in its place: its instructions do not count.
    pub(super) replaced: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Selection {
    pub(super) globals: Globals,
    pub(super) bases: Vec<Base>,
    /// What is built for, where a stage does not say otherwise.
    pub(super) platform: Platform,
    pub(super) target: usize,
    /// In order; the target is among them.
    pub(super) needed: BTreeSet<usize>,
}

impl Selection {
    pub(crate) fn new(
        file: &Dockerfile,
        request: &BuildRequest,
        platform: &Platform,
    ) -> Result<Self, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let globals = Globals::new(file, request, platform, &mut problems);
        let mut bases: Vec<Base> = Vec::new();
        for index in 0..file.stages.len() {
            match base_of(file, index, request, &globals, platform, &bases) {
                Ok(base) => bases.push(base),
                Err(problem) => {
                    problems.push(problem);
                    bases.push(Base {
                        of: StageBase::Scratch,
                        platform: platform.clone(),
                        replaced: false,
                    });
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
        let mut selection = Self {
            globals,
            bases,
            platform: platform.clone(),
            target,
            needed: BTreeSet::new(),
        };
        selection.need(file, request, target, &mut problems);
        if problems.is_empty() {
            Ok(selection)
        } else {
            Err(problems)
        }
    }

    fn need(
        &mut self,
        file: &Dockerfile,
        request: &BuildRequest,
        target: usize,
        problems: &mut Vec<Diagnostic>,
    ) {
        // Stages only refer backwards, so this ends.
        let mut open = vec![target];
        while let Some(index) = open.pop() {
            if !self.needed.insert(index) {
                continue;
            }
            if let StageBase::Stage(base) = self.bases[index].of {
                open.push(base);
            }
            for (from, span) in self
                .instructions(file, index)
                .iter()
                .flat_map(from_references)
            {
                match from_target(file, request, index, from, span) {
                    Ok(FromTarget::Stage(stage)) => open.push(stage),
                    Ok(FromTarget::Image(_) | FromTarget::Files(_)) => {}
                    Err(problem) => problems.push(problem),
                }
            }
        }
    }

    /// The instructions of a stage that count.
    pub(super) fn instructions<'a>(&self, file: &'a Dockerfile, index: usize) -> &'a [Instruction] {
        if self.bases[index].replaced {
            &[]
        } else {
            &file.stages[index].instructions
        }
    }

    /// Platforms of other machines whose programs RUN instructions start, with the first of these for each.
    pub(crate) fn foreign_runs(&self, file: &Dockerfile) -> Vec<(&Platform, Span)> {
        let foreign = self
            .needed
            .iter()
            .filter(|index| !self.bases[**index].platform.is_native());
        let runs = foreign.filter_map(|&index| {
            let mut instructions = self.instructions(file, index).iter();
            let run = instructions.find(|instruction| matches!(instruction.kind, Kind::Run(_)))?;
            Some((&self.bases[index].platform, run.span))
        });
        runs.collect()
    }

    /// An image that a stage copies from; it is that of the build's platform, whatever the stage's is.
    pub(super) fn image(&self, name: &str) -> BaseImage {
        BaseImage {
            name: name.to_owned(),
            platform: self.platform.to_string(),
        }
    }

    /// All images that the needed stages start from or copy from, with the place to blame.
    pub(crate) fn images(
        &self,
        file: &Dockerfile,
        request: &BuildRequest,
    ) -> Vec<(BaseImage, Span)> {
        let mut images: Vec<(BaseImage, Span)> = Vec::new();
        let mut add = |image: BaseImage, span: Span| {
            if !images.iter().any(|(known, _)| *known == image) {
                images.push((image, span));
            }
        };
        for &index in &self.needed {
            let base = &self.bases[index];
            if let StageBase::Image(name) = &base.of {
                let image = BaseImage {
                    name: name.clone(),
                    platform: base.platform.to_string(),
                };
                add(image, file.stages[index].base.span);
            }
            for (from, span) in self
                .instructions(file, index)
                .iter()
                .flat_map(from_references)
            {
                if let Ok(FromTarget::Image(image)) = from_target(file, request, index, from, span)
                {
                    add(self.image(&image), span);
                }
            }
        }
        images
    }
}

fn base_of(
    file: &Dockerfile,
    index: usize,
    request: &BuildRequest,
    globals: &Globals,
    platform: &Platform,
    earlier: &[Base],
) -> Result<Base, Diagnostic> {
    let stage = &file.stages[index];
    let own = own_platform(stage, globals)?;
    let or_default = |own: Option<Platform>| own.unwrap_or_else(|| platform.clone());
    if let Some(context) = stage
        .name
        .as_ref()
        .and_then(|name| named(request, &name.value))
    {
        return Ok(Base {
            of: context.into(),
            platform: or_default(own),
            replaced: true,
        });
    }
    let base = globals.expand(&stage.base)?;
    if base.is_empty() {
        return Err(Diagnostic::error(
            stage.base.span,
            format!("the base {} is empty", stage.base.value),
        )
        .hint("declare its variables with ARG before the first FROM, and give them a value"));
    }
    if base == "scratch" {
        return Ok(Base {
            of: StageBase::Scratch,
            platform: or_default(own),
            replaced: false,
        });
    }
    if let Some(stage) = file.stages[..index]
        .iter()
        .rposition(|other| has_name(other, &base))
    {
        let platform = own.unwrap_or_else(|| earlier[stage].platform.clone());
        return Ok(Base {
            of: StageBase::Stage(stage),
            platform,
            replaced: false,
        });
    }
    let of = named(request, &base).map_or(StageBase::Image(base), StageBase::from);
    Ok(Base {
        of,
        platform: or_default(own),
        replaced: false,
    })
}

impl From<Named> for StageBase {
    fn from(named: Named) -> Self {
        match named {
            Named::Files(name) => Self::Files(name),
            Named::Image(image) => Self::Image(image),
        }
    }
}

fn own_platform(stage: &Stage, globals: &Globals) -> Result<Option<Platform>, Diagnostic> {
    let Some(wanted) = &stage.platform else {
        return Ok(None);
    };
    let name = globals.expand(wanted)?;
    if name.is_empty() {
        return Err(Diagnostic::error(
            wanted.span,
            format!("the platform {} is empty", wanted.value),
        )
        .hint("declare its variables with ARG before the first FROM, and give them a value"));
    }
    let parsed = name.parse().map_err(|error: hoist_image::PlatformError| {
        Diagnostic::error(wanted.span, error.to_string())
    });
    parsed.map(Some)
}

fn has_name(stage: &Stage, name: &str) -> bool {
    stage
        .name
        .as_ref()
        .is_some_and(|own| own.value.eq_ignore_ascii_case(name))
}

fn stage_named(stages: &[Stage], name: &str) -> Option<usize> {
    let named = stages.iter().rposition(|stage| has_name(stage, name));
    named.or_else(|| name.parse().ok().filter(|index| *index < stages.len()))
}

fn no_such_target(file: &Dockerfile, name: &str) -> Diagnostic {
    let names: Vec<&str> = file
        .stages
        .iter()
        .filter_map(|stage| stage.name.as_ref())
        .map(|name| name.value.as_str())
        .collect();
    let span = file
        .stages
        .last()
        .map(|stage| stage.span)
        .unwrap_or_default();
    let problem = Diagnostic::error(
        span,
        format!("target stage {name:?} is not in the Dockerfile"),
    );
    match closest(name, names.iter().copied()) {
        Some(known) => problem.hint(format!("did you mean {known}?")),
        None if names.is_empty() => problem.hint("no stage has a name: FROM image AS name"),
        None => problem.hint(format!("its stages are {}", names.join(", "))),
    }
}

/// The `--from`s of an instruction.
pub(super) fn from_references(instruction: &Instruction) -> Vec<(&str, Span)> {
    match &instruction.kind {
        Kind::Copy(copy) | Kind::Add(copy) => copy
            .from
            .iter()
            .map(|from| (from.value.as_str(), from.span))
            .collect(),
        Kind::Run(run) => run
            .mounts
            .iter()
            .filter_map(|mount| Some((mount.from.as_deref()?, mount.span)))
            .collect(),
        _ => Vec::new(),
    }
}

/// An earlier stage by name or number, else a context of that name, else an image.
pub(super) fn from_target(
    file: &Dockerfile,
    request: &BuildRequest,
    index: usize,
    from: &str,
    span: Span,
) -> Result<FromTarget, Diagnostic> {
    if let Some(stage) = file.stages[..index]
        .iter()
        .rposition(|stage| has_name(stage, from))
    {
        return Ok(FromTarget::Stage(stage));
    }
    if let Ok(number) = from.parse::<usize>() {
        if number < index {
            return Ok(FromTarget::Stage(number));
        }
        return Err(Diagnostic::error(
            span,
            format!("there is no stage {number} before this one"),
        ));
    }
    match named(request, from) {
        Some(Named::Files(name)) => return Ok(FromTarget::Files(name)),
        Some(Named::Image(image)) => return Ok(FromTarget::Image(image)),
        None => {}
    }
    if file
        .stages
        .get(index)
        .is_some_and(|stage| has_name(stage, from))
    {
        return Err(Diagnostic::error(
            span,
            format!("stage {from} cannot copy from itself"),
        ));
    }
    Ok(FromTarget::Image(from.to_owned()))
}
