//! Owns what a plan means to do with each container. Verbs decide fates; `assemble` turns them into ordered steps.

use std::collections::BTreeMap;

use hoist_object::Health;

use crate::action::Readiness;
use crate::observed::{Container, Observed, State};
use crate::plan::Reason;

/// A container that is, or is to be.
#[derive(Debug, Clone)]
pub(crate) struct Subject<'a> {
    pub(crate) name: String,
    pub(crate) service: String,
    pub(crate) number: u32,
    pub(crate) oneoff: bool,
    pub(crate) observed: Option<&'a Container>,
    pub(crate) fate: Fate,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    Keep,
    Start(Reason),
    Unpause(Reason),
    /// It is not there.
    Create {
        start: bool,
        why: Reason,
    },
    /// Make it anew under the same name and number.
    Replace {
        start: bool,
        why: Reason,
    },
    Restart(Reason),
    Stop(Reason),
    Pause(Reason),
    Kill {
        signal: String,
    },
    Remove {
        why: Reason,
        anonymous_volumes: bool,
    },
}

pub(crate) type Subjects<'a> = BTreeMap<String, Subject<'a>>;

impl Fate {
    /// A new container will exist.
    pub(crate) fn makes(&self) -> bool {
        matches!(self, Self::Create { .. } | Self::Replace { .. })
    }

    /// It will be started.
    pub(crate) fn starts(&self) -> bool {
        matches!(
            self,
            Self::Start(_)
                | Self::Restart(_)
                | Self::Create { start: true, .. }
                | Self::Replace { start: true, .. }
        )
    }

    /// The container there is now will go away.
    pub(crate) fn removes(&self) -> bool {
        matches!(self, Self::Replace { .. } | Self::Remove { .. })
    }

    /// The container there is now will not run on as it does.
    pub(crate) fn stops(&self) -> bool {
        self.removes() || matches!(self, Self::Restart(_) | Self::Stop(_))
    }
}

impl<'a> Subject<'a> {
    pub(crate) fn existing(container: &'a Container) -> Self {
        let record = &container.record;
        Self {
            name: record.name.clone(),
            service: record.service.clone(),
            number: record.number,
            oneoff: record.oneoff,
            observed: Some(container),
            fate: Fate::Keep,
        }
    }

    pub(crate) fn state(&self) -> Option<State> {
        self.observed.map(|container| container.state)
    }

    pub(crate) fn runs(&self) -> bool {
        self.state().is_some_and(State::is_running)
    }

    /// Will be running once the plan is carried out, so it holds its host ports.
    pub(crate) fn will_run(&self) -> bool {
        match self.fate {
            Fate::Keep | Fate::Pause(_) | Fate::Kill { .. } => {
                self.state().is_some_and(State::needs_stop)
            }
            Fate::Unpause(_) => true,
            _ => self.fate.starts(),
        }
    }

    /// Already as a wait wants it, and the plan does not disturb it.
    pub(crate) fn satisfies(&self, until: Readiness) -> bool {
        self.fate == Fate::Keep && self.state().is_some_and(|state| is_ready(state, until))
    }
}

pub(crate) fn is_ready(state: State, until: Readiness) -> bool {
    match (until, state) {
        (Readiness::Started, state) => state.is_running(),
        (Readiness::Healthy, State::Running { health }) => health == Health::Healthy,
        (Readiness::Completed | Readiness::Ready, State::Exited { code, .. }) => code == 0,
        (Readiness::Ready, State::Running { health }) => {
            matches!(health, Health::None | Health::Healthy)
        }
        _ => false,
    }
}

/// Everything of the project, each to be kept.
pub(crate) fn existing(observed: &Observed) -> Subjects<'_> {
    observed
        .containers
        .iter()
        .map(|(name, container)| (name.clone(), Subject::existing(container)))
        .collect()
}
