//! Objects that come and go by request.

use std::sync::Arc;

use hoist_object::{ContainerDoc, NetworkDoc, Now, VolumeDoc};

use super::Supervisor;
use crate::container::Container;
use crate::effect::{Effect, Notice, StartAnswer, StopAnswer, Subject};
use crate::handles::Handles;
use crate::status::Phase;

impl<H: Handles> Supervisor<H> {
    pub(crate) fn network_made(&mut self, network: NetworkDoc, effects: &mut Vec<Effect<H>>) {
        effects.push(Effect::Announce(Notice::NetworkMade(Box::new(
            network.clone(),
        ))));
        self.networks.insert(network.name.clone(), network);
        effects.push(Effect::Wire);
    }

    pub(crate) fn network_gone(&mut self, name: &str, effects: &mut Vec<Effect<H>>) {
        if let Some(network) = self.networks.remove(name) {
            effects.extend([
                Effect::Announce(Notice::NetworkGone(Box::new(network))),
                Effect::Wire,
            ]);
        }
    }

    pub(crate) fn volume_made(&mut self, volume: VolumeDoc, effects: &mut Vec<Effect<H>>) {
        effects.push(Effect::Announce(Notice::VolumeMade(volume.name.clone())));
        self.volumes.insert(volume.name.clone(), volume);
    }

    pub(crate) fn volume_gone(&mut self, name: &str, effects: &mut Vec<Effect<H>>) {
        self.volumes.remove(name);
        effects.push(Effect::Announce(Notice::VolumeGone(name.to_owned())));
    }

    pub(crate) fn container_made(
        &mut self,
        mut container: Container<H>,
        now: Now,
        effects: &mut Vec<Effect<H>>,
    ) {
        container.made = Some(now.steady);
        container.announce(Subject::Created, effects);
        container.publish(effects);
        self.load(container);
        effects.push(Effect::Changed);
    }

    pub(crate) fn rewired(&mut self, doc: ContainerDoc, effects: &mut Vec<Effect<H>>) {
        let Some(container) = self.containers.get_mut(&doc.id) else {
            return;
        };
        let names = |doc: &ContainerDoc| -> Vec<String> {
            doc.record
                .networks
                .iter()
                .map(|attachment| attachment.network.clone())
                .collect()
        };
        let (before, after) = (names(&container.doc), names(&doc));
        let changed =
            |from: &[String], to: &[String]| from.iter().find(|name| !to.contains(name)).cloned();
        let (joined, left) = (changed(&after, &before), changed(&before, &after));
        container.doc = Arc::new(doc);
        let id = container.doc.id.clone();
        for (name, notice) in [
            (joined, Notice::Connected as fn(_, _) -> _),
            (left, Notice::Disconnected),
        ] {
            if let Some(network) = name.and_then(|name| self.networks.get(&name)) {
                effects.push(Effect::Announce(notice(
                    Box::new(network.clone()),
                    id.clone(),
                )));
            }
        }
        effects.extend([Effect::Wire, Effect::Changed]);
    }

    pub(crate) fn container_gone(&mut self, id: &str, effects: &mut Vec<Effect<H>>) {
        let Some(mut container) = self.containers.remove(id) else {
            return;
        };
        self.forget_name(&container);
        container.phase = Phase::Removed;
        container.publish(effects);
        let starts = container.starts.drain(..);
        effects.extend(starts.map(|reply| Effect::AnswerStart {
            reply,
            answer: StartAnswer::Gone,
        }));
        let stops = container.stops.drain(..);
        effects.extend(stops.map(|reply| Effect::AnswerStop {
            reply,
            answer: StopAnswer::Gone,
        }));
        effects.push(Effect::Forget { id: id.to_owned() });
        container.announce(Subject::Removed, effects);
        self.execs.container_gone(id);
        effects.extend([Effect::Wire, Effect::Changed, Effect::Touch]);
    }
}
