//! Any sequence of events ends in a state that the records explain.
//!
//! The simulated host checks as it goes: two runs of one container, a restart after a stop was asked for and an exit code
//! that is not the recorded one fail at once ([`sim`]).
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod sim;

use std::time::Duration;

use hoist_object::{Outcome as ProbeOutcome, Policy, Timestamp, Wanted, When};
use hoist_scheduler::Readiness;
use hoist_supervisor::{Condition, Phase, StartWhy};
use proptest::prelude::*;
use sim::{BOOT, Sim, health};

const IDS: [&str; 3] = ["a", "b", "c"];

#[derive(Debug, Clone)]
enum Op {
    Start(usize),
    Stop(usize),
    /// From outside.
    Kill(usize),
    Exit(usize, i32),
    Remove(usize),
    /// The removal's last step, without its first.
    Gone(usize),
    StartEnds(bool),
    Fire(usize),
    PolicyStart,
    KillStopped,
    Probe(bool),
    Silent(usize),
    Seek,
    Pause(usize, bool),
    Wait(usize, Condition),
    EngineAway {
        spawned: bool,
        meanwhile: Vec<(usize, i32)>,
    },
    Reboot,
    ClockStepped(i64),
    Advance(u64),
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        Just(Condition::Settled),
        (1..4_u64).prop_map(|run| Condition::Down { run }),
        Just(Condition::Ready(Readiness::Ready)),
        Just(Condition::Ready(Readiness::Started)),
        Just(Condition::Ready(Readiness::Completed)),
        any::<bool>().prop_map(|fresh| Condition::Ended { fresh }),
        Just(Condition::Removed),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let id = 0..IDS.len();
    prop_oneof![
        6 => id.clone().prop_map(Op::Start),
        4 => id.clone().prop_map(Op::Stop),
        2 => id.clone().prop_map(Op::Kill),
        4 => (id.clone(), 0..3_i32).prop_map(|(id, code)| Op::Exit(id, code)),
        1 => id.clone().prop_map(Op::Remove),
        1 => id.clone().prop_map(Op::Gone),
        8 => prop::bool::weighted(0.8).prop_map(Op::StartEnds),
        6 => (0..8_usize).prop_map(Op::Fire),
        6 => Just(Op::PolicyStart),
        4 => Just(Op::KillStopped),
        2 => any::<bool>().prop_map(Op::Probe),
        2 => id.clone().prop_map(Op::Silent),
        3 => Just(Op::Seek),
        1 => (id.clone(), any::<bool>()).prop_map(|(id, paused)| Op::Pause(id, paused)),
        4 => (id.clone(), condition()).prop_map(|(id, condition)| Op::Wait(id, condition)),
        2 => (any::<bool>(), prop::collection::vec((id, 0..3_i32), 0..3))
            .prop_map(|(spawned, meanwhile)| Op::EngineAway { spawned, meanwhile }),
        1 => Just(Op::Reboot),
        1 => (-1_000_000_000_000_000..1_000_000_000_000_000_i64).prop_map(Op::ClockStepped),
        3 => (0..20_000_u64).prop_map(Op::Advance),
    ]
}

fn policy() -> impl Strategy<Value = Policy> {
    let when = prop_oneof![
        Just(When::Never),
        Just(When::OnFailure),
        Just(When::Always),
        Just(When::UnlessStopped)
    ];
    (
        when,
        prop::option::of(1..3_u32),
        prop::option::of(Just(Duration::from_secs(1))),
    )
        .prop_map(|(when, max_attempts, delay)| Policy {
            when,
            max_attempts,
            delay,
            window: None,
        })
}

