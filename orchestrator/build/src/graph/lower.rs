//! The instructions of the needed stages → steps and configuration.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hoist_image::{Execution, Platform};

use super::scope::{Globals, Scope};
use super::stages::{FromTarget, StageBase, from_target};
use super::{
    BaseImage, Bases, CopyItem, CopyStep, Graph, HistoryLine, Mkdir, Op, Origin, Outcome,
    Selection, Step, StepId, Tree,
};
use crate::budget::{Budget, Exceeded};
use crate::diagnostic::closest;
use crate::dockerfile::{Command, Dockerfile, Instruction, Kind, parse_trigger};
use crate::ignore::{Ignore, clean};
use crate::lint::Rule;
use crate::{BuildRequest, Diagnostic, Span, Spanned, expand};

pub(super) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What lowering found besides the graph.
#[derive(Debug)]
pub(crate) enum Lowered {
    Graph(Box<Graph>),
    /// ONBUILD triggers of a base copy from images that are not in `bases` yet: find them and lower again.
    Needs(Vec<(BaseImage, Span)>),
}

/// The selections are those of one file, each for another platform.
pub(crate) fn lower(
    file: &Dockerfile,
    request: &BuildRequest,
    selections: &[Selection],
    bases: &Bases,
) -> Result<Lowered, Vec<Diagnostic>> {
    let (mut found, mut results) = (Findings::default(), Vec::new());
    let mut declared = BTreeSet::new();
    for selection in selections {
        let (several, budget) = (selections.len() > 1, Arc::default());
        let mut lowering = Lowering {
            file,
            request,
            selection,
            bases,
            several,
            found,
            budget,
        };
        let mut target = lowering.target(&mut declared);
        found = lowering.found;
        if !found.problems.is_empty() {
            return Err(found.problems);
        }
        target.execution.env = target.scope.env_lines();
        for (name, value) in &request.labels {
            target.execution.labels.insert(name.clone(), value.clone());
        }
        let Stage {
            tree,
            base,
            platform,
            execution,
            author,
            history,
            ..
        } = target;
        results.push(Outcome {
            tree,
            base,
            platform,
            execution,
            author,
            history,
        });
    }
    // An ARG of a stage that is not built still uses its argument.
    for stage in &file.stages {
        for instruction in &stage.instructions {
            if let Kind::Arg(pairs) = &instruction.kind {
                declared.extend(pairs.iter().map(|pair| pair.name.value.clone()));
            }
        }
    }
    if !found.missing.is_empty() {
        return Ok(Lowered::Needs(found.missing));
    }
    let declared: Vec<String> = declared.into_iter().collect();
    let unused = selections
        .first()
        .map(|selection| selection.globals.unused(&declared));
    Ok(Lowered::Graph(Box::new(Graph {
        steps: found.steps,
        results,
        findings: found.findings,
        unused_args: unused.unwrap_or_default(),
    })))
}

/// What comes out of lowering, of all platforms together.
#[derive(Debug, Default)]
struct Findings {
    steps: Vec<Step>,
    problems: Vec<Diagnostic>,
    findings: Vec<Diagnostic>,
    missing: Vec<(BaseImage, Span)>,
}

/// A stage as far as its instructions have gone by.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    pub(super) scope: Scope,
    pub(super) execution: Execution,
    pub(super) author: Option<String>,
    pub(super) history: Vec<HistoryLine>,
    pub(super) cmd_is_own: bool,
    pub(super) tree: Tree,
    pub(super) platform: Platform,
    base: Option<BaseImage>,
    /// Whether all of its variables are known.
    known: bool,
    /// Variables that an instruction needed and that are not there.
    unset: RefCell<Vec<Spanned<String>>>,
    pub(super) budget: Arc<Budget>,
}

impl Stage {
    pub(super) fn expand(
        &self,
        word: &Spanned<String>,
        escape: char,
    ) -> Result<String, Diagnostic> {
        let (text, unset) = expand::expand_noting(
            &word.value,
            escape,
            &|name| self.scope.get(name),
            &self.budget,
        )
        .map_err(|error| Diagnostic::error(word.span, error.to_string()))?;
        self.note(unset, word.span);
        Ok(text)
    }

    /// Variables in the text of a file.
    pub(super) fn expand_body(&self, body: &Spanned<String>) -> Result<String, Diagnostic> {
        let (text, unset) =
            expand::expand_text(&body.value, &|name| self.scope.get(name), &self.budget)
                .map_err(|error| Diagnostic::error(body.span, error.to_string()))?;
        self.note(unset, body.span);
        Ok(text)
    }

