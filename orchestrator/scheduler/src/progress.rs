//! Owns how far a plan has been carried out: the sans-I/O frontier. The executor asks what is ready, does it, and says
//! how it went. Dependents are released on success only; those of a failed step are skipped.

use crate::action::Action;
use crate::plan::{Plan, StepId};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepState {
    /// Steps before it are not done.
    Waiting,
    /// May begin.
    Ready,
    /// Handed out by [`Progress::ready`].
    Running,
    Done,
    Failed,
    /// A step before it has failed or was skipped.
    Skipped,
}

#[derive(Debug, Clone)]
pub struct Progress {
    states: Vec<StepState>,
    /// Steps before each one that are not done yet.
    missing: Vec<usize>,
    dependents: Vec<Vec<usize>>,
    /// A failure here is a warning only.
    optional: Vec<bool>,
}

impl Progress {
    pub fn new(plan: &Plan) -> Self {
        let count = plan.steps.len();
        let mut dependents = vec![Vec::new(); count];
        for step in &plan.steps {
            for before in &step.after {
                dependents[before.0].push(step.id.0);
            }
        }
        let missing: Vec<usize> = plan.steps.iter().map(|step| step.after.len()).collect();
        let states = missing
            .iter()
            .map(|&n| {
                if n == 0 {
                    StepState::Ready
                } else {
                    StepState::Waiting
                }
            })
            .collect();
        let optional = plan
            .steps
            .iter()
            .map(|step| {
                matches!(
                    step.action,
                    Action::Await {
                        required: false,
                        ..
                    }
                )
            })
            .collect();
        Self {
            states,
            missing,
            dependents,
            optional,
        }
    }

    /// Steps that may begin now and were not handed out before.
    pub fn ready(&mut self) -> Vec<StepId> {
        let mut ready = Vec::new();
        for (index, state) in self.states.iter_mut().enumerate() {
            if *state == StepState::Ready {
                *state = StepState::Running;
                ready.push(StepId(index));
            }
        }
        ready
    }

    /// A step that was handed out has succeeded. Anything else is ignored.
    pub fn done(&mut self, id: StepId) {
        if self.state(id) == StepState::Running {
            self.states[id.0] = StepState::Done;
            self.release(id.0);
        }
    }

    /// A step that was handed out has failed; returns the steps that will therefore not be done.
    pub fn failed(&mut self, id: StepId) -> Vec<StepId> {
        if self.state(id) != StepState::Running {
            return Vec::new();
        }
        self.states[id.0] = StepState::Failed;
        if self.optional[id.0] {
            self.release(id.0);
            return Vec::new();
        }
        self.skip_dependents(id.0)
    }

    /// Nothing that was not handed out will be any more (Ctrl-C); returns what is skipped.
    pub fn abandon(&mut self) -> Vec<StepId> {
        let mut skipped = Vec::new();
        for (index, state) in self.states.iter_mut().enumerate() {
            if matches!(state, StepState::Waiting | StepState::Ready) {
                *state = StepState::Skipped;
                skipped.push(StepId(index));
            }
        }
        skipped
    }

    pub fn state(&self, id: StepId) -> StepState {
        self.states.get(id.0).copied().unwrap_or(StepState::Skipped)
    }

    /// Nothing is ready or running, so nothing will happen any more.
    pub fn is_finished(&self) -> bool {
        !self.states.iter().any(|state| {
            matches!(
                state,
                StepState::Ready | StepState::Running | StepState::Waiting
            )
        })
    }

    /// Every step was done; failures of optional waits do not count.
    pub fn succeeded(&self) -> bool {
        self.states
            .iter()
            .zip(&self.optional)
            .all(|(state, optional)| match state {
                StepState::Done => true,
                StepState::Failed => *optional,
                _ => false,
            })
    }

    fn release(&mut self, index: usize) {
        for position in 0..self.dependents[index].len() {
            let dependent = self.dependents[index][position];
            self.missing[dependent] -= 1;
            if self.missing[dependent] == 0 && self.states[dependent] == StepState::Waiting {
                self.states[dependent] = StepState::Ready;
            }
        }
    }

    fn skip_dependents(&mut self, failed: usize) -> Vec<StepId> {
        let mut skipped = Vec::new();
        let mut queue = vec![failed];
        while let Some(index) = queue.pop() {
            for position in 0..self.dependents[index].len() {
                let dependent = self.dependents[index][position];
                if self.states[dependent] == StepState::Waiting {
                    self.states[dependent] = StepState::Skipped;
                    skipped.push(StepId(dependent));
                    queue.push(dependent);
                }
            }
        }
        skipped.sort_unstable();
        skipped
    }
}