fn apply(sim: &mut Sim, op: Op, boots: &mut u32) {
    match op {
        Op::Start(id) => {
            sim.start(IDS[id], StartWhy::Request);
        }
        Op::Stop(id) => {
            sim.stop(IDS[id]);
        }
        Op::Kill(id) => sim.exits(IDS[id], 137),
        Op::Exit(id, code) => sim.exits(IDS[id], code),
        Op::Remove(id) => sim.remove(IDS[id]),
        Op::Gone(id) if !sim.alive.contains_key(IDS[id]) => sim.gone(IDS[id]),
        Op::Gone(_) => {}
        Op::StartEnds(well) => {
            if let Some(launch) = sim.launches.first().cloned() {
                if well {
                    sim.launched(&launch.id)
                } else {
                    sim.launch_failed(&launch.id)
                }
            }
        }
        Op::Fire(index) if index < sim.timers.len() => sim.fire(index),
        Op::Fire(_) => {}
        Op::PolicyStart => {
            if let Some(id) = sim.policy_starts.pop() {
                sim.start(&id, StartWhy::Policy);
            }
        }
        Op::KillStopped => sim.kill_stopped(),
        Op::Probe(passes) if !sim.probes.is_empty() => {
            sim.probed(
                0,
                if passes {
                    ProbeOutcome::Passed
                } else {
                    ProbeOutcome::Failed
                },
            );
        }
        Op::Probe(_) => {}
        Op::Silent(id) => sim.goes_silent(IDS[id]),
        Op::Seek if !sim.seeks.is_empty() => sim.seek(0),
        Op::Seek => {}
        Op::Pause(id, paused) => sim.tell(hoist_supervisor::Event::Paused {
            id: IDS[id].to_owned(),
            paused,
        }),
        Op::Wait(id, condition) => {
            sim.wait(IDS[id], condition);
        }
        Op::EngineAway { spawned, meanwhile } => {
            sim.engine_dies(spawned);
            meanwhile
                .into_iter()
                .for_each(|(id, code)| sim.exits(IDS[id], code));
            sim.engine_comes(&boot(*boots));
        }
        Op::Reboot => {
            sim.machine_dies();
            *boots += 1;
            sim.now.steady = Timestamp::from_millis(5_000);
            sim.engine_comes(&boot(*boots));
        }
        Op::ClockStepped(by) => sim.now.wall = Timestamp(sim.now.wall.0.saturating_add(by)),
        Op::Advance(millis) => sim.advance(Duration::from_millis(millis)),
    }
}

fn boot(number: u32) -> String {
    if number == 0 {
        BOOT.to_owned()
    } else {
        format!("boot-{}", number + 1)
    }
}

/// What is shown is what is, and what is is what is wanted.
fn at_rest(sim: &Sim) {
    for (id, container) in &sim.supervisor.containers {
        let alive = sim.alive.contains_key(id);
        assert_eq!(
            container.phase.has_processes(),
            alive,
            "{id} is shown as {:?}",
            container.phase
        );
        assert!(
            !matches!(container.phase, Phase::Starting | Phase::Restarting { .. }),
            "{id}: {:?}",
            container.phase
        );
        let kept = &sim.states[id];
        match kept.wanted {
            Wanted::Running if container.doc.record.restart.when == When::Always => {
                let given_up = container
                    .doc
                    .record
                    .restart
                    .max_attempts
                    .is_some_and(|max| {
                        container.state.history.restarts >= max && container.phase.exit().is_some()
                    });
                assert!(alive || given_up, "{id} is wanted and down: {kept:?}");
            }
            Wanted::Stopped => assert!(!alive, "{id} runs, and a stop was asked for: {kept:?}"),
            Wanted::Running | Wanted::Created => {}
        }
        if alive {
            assert_eq!(kept.exit, None, "{id} runs and has an exit on record");
        }
        assert_eq!(
            kept.exit, container.state.exit,
            "{id}: an engine after this one sees the same"
        );
    }
    assert!(
        sim.alive
            .keys()
            .all(|id| sim.supervisor.containers.contains_key(id)),
        "nobody's processes run"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_events_ends_in_what_is_wanted(
        policies in prop::array::uniform3(policy()),
        ops in prop::collection::vec(op(), 1..60),
    ) {
        let mut sim = Sim::new();
        for (id, policy) in IDS.iter().zip(policies) {
            sim.make(id, policy, false, (*id == "b").then(health));
        }
        let mut boots = 0;
        for op in ops {
            apply(&mut sim, op, &mut boots);
        }
        sim.settle();
        at_rest(&sim);
        // Stops and starts are answered at rest; waits at the latest with the end of their containers.
        prop_assert!(sim.open.values().all(|what| *what == "wait"), "not answered: {:?}", sim.open);
        for id in IDS {
            sim.remove(id);
        }
        sim.settle();
        prop_assert!(sim.open.is_empty(), "not answered: {:?}", sim.open);
        prop_assert!(sim.alive.is_empty(), "left: {:?}", sim.alive);
    }
}