    fn note(&self, unset: Vec<String>, span: Span) {
        self.unset
            .borrow_mut()
            .extend(unset.into_iter().map(|value| Spanned { value, span }));
    }

    /// Bytes that a stage on top of this one takes over.
    fn size(&self) -> usize {
        let history = self.history.iter().map(|line| line.created_by.len());
        let labels = self
            .execution
            .labels
            .iter()
            .map(|(name, value)| name.len() + value.len());
        self.scope.size() + history.chain(labels).sum::<usize>()
    }

    /// Counts what an instruction copies; `lower` notices when it is too much.
    pub(super) fn charge(&self, bytes: usize) {
        let _ = self.budget.text(bytes);
    }

    pub(super) fn metadata(&mut self, created_by: String) {
        self.charge(created_by.len());
        self.history.push(HistoryLine {
            created_by,
            step: None,
        });
    }

    fn shell(&self) -> Vec<String> {
        self.execution
            .shell
            .clone()
            .unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()])
    }

    pub(super) fn argv(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Exec(argv) => argv.clone(),
            Command::Shell(line) => {
                let mut argv = self.shell();
                argv.push(line.clone());
                argv
            }
        }
    }

    /// A path of an instruction, made absolute by WORKDIR; a slash at its end is gone.
    pub(super) fn absolute(&self, path: &str) -> String {
        if path.starts_with('/') {
            clean(path)
        } else {
            clean(&format!("/{}/{path}", self.execution.working_dir))
        }
    }

    pub(super) fn user(&self) -> Option<String> {
        (!self.execution.user.is_empty()).then(|| self.execution.user.clone())
    }
}

pub(super) struct Lowering<'a> {
    file: &'a Dockerfile,
    pub(super) request: &'a BuildRequest,
    selection: &'a Selection,
    bases: &'a Bases,
    /// Whether there are other platforms, too.
    several: bool,
    found: Findings,
    budget: Arc<Budget>,
}

/// The instruction that is being lowered, and its stage.
#[derive(Debug, Clone, Copy)]
pub(super) struct CurrentInstruction<'a> {
    stage: usize,
    /// `[build 2/6]`
    label: &'a str,
    pub(super) instruction: &'a Instruction,
}

