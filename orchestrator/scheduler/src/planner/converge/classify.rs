//! Owns what each container of a service is worth: keep, start, replace, remove, and how many are missing.

use std::collections::{BTreeMap, BTreeSet};

use hoist_spec::model::Service;

use crate::digest;
use crate::names::container_name;
use crate::observed::{Container, State};
use crate::plan::Reason;
use crate::planner::Context;
use crate::planner::addresses;
use crate::planner::assemble::is_attached;
use crate::planner::converge::{Goal, Needs};
use crate::planner::draft::Draft;
use crate::planner::images::Need;
use crate::planner::subject::{Fate, Subject, Subjects};
use crate::problem::Problem;

pub(crate) struct Pass<'a, 'g> {
    pub(crate) context: Context<'a>,
    pub(crate) goal: &'g Goal<'a>,
    pub(crate) needs: &'g Needs,
    pub(crate) deferred: &'g BTreeSet<String>,
    /// Networks that will be made anew.
    pub(crate) remake: &'g BTreeSet<String>,
}

impl<'a> Pass<'a, '_> {
    pub(crate) fn service(&self, draft: &mut Draft, subjects: &mut Subjects<'a>, key: &str) {
        let Some(service) = self.context.desired.stack.services.get(key) else {
            return;
        };
        // What is decided after the fetch: nothing but the fetch is done now.
        if self.deferred.contains(key) {
            return;
        }
        let wanted = usize::try_from(self.goal.replicas(key, service)).unwrap_or(usize::MAX);
        if let Some(name) = service.container_name.as_ref().filter(|_| wanted > 1) {
            let replicas = self.goal.replicas(key, service);
            draft.problem(Problem::NameScaled {
                service: key.to_owned(),
                name: name.clone(),
                replicas,
            });
            return;
        }
        let (outdated, current): (Vec<_>, Vec<_>) = self
            .replicas(key, service)
            .into_iter()
            .partition(|(drift, _)| drift.is_some());
        // The lowest of those that are up to date stay; the lowest free numbers fill up. An outdated one has no claim to
        // a number beyond these, so it does not matter at which step an earlier attempt has ended.
        let mut numbers: BTreeSet<u32> = current
            .iter()
            .map(|(_, c)| c.record.number)
            .take(wanted)
            .collect();
        let filling: BTreeSet<u32> = (1..)
            .filter(|number| !numbers.contains(number))
            .take(wanted - numbers.len())
            .collect();
        for (_, container) in current {
            let kept = numbers.contains(&container.record.number);
            decide(
                subjects,
                container,
                if kept {
                    self.undisturbed(container)
                } else {
                    scaled_down()
                },
            );
        }
        for (drift, container) in outdated {
            let claims = filling.contains(&container.record.number)
                && numbers.insert(container.record.number);
            let replace = drift.filter(|_| claims).map(|why| Fate::Replace {
                start: self.goal.start,
                why,
            });
            decide(subjects, container, replace.unwrap_or_else(scaled_down));
        }
        for number in filling.difference(&numbers) {
            self.create(draft, subjects, key, service, *number);
        }
    }

    /// The service's containers by number, with what is wrong about each.
    fn replicas(&self, key: &str, service: &Service) -> Vec<(Option<Reason>, &'a Container)> {
        let fields = digest::fields(self.context.desired, service);
        let own = self.context.observed.containers.values();
        let own =
            own.filter(|container| container.record.service == key && !container.record.oneoff);
        let mut replicas: Vec<_> = own
            .map(|container| (self.drift(key, &fields, container), container))
            .collect();
        replicas.sort_by_key(|(_, container)| (container.record.number, &container.record.name));
        replicas
    }

    /// Why the container cannot stay as it is.
    fn drift(
        &self,
        key: &str,
        fields: &BTreeMap<String, String>,
        container: &Container,
    ) -> Option<Reason> {
        if container.state == State::Dead {
            return Some(Reason::Broken);
        }
        if let Some(network) = self
            .remake
            .iter()
            .find(|network| is_attached(container, network))
        {
            return Some(Reason::NetworkChanged {
                network: network.clone(),
            });
        }
        if self.goal.no_recreate {
            return None;
        }
        if container.record.config_hash != digest::config_hash(fields) {
            return Some(Reason::ConfigChanged {
                fields: digest::changed(&container.record.fields, fields),
            });
        }
        match self.needs.get(key) {
            Some((_, Need::Stored { id })) if *id != container.image_id => {
                return Some(Reason::ImageChanged);
            }
            _ => {}
        }
        if self.goal.forces(key) && container.created < self.context.request.at {
            return Some(Reason::Forced);
        }
        self.holds_a_fixed_address(key, container)
    }

    /// By chance it has an address that another service insists on.
    fn holds_a_fixed_address(&self, key: &str, container: &Container) -> Option<Reason> {
        let fixed = addresses::fixed(self.context);
        let mut attachments = container.record.networks.iter();
        let held = attachments.find(|attachment| {
            let owners = fixed.get(&(attachment.network.clone(), attachment.address));
            owners.is_some_and(|owners| {
                !owners.contains(key) && owners.iter().any(|owner| self.has_replicas(owner))
            })
        });
        held.map(|attachment| Reason::AddressNeeded {
            network: attachment.network.clone(),
        })
    }

    fn has_replicas(&self, key: &str) -> bool {
        let service = self.context.desired.stack.services.get(key);
        service.is_some_and(|service| self.goal.replicas(key, service) > 0)
    }

    /// What becomes of a container that is as it should be.
    fn undisturbed(&self, container: &Container) -> Fate {
        let begun = self.context.has_begun(container);
        match container.state {
            State::Created | State::Exited { .. } if self.goal.start && !begun => {
                Fate::Start(Reason::NotRunning)
            }
            State::Paused if self.goal.start => Fate::Unpause(Reason::NotRunning),
            _ => Fate::Keep,
        }
    }

    fn create(
        &self,
        draft: &mut Draft,
        subjects: &mut Subjects<'a>,
        key: &str,
        service: &Service,
        number: u32,
    ) {
        let project = &self.context.desired.stack.name;
        let name = container_name(project, key, service, number);
        let start = self.goal.start;
        let mut subject = Subject {
            name: name.clone(),
            service: key.to_owned(),
            number,
            oneoff: false,
            observed: None,
            fate: Fate::Create {
                start,
                why: Reason::Missing,
            },
        };
        if let Some(holder) = subjects.get(&name) {
            // A service that was renamed and kept its container_name.
            if !(self.goal.remove_orphans && self.context.is_orphan(&holder.service)) {
                let service = key.to_owned();
                draft.problem(Problem::NameTaken {
                    service,
                    name,
                    project: project.clone(),
                });
                return;
            }
            subject.observed = holder.observed;
            subject.fate = Fate::Replace {
                start,
                why: Reason::Orphan,
            };
        }
        subjects.insert(name, subject);
    }
}

fn scaled_down() -> Fate {
    Fate::Remove {
        why: Reason::ScaledDown,
        anonymous_volumes: false,
    }
}

fn decide(subjects: &mut Subjects<'_>, container: &Container, fate: Fate) {
    if let Some(subject) = subjects.get_mut(&container.record.name) {
        subject.fate = fate;
    }
}
