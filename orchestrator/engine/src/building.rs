//! Which images one plan builds, so that a build on the image of another one waits for it.
//!
//! Where a Dockerfile's base comes from is only known when it is read, so the plan cannot order these; and while the
//! other build runs, an image of that name in the store is about to be replaced.

use std::collections::BTreeMap;
use std::sync::Arc;

use hoist_image::Reference;
use hoist_scheduler::{Action, Plan};
use tokio::sync::watch;

use crate::actions::StepError;
use crate::execute::Slots;

#[derive(Debug, Default)]
pub(crate) struct Building {
    images: BTreeMap<String, watch::Sender<State>>,
    /// Who waits for whom; a build waits for one base at a time.
    waiting: std::sync::Mutex<BTreeMap<String, String>>,
    slots: Option<Arc<Slots>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Pending,
    Built,
    Failed,
}

impl Building {
    /// Each build holds one of the `slots`.
    pub(crate) fn of(plan: &Plan, slots: &Arc<Slots>) -> Self {
        let references = plan.steps.iter().filter_map(|step| match &step.action {
            Action::BuildImage { reference, .. } => Some(name(reference)),
            _ => None,
        });
        let images = references
            .map(|name| (name, watch::Sender::new(State::Pending)))
            .collect();
        Self {
            images,
            waiting: std::sync::Mutex::default(),
            slots: Some(Arc::clone(slots)),
        }
    }

    pub(crate) fn finished(&self, reference: &str, succeeded: bool) {
        if let Some(image) = self.images.get(&name(reference)) {
            image.send_replace(if succeeded {
                State::Built
            } else {
                State::Failed
            });
        }
    }

    /// Waits until `base` is built. `false`: this plan does not build it.
    pub(crate) async fn wait(&self, own: &str, base: &Reference) -> Result<bool, StepError> {
        let (own, base) = (name(own), base.to_string());
        let Some(image) = self.images.get(&base).filter(|_| own != base) else {
            return Ok(false);
        };
        self.enter(&own, &base)?;
        let mut state = image.subscribe();
        let built = async {
            state
                .wait_for(|state| *state != State::Pending)
                .await
                .map(|state| *state)
        };
        let state = match &self.slots {
            Some(slots) => slots.lend(built).await,
            None => built.await,
        };
        self.waiting
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .remove(&own);
        match state {
            Ok(State::Built) => Ok(true),
            _ => Err(StepError::new(format!(
                "its build, of the same stack, failed: {base}"
            ))),
        }
    }

    fn enter(&self, own: &str, base: &str) -> Result<(), StepError> {
        let mut waiting = self
            .waiting
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut path = vec![own, base];
        let mut next = waiting.get(base);
        while let Some(on) = next {
            path.push(on);
            if on == own {
                return Err(StepError::new(format!(
                    "images built on each other: {}",
                    path.join(" -> ")
                )));
            }
            next = waiting.get(on);
        }
        waiting.insert(own.to_owned(), base.to_owned());
        Ok(())
    }
}

/// Two spellings of one reference are one image.
fn name(reference: &str) -> String {
    Reference::parse(reference)
        .map_or_else(|_| reference.to_owned(), |reference| reference.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn building(names: &[&str]) -> Building {
        let images = names
            .iter()
            .map(|text| (name(text), watch::Sender::new(State::Pending)))
            .collect();
        Building {
            images,
            ..Building::default()
        }
    }

    #[tokio::test]
    async fn a_build_waits_for_its_base_and_learns_of_its_failure() {
        let building = building(&["base", "child", "other"]);
        let base = Reference::parse("base:latest").unwrap();
        assert!(
            !building
                .wait("child", &Reference::parse("debian").unwrap())
                .await
                .unwrap()
        );
        let (waited, ()) = tokio::join!(building.wait("child", &base), async {
            building.finished("base", true)
        });
        assert!(waited.unwrap());
        building.finished("base", false);
        assert!(building.wait("other", &base).await.is_err());
    }

    #[tokio::test]
    async fn images_built_on_each_other_are_an_error_and_no_deadlock() {
        let building = building(&["a", "b"]);
        let (a, b) = (
            Reference::parse("a").unwrap(),
            Reference::parse("b").unwrap(),
        );
        let first = async {
            let waited = building.wait("a", &b).await;
            building.finished("a", waited.is_ok());
            waited
        };
        let second = async {
            let waited = building.wait("b", &a).await;
            building.finished("b", waited.is_ok());
            waited
        };
        let (first, second) = tokio::join!(first, second);
        assert!(first.is_err() && second.unwrap_err().message.contains("built on each other"));
    }
}