impl Lowering<'_> {
    pub(super) fn escape(&self) -> char {
        self.file.escape
    }

    pub(super) fn globals(&self) -> &Globals {
        &self.selection.globals
    }

    /// The stage that was asked for, after those that it needs.
    fn target(&mut self, declared: &mut BTreeSet<String>) -> Stage {
        let mut stages: BTreeMap<usize, Stage> = BTreeMap::new();
        for &index in &self.selection.needed {
            let stage = self.stage(index, &stages);
            if self.budget.exhausted() {
                return stage;
            }
            declared.extend(stage.scope.declared_names().cloned());
            stages.insert(index, stage);
        }
        stages
            .remove(&self.selection.target)
            .expect("the target is among the needed stages")
    }

    fn stage(&mut self, index: usize, done: &BTreeMap<usize, Stage>) -> Stage {
        let mut stage = self.begin(index, done);
        if let Err(problem) = self.affordable(self.file.stages[index].span) {
            self.found.problems.push(problem);
            return stage;
        }
        let mut instructions = self.triggers(index, &mut stage);
        instructions.extend(
            self.selection
                .instructions(self.file, index)
                .iter()
                .cloned(),
        );
        let total = 1 + instructions
            .iter()
            .filter(|instruction| makes_step(&instruction.kind))
            .count();
        let mut number = 1;
        for instruction in &instructions {
            number += usize::from(makes_step(&instruction.kind));
            let label = self.label(index, number, total);
            let current = CurrentInstruction {
                stage: index,
                label: &label,
                instruction,
            };
            let outcome = self.instruction(current, &mut stage, done);
            let outcome = outcome.and_then(|()| self.affordable(instruction.span));
            self.found.problems.extend(outcome.err());
            if self.budget.exhausted() {
                break;
            }
            self.undefined(&stage);
        }
        stage
    }

    /// Whether the copies so far are within bounds.
    fn affordable(&self, span: Span) -> Result<(), Diagnostic> {
        if self.budget.exhausted() {
            Err(Diagnostic::error(span, Exceeded::Text.to_string()))
        } else {
            Ok(())
        }
    }

    /// Variables that nothing declares. What an unknown base declares is not known.
    fn undefined(&mut self, stage: &Stage) {
        for name in stage.unset.take() {
            if !stage.known || stage.scope.is_declared(&name.value) {
                continue;
            }
            let finding = Diagnostic::lint(
                Rule::UndefinedVar,
                name.span,
                format!("variable {} is not defined", name.value),
            );
            self.found
                .findings
                .push(match closest(&name.value, stage.scope.names()) {
                    Some(known) => finding.hint(format!("did you mean {known}?")),
                    None => finding,
                });
        }
    }

    fn begin(&mut self, index: usize, done: &BTreeMap<usize, Stage>) -> Stage {
        let base = &self.selection.bases[index];
        let fresh = |tree, image, execution: Execution| Stage {
            scope: Scope::from_env(&execution.env),
            execution,
            author: None,
            history: Vec::new(),
            cmd_is_own: false,
            tree,
            platform: base.platform.clone(),
            base: image,
            known: true,
            unset: RefCell::default(),
            budget: Arc::clone(&self.budget),
        };
        let bare = || Execution {
            env: vec![format!("PATH={DEFAULT_PATH}")],
            working_dir: "/".to_owned(),
            ..Execution::default()
        };
        match &base.of {
            StageBase::Scratch => fresh(Tree::Scratch, None, bare()),
            StageBase::Files(name) => {
                let mut stage = fresh(Tree::Scratch, None, bare());
                self.files_of(index, name, &mut stage);
                stage
            }
            StageBase::Stage(earlier) => {
                let earlier = done
                    .get(earlier)
                    .expect("a stage's base is needed and comes before it");
                earlier.charge(earlier.size());
                Stage {
                    cmd_is_own: false,
                    platform: base.platform.clone(),
                    ..earlier.clone()
                }
            }
            StageBase::Image(name) => {
                let image = BaseImage {
                    name: name.clone(),
                    platform: base.platform.to_string(),
                };
                let config = self
                    .bases
                    .get(&image)
                    .expect("the images of a selection are found before lowering");
                let execution = config.as_ref().map(|config| config.config.clone());
                let mut stage = fresh(
                    Tree::Image(image.clone()),
                    Some(image),
                    execution.unwrap_or_default(),
                );
                stage.known = config.is_some();
                stage.author = config.as_ref().and_then(|config| config.author.clone());
                stage
            }
        }
    }

    /// A context as the base of a stage: all its files.
    fn files_of(&mut self, index: usize, context: &str, stage: &mut Stage) {
        let op = Op::Copy(CopyStep {
            from: Origin::Named(context.to_owned()),
            sources: vec![CopyItem::Path(".".to_owned())],
            destination: "/".to_owned(),
            into_folder: true,
            chown: None,
            chmod: None,
            unpack: false,
            unpack_remote: false,
            exclude: Ignore::default(),
            parents: false,
        });
        let from = &self.file.stages[index];
        let name = format!("{} {}", self.label(index, 1, 1), from.text);
        let step = Step {
            parent: Tree::Scratch,
            op,
            name,
            span: from.span,
            fresh: self.is_fresh(index),
        };
        self.add(step, format!("context {context}"), stage);
    }

    /// The base's ONBUILD triggers fire here, once.
    fn triggers(&mut self, index: usize, stage: &mut Stage) -> Vec<Instruction> {
        let span = self.file.stages[index].span;
        let mut instructions = Vec::new();
        for trigger in std::mem::take(&mut stage.execution.on_build) {
            match parse_trigger(&trigger, span, self.escape()) {
                Ok(instruction) => instructions.push(instruction),
                Err(problem) => self.found.problems.push(problem),
            }
        }
        instructions
    }

    /// The prefix of a step's name, as buildx has it.
    fn label(&self, index: usize, number: usize, total: usize) -> String {
        let mut words = Vec::new();
        if self.several {
            let (own, target) = (
                &self.selection.bases[index].platform,
                &self.selection.platform,
            );
            let target = target.to_string();
            let (_, machine) = target.split_once('/').unwrap_or_default();
            words.push(if own.to_string() == target {
                target
            } else {
                format!("{own}->{machine}")
            });
        }
        if self.file.stages.len() > 1 {
            let name = self.file.stages[index]
                .name
                .as_ref()
                .map(|name| name.value.clone());
            words.push(name.unwrap_or_else(|| format!("stage-{index}")));
        }
        words.push(format!("{number}/{total}"));
        format!("[{}]", words.join(" "))
    }

    fn instruction(
        &mut self,
        current: CurrentInstruction<'_>,
        stage: &mut Stage,
        done: &BTreeMap<usize, Stage>,
    ) -> Result<(), Diagnostic> {
        match &current.instruction.kind {
            Kind::Run(run) => self.run(current, run, stage, done),
            Kind::Copy(copy) => self.copy(current, copy, false, stage, done),
            Kind::Add(copy) => self.copy(current, copy, true, stage, done),
            Kind::Workdir(path) => self.workdir(current, path, stage),
            _ => self.describe(current.instruction, stage),
        }
    }

    pub(super) fn push(
        &mut self,
        current: CurrentInstruction<'_>,
        parent: Tree,
        op: Op,
        created_by: String,
        stage: &mut Stage,
    ) -> StepId {
        let name = format!("{} {}", current.label, current.instruction.text);
        let fresh = self.is_fresh(current.stage);
        self.add(
            Step {
                parent,
                op,
                name,
                span: current.instruction.span,
                fresh,
            },
            created_by,
            stage,
        )
    }

    fn is_fresh(&self, index: usize) -> bool {
        let name = self.file.stages[index].name.as_ref();
        let filtered =
            |stage: &String| name.is_some_and(|name| name.value.eq_ignore_ascii_case(stage));
        self.request.no_cache || self.request.no_cache_filter.iter().any(filtered)
    }

    fn add(&mut self, step: Step, created_by: String, stage: &mut Stage) -> StepId {
        let place = stage.execution.working_dir.len() + stage.execution.user.len();
        stage.charge(step.name.len() + created_by.len() + place);
        // Two stages that begin alike share their steps.
        let same = self
            .found
            .steps
            .iter()
            .position(|known| known.parent == step.parent && known.op == step.op);
        let id = same.unwrap_or(self.found.steps.len());
        if same.is_none() {
            self.found.steps.push(step);
        }
        stage.history.push(HistoryLine {
            created_by,
            step: Some(id),
        });
        stage.tree = Tree::Step(id);
        id
    }

    fn workdir(
        &mut self,
        current: CurrentInstruction<'_>,
        path: &Spanned<String>,
        stage: &mut Stage,
    ) -> Result<(), Diagnostic> {
        let path = stage.absolute(&stage.expand(path, self.escape())?);
        stage.execution.working_dir.clone_from(&path);
        let created_by = format!("WORKDIR {path}");
        if path == "/" {
            stage.metadata(created_by);
            return Ok(());
        }
        let op = Op::Mkdir(Mkdir {
            path,
            user: stage.user(),
        });
        let parent = stage.tree.clone();
        self.push(current, parent, op, created_by, stage);
        Ok(())
    }

    /// What a `--from` names.
    pub(super) fn origin(
        &mut self,
        current: CurrentInstruction<'_>,
        from: &str,
        span: Span,
        done: &BTreeMap<usize, Stage>,
    ) -> Result<Origin, Diagnostic> {
        match from_target(self.file, self.request, current.stage, from, span)? {
            FromTarget::Stage(index) => match done.get(&index) {
                Some(stage) => Ok(Origin::Tree(stage.tree.clone())),
                // Only an ONBUILD trigger can name a stage that the selection did not see.
                None => Err(Diagnostic::error(
                    span,
                    format!("a trigger of the base image copies from stage {from}"),
                )
                .hint("name the stage in a COPY --from of this Dockerfile")),
            },
            FromTarget::Files(name) => Ok(Origin::Named(name)),
            FromTarget::Image(name) => {
                let image = self.selection.image(&name);
                if !self.bases.contains_key(&image)
                    && !self.found.missing.iter().any(|(known, _)| *known == image)
                {
                    self.found.missing.push((image.clone(), span));
                }
                Ok(Origin::Tree(Tree::Image(image)))
            }
        }
    }
}

fn makes_step(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::Run(_) | Kind::Copy(_) | Kind::Add(_) | Kind::Workdir(_)
    )
}

/// Relative to a root that `..` cannot leave.
pub(super) fn inside(path: &str) -> String {
    let cleaned = clean(&format!("/{path}"));
    let relative = cleaned.trim_start_matches('/');
    if relative.is_empty() {
        ".".to_owned()
    } else {
        relative.to_owned()
    }
}
