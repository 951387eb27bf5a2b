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
        let Some(service) = self.context.desired.stack.services.get(key) else { return };
        // What is decided after the fetch: nothing but the fetch is done now.
        if self.deferred.contains(key) {
            return;
        }
        let wanted = usize::try_from(self.goal.replicas(key, service)).unwrap_or(usize::MAX);
        if let Some(name) = service.container_name.as_ref().filter(|_| wanted > 1) {
            let replicas = self.goal.replicas(key, service);
            draft.problem(Problem::NameScaled { service: key.to_owned(), name: name.clone(), replicas });
            return;
        }
        let mut replicas = self.replicas(key, service);
        for (_, container) in replicas.split_off(wanted.min(replicas.len())) {
            let fate = Fate::Remove { why: Reason::ScaledDown, anonymous_volumes: false };
            decide(subjects, container, fate);
        }
        let mut taken: BTreeSet<u32> = replicas.iter().map(|(_, container)| container.record.number).collect();
        let missing = wanted - replicas.len();
        for (drift, container) in replicas {
            decide(subjects, container, self.fate(container, drift));
        }
        for _ in 0..missing {
            let number = (1..).find(|number| !taken.contains(number)).unwrap_or(u32::MAX);
            taken.insert(number);
            self.create(draft, subjects, key, service, number);
        }
    }

    /// The service's containers, the best first: up to date before outdated, then by number.
    fn replicas(&self, key: &str, service: &Service) -> Vec<(Option<Reason>, &'a Container)> {
        let fields = digest::fields(self.context.desired, service);
        let own = self.context.observed.containers.values();
        let own = own.filter(|container| container.record.service == key && !container.record.oneoff);
        let mut replicas: Vec<_> = own.map(|container| (self.drift(key, &fields, container), container)).collect();
        replicas.sort_by_key(|(drift, container)| (drift.is_some(), container.record.number, &container.record.name));
        replicas
    }

    /// Why the container cannot stay as it is.
    fn drift(&self, key: &str, fields: &BTreeMap<String, String>, container: &Container) -> Option<Reason> {
        if container.state == State::Dead {
            return Some(Reason::Broken);
        }
        if let Some(network) = self.remake.iter().find(|network| is_attached(container, network)) {
            return Some(Reason::NetworkChanged { network: network.clone() });
        }
        if self.goal.no_recreate {
            return None;
        }
        if container.record.config_hash != digest::config_hash(fields) {
            return Some(Reason::ConfigChanged { fields: digest::changed(&container.record.fields, fields) });
        }
        match self.needs.get(key) {
            Some((_, Need::Stored { id })) if *id != container.image_id => return Some(Reason::ImageChanged),
            _ => {}
        }
        if self.goal.forces(key) && container.created < self.context.request.at {
            return Some(Reason::Forced);
        }
        self.holds_a_fixed_address(key, container)
    }

    fn holds_a_fixed_address(&self, key: &str, container: &Container) -> Option<Reason> {
        let fixed = addresses::fixed(self.context);
        let mut attachments = container.record.networks.iter();
        let held = attachments.find(|attachment| {
            fixed.get(&(attachment.network.clone(), attachment.address)).is_some_and(|owner| owner != key)
        });
        held.map(|attachment| Reason::AddressNeeded { network: attachment.network.clone() })
    }

    fn fate(&self, container: &Container, drift: Option<Reason>) -> Fate {
        if let Some(why) = drift {
            return Fate::Replace { start: self.goal.start, why };
        }
        // What this request has started once is its restart policy's business from then on.
        let begun = container.started.is_some_and(|started| started >= self.context.request.at);
        match container.state {
            State::Created | State::Exited { .. } if self.goal.start && !begun => Fate::Start(Reason::NotRunning),
            State::Paused if self.goal.start => Fate::Unpause(Reason::NotRunning),
            _ => Fate::Keep,
        }
    }

    fn create(&self, draft: &mut Draft, subjects: &mut Subjects<'a>, key: &str, service: &Service, number: u32) {
        let project = &self.context.desired.stack.name;
        let name = container_name(project, key, service, number);
        let start = self.goal.start;
        let mut subject = Subject {
            name: name.clone(),
            service: key.to_owned(),
            number,
            oneoff: false,
            observed: None,
            fate: Fate::Create { start, why: Reason::Missing },
        };
        if let Some(holder) = subjects.get(&name) {
            // A service that was renamed and kept its container_name.
            if !(self.goal.remove_orphans && self.context.is_orphan(&holder.service)) {
                let service = key.to_owned();
                draft.problem(Problem::NameTaken { service, name, project: project.clone() });
                return;
            }
            subject.observed = holder.observed;
            subject.fate = Fate::Replace { start, why: Reason::Orphan };
        }
        subjects.insert(name, subject);
    }
}

fn decide(subjects: &mut Subjects<'_>, container: &Container, fate: Fate) {
    if let Some(subject) = subjects.get_mut(&container.record.name) {
        subject.fate = fate;
    }
}
