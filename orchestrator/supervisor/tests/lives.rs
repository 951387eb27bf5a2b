//! One table for each event: what it does in each state that it can meet, and that it does nothing in the others.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod sim;

use std::time::Duration;

use hoist_object::{
    Attachment, ContainerDoc, ExitDoc, Health, NetworkDoc, Outcome as ProbeOutcome, Policy,
    StackDoc, StateDoc, VolumeDoc, Wanted, When,
};
use hoist_scheduler::Readiness;
use hoist_supervisor::{
    Condition, Container, Event, Exec, Forget, Outcome, Phase, ShimEvent, StartWhy, Timer, Unready,
};
use sim::{ABANDONED, BOOT, Sim, always, exit, health};

fn never() -> Policy {
    Policy::default()
}

fn network(name: &str) -> NetworkDoc {
    NetworkDoc {
        id: format!("{name}-id"),
        name: name.to_owned(),
        created: Default::default(),
        project: String::new(),
        key: String::new(),
        config_hash: String::new(),
        subnet: "10.0.0.0/24".parse().unwrap(),
        gateway: "10.0.0.1".parse().unwrap(),
        range: "10.0.0.0/24".parse().unwrap(),
        reserved: Default::default(),
        internal: false,
        driver_opts: Default::default(),
        labels: Default::default(),
    }
}

#[test]
fn objects_come_and_go() {
    let mut sim = Sim::new();
    sim.tell(Event::StackApplied(Box::new(StackDoc {
        name: "shop".to_owned(),
        ..StackDoc::default()
    })));
    sim.tell(Event::NetworkMade(Box::new(network("front"))));
    sim.tell(Event::VolumeMade(Box::new(VolumeDoc::recovered("data"))));
    sim.tell(Event::NetworkRestored(Box::new(network("back"))));
    assert!(
        sim.supervisor.stacks.contains_key("shop") && sim.supervisor.volumes.contains_key("data")
    );
    assert_eq!(sim.supervisor.network("front-").unwrap().name, "front");
    assert!(sim.supervisor.network("").is_none() && sim.supervisor.network("back").is_some());
    sim.tell(Event::StackGone("shop".to_owned()));
    sim.tell(Event::NetworkGone {
        name: "front".to_owned(),
    });
    sim.tell(Event::NetworkGone {
        name: "front".to_owned(),
    });
    sim.tell(Event::VolumeGone {
        name: "data".to_owned(),
    });
    assert!(sim.supervisor.stacks.is_empty() && sim.supervisor.volumes.is_empty());
    let told = |what: &str| {
        sim.said
            .iter()
            .filter(|said| said.starts_with(what))
            .count()
    };
    assert_eq!(
        (
            told("NetworkMade"),
            told("NetworkGone"),
            told("VolumeMade"),
            told("VolumeGone")
        ),
        (1, 1, 1, 1)
    );
}

#[test]
fn containers_are_found_by_name_and_by_the_beginning_of_their_id() {
    let mut sim = Sim::new();
    for id in ["abc1", "abc2"] {
        sim.make(id, never(), false, None);
    }
    let found = |name: &str| {
        sim.supervisor
            .resolve(name)
            .map(|container| container.doc.id.clone())
    };
    assert_eq!(found("/name-abc1").as_deref(), Some("abc1"));
    assert_eq!(found("abc2").as_deref(), Some("abc2"));
    assert_eq!((found("abc"), found("")), (None, None));
    assert!(!sim.supervisor.supervises());
}

#[test]
fn a_rewired_container_tells_what_it_joined_and_left() {
    let mut sim = Sim::with(never());
    for name in ["one", "two"] {
        sim.tell(Event::NetworkMade(Box::new(network(name))));
    }
    let in_network = |name: &str| {
        let mut doc = sim.docs["c"].0.clone();
        doc.record.networks = vec![Attachment {
            network: name.to_owned(),
            interface: "eth0".to_owned(),
            address: "10.0.0.2".parse().unwrap(),
            prefix: 24,
            gateway: None,
            mac: [0; 6],
            aliases: Vec::new(),
        }];
        doc
    };
    let (one, two) = (in_network("one"), in_network("two"));
    sim.tell(Event::Rewired(Box::new(one)));
    sim.tell(Event::Rewired(Box::new(two.clone())));
    sim.tell(Event::Rewired(Box::new(ContainerDoc {
        id: "nobody".to_owned(),
        ..two
    })));
    let told: Vec<&str> = sim
        .said
        .iter()
        .filter_map(|said| said.split_once('('))
        .map(|(what, _)| what)
        .collect();
    assert_eq!(
        told[told.len() - 3..],
        ["Connected", "Connected", "Disconnected"]
    );
}

#[test]
fn a_start_is_let_through_once() {
    let mut sim = Sim::with(always());
    let first = sim.start("c", StartWhy::Request);
    let second = sim.start("c", StartWhy::Request);
    assert_eq!(
        (sim.answers.get(&first), sim.answers.get(&second)),
        (Some(&"go"), None),
        "the second waits"
    );
    sim.launched("c");
    assert_eq!(sim.answers[&second], "running");
    let third = sim.start("c", StartWhy::Policy);
    let nobody = sim.start("nobody", StartWhy::Request);
    assert_eq!(
        (sim.answers[&third], sim.answers[&nobody]),
        ("running", "gone")
    );
    assert_eq!(sim.container("c").run, 1);
}

#[test]
fn who_waits_for_a_start_that_fails_hears_why() {
    let mut sim = Sim::with(always());
    sim.start("c", StartWhy::Request);
    let (start, stop) = (sim.start("c", StartWhy::Request), sim.stop("c"));
    sim.launch_failed("c");
    assert_eq!(
        (sim.answers[&start], sim.answers[&stop]),
        ("failed", "down")
    );
    assert_eq!(
        sim.states["c"].wanted,
        Wanted::Created,
        "it is left to the user"
    );
    assert!(sim.policy_starts.is_empty() && sim.timers.is_empty());
}

#[test]
fn a_restart_that_fails_is_tried_again_unless_a_stop_was_asked_for() {
    for stopped in [false, true] {
        let mut sim = Sim::with(always());
        sim.up("c");
        sim.advance(Duration::from_secs(20));
        sim.exits("c", 1);
        sim.settle_once();
        sim.settle_once();
        assert_eq!(*sim.phase(), Phase::Starting, "the policy started it");
        if stopped {
            sim.stop("c");
        }
        sim.launch_failed("c");
        assert_eq!(matches!(sim.phase(), Phase::Restarting { .. }), !stopped);
        assert_eq!(
            sim.states["c"].wanted,
            if stopped {
                Wanted::Stopped
            } else {
                Wanted::Running
            }
        );
    }
}

#[test]
fn a_start_of_a_removed_container_is_shut_down() {
    let mut sim = Sim::with(never());
    sim.start("c", StartWhy::Request);
    let (start, stop) = (sim.start("c", StartWhy::Request), sim.stop("c"));
    sim.gone("c");
    assert_eq!((sim.answers[&start], sim.answers[&stop]), ("gone", "gone"));
    sim.launched("c");
    assert!(sim.alive.is_empty() && sim.followed.is_empty());
}

#[test]
fn a_stop_waits_for_the_start_that_is_under_way() {
    let mut sim = Sim::with(always());
    sim.start("c", StartWhy::Request);
    let stop = sim.stop("c");
    assert_eq!(
        sim.states["c"].wanted,
        Wanted::Stopped,
        "an engine after this one must know"
    );
    assert!(!sim.answers.contains_key(&stop));
    sim.launched("c");
    assert_eq!(sim.answers[&stop], "running");
    sim.kill_stopped();
    assert_eq!(*sim.phase(), Phase::Exited(sim.records["c"].clone()));
    sim.settle();
    assert!(sim.alive.is_empty(), "no restart");
}

#[test]
fn two_stops_at_once_are_both_answered() {
    let mut sim = Sim::with(always());
    sim.up("c");
    let (one, two) = (sim.stop("c"), sim.stop("c"));
    assert_eq!(
        (sim.answers[&one], sim.answers[&two]),
        ("running", "running")
    );
    sim.kill_stopped();
    let three = sim.stop("c");
    assert_eq!((sim.answers[&three], sim.to_kill.len()), ("down", 0));
}

#[test]
fn a_stop_of_an_earlier_run_does_nothing() {
    let mut sim = Sim::with(always());
    sim.up("c");
    let stale = sim.stop_run("c", Some(0));
    assert_eq!(
        (sim.answers[&stale], sim.states["c"].wanted),
        ("gone", Wanted::Running)
    );
    let nobody = sim.stop("nobody");
    assert_eq!(sim.answers[&nobody], "gone");
}

#[test]
fn a_stop_ends_the_wait_for_a_restart() {
    let mut sim = Sim::with(Policy {
        delay: Some(Duration::from_secs(5)),
        ..always()
    });
    sim.up("c");
    sim.exits("c", 1);
    assert!(matches!(sim.phase(), Phase::Restarting { .. }));
    let stop = sim.stop("c");
    assert_eq!(
        (sim.answers[&stop], sim.phase().exit().unwrap().code),
        ("down", 1)
    );
    assert!(matches!(sim.phase(), Phase::Exited(_)));
    sim.settle();
    assert!(sim.alive.is_empty(), "the timer finds nothing to do");
}

#[test]
fn a_stop_is_in_time_while_a_restart_is_on_its_way() {
    let mut sim = Sim::with(always());
    sim.up("c");
    sim.advance(Duration::from_secs(20));
    sim.exits("c", 1);
    sim.settle_once();
    assert_eq!(sim.policy_starts, ["c"], "the policy has decided");
    sim.stop("c");
    sim.settle();
    assert!(sim.alive.is_empty() && matches!(sim.phase(), Phase::Exited(_)));
    assert_eq!(
        sim.answers
            .values()
            .filter(|answer| **answer == "unwanted")
            .count(),
        1
    );
}

#[test]
fn what_is_made_for_one_run_is_removed_after_it() {
    for (policy, started) in [(never(), true), (never(), false), (always(), true)] {
        let mut sim = Sim::new();
        sim.make("c", policy, true, None);
        sim.start("c", StartWhy::Request);
        if started {
            sim.launched("c");
            sim.stop("c");
            sim.exits("c", 0);
        } else {
            sim.launch_failed("c");
        }
        assert_eq!(sim.removals, ["c"]);
    }
    let mut sim = Sim::new();
    sim.make("c", always(), true, None);
    sim.up("c");
    sim.exits("c", 1);
    sim.stop("c");
    assert_eq!(
        sim.removals,
        ["c"],
        "also when it was about to be restarted"
    );
}

#[test]
fn exits_are_decided_by_the_policy() {
    let on_failure = Policy {
        when: When::OnFailure,
        ..Policy::default()
    };
    for (policy, code, again) in [
        (never(), 1, false),
        (always(), 0, true),
        (on_failure.clone(), 0, false),
        (on_failure, 3, true),
    ] {
        let mut sim = Sim::with(policy);
        sim.up("c");
        sim.exits("c", code);
        assert_eq!(matches!(sim.phase(), Phase::Restarting { .. }), again);
        assert_eq!(
            sim.states["c"].exit.as_ref().map(|exit| exit.code),
            Some(code)
        );
        sim.settle();
        assert_eq!(sim.alive.contains_key("c"), again);
        assert_eq!(sim.container("c").state.history.restarts, u32::from(again));
    }
}

#[test]
fn an_exit_counts_in_its_own_run_and_once() {
    let mut sim = Sim::with(never());
    let says = |run| Event::FromShim {
        id: "c".to_owned(),
        run,
        event: ShimEvent::Exited(exit(9)),
    };
    sim.start("c", StartWhy::Request);
    sim.launched("c");
    sim.tell(says(0));
    assert_eq!(*sim.phase(), Phase::Running, "it is of an earlier run");
    sim.exits("c", 4);
    sim.tell(says(1));
    assert_eq!(sim.phase().exit().unwrap().code, 4);
    assert_eq!(
        sim.said
            .iter()
            .filter(|said| said.starts_with("Died"))
            .count(),
        1
    );
}

/// A program may end before the engine that started it has said that it runs.
#[test]
fn an_exit_while_it_starts_is_its_end() {
    let mut sim = Sim::with(never());
    sim.start("c", StartWhy::Request);
    let run = sim.container("c").run;
    sim.tell(Event::FromShim {
        id: "c".to_owned(),
        run,
        event: ShimEvent::Exited(exit(7)),
    });
    assert_eq!(sim.phase().exit().map(|exit| exit.code), Some(7));
}

#[test]
fn lack_of_memory_is_part_of_the_exit() {
    let mut sim = Sim::with(never());
    sim.up("c");
    sim.tell(Event::FromShim {
        id: "c".to_owned(),
        run: 1,
        event: ShimEvent::Oom,
    });
    sim.exits("c", 137);
    assert!(sim.phase().exit().unwrap().oom);
    sim.up("c");
    sim.exits("c", 0);
    assert!(!sim.phase().exit().unwrap().oom, "the next run has its own");
}

#[test]
fn a_shim_that_falls_silent_is_sought_and_its_container_runs_on() {
    let mut sim = Sim::with(always());
    sim.up("c");
    sim.goes_silent("c");
    assert_eq!((sim.phase(), sim.seeks.len()), (&Phase::Running, 1));
    assert!(sim.container("c").unreachable.is_some());
    sim.tell(Event::Unreachable {
        id: "c".to_owned(),
        run: 1,
        reason: "it hangs".to_owned(),
    });
    assert_eq!(sim.container("c").unreachable.as_deref(), Some("it hangs"));
    sim.seek(0);
    assert_eq!(
        (sim.container("c").unreachable.as_deref(), sim.followed["c"]),
        (None, 1)
    );

    // Its end is learnt by looking.
    sim.goes_silent("c");
    sim.exits("c", 5);
    assert_eq!(*sim.phase(), Phase::Running);
    sim.seek(0);
    assert_eq!(sim.states["c"].exit.as_ref().map(|exit| exit.code), Some(5));
    // Too late for both.
    sim.tell(Event::Unreachable {
        id: "c".to_owned(),
        run: 1,
        reason: "it hangs".to_owned(),
    });
    sim.tell(Event::Found {
        id: "c".to_owned(),
        run: 1,
        shim: 1,
        pid: 1,
        paused: false,
    });
    assert!(sim.container("c").unreachable.is_none() && sim.phase().exit().is_some());
}

#[test]
fn a_container_that_never_ran_is_as_it_was_made() {
    for (policy, again) in [(always(), true), (never(), false)] {
        let mut sim = Sim::with(policy);
        sim.start("c", StartWhy::Request);
        sim.engine_dies(true);
        sim.silent.insert("c".to_owned());
        sim.engine_comes(BOOT);
        sim.alive.clear();
        sim.tell(Event::NeverRan {
            id: "c".to_owned(),
            run: 0,
        });
        assert_eq!(*sim.phase(), Phase::Running, "another run is meant");
        sim.tell(Event::NeverRan {
            id: "c".to_owned(),
            run: 1,
        });
        assert_eq!(
            (sim.phase(), sim.states["c"].started),
            (&Phase::Created, None)
        );
        assert_eq!(sim.policy_starts.len(), usize::from(again));
        sim.tell(Event::NeverRan {
            id: "c".to_owned(),
            run: 1,
        });
        assert_eq!(sim.policy_starts.len(), usize::from(again), "once");
    }
}

#[test]
fn pausing_is_for_what_runs() {
    let mut sim = Sim::new();
    sim.make("c", never(), false, Some(health()));
    let pause = |paused| Event::Paused {
        id: "c".to_owned(),
        paused,
    };
    sim.tell(pause(true));
    assert_eq!(*sim.phase(), Phase::Created);
    sim.up("c");
    sim.tell(pause(true));
    assert_eq!(*sim.phase(), Phase::Paused);
    sim.fire(0);
    assert!(sim.probes.is_empty(), "no probe of a frozen container");
    sim.tell(pause(false));
    assert_eq!(*sim.phase(), Phase::Running);
    let timer = sim
        .timers
        .iter()
        .position(|(_, timer)| matches!(timer, Timer::Probe { .. }))
        .unwrap();
    sim.fire(timer);
    assert_eq!(sim.probes.len(), 1);
}

#[test]
fn signals_and_announcements_change_nothing_else() {
    let mut sim = Sim::with(never());
    sim.up("c");
    for id in ["c", "nobody"] {
        sim.tell(Event::Signalled { id: id.to_owned() });
        sim.tell(Event::Announced {
            id: id.to_owned(),
            what: "kill",
        });
    }
    assert_eq!(sim.container("c").signalled, Some(sim.now.steady));
    assert_eq!(
        (
            sim.phase(),
            sim.said.iter().filter(|said| *said == "kill").count()
        ),
        (&Phase::Running, 1)
    );
}

#[test]
fn probes_run_one_at_a_time_and_late_ones_are_forgotten() {
    let mut sim = Sim::new();
    sim.make("c", never(), false, Some(health()));
    sim.up("c");
    assert_eq!(sim.container("c").health(), Health::Starting);
    sim.fire(0);
    sim.tell(Event::Due(Timer::Probe {
        id: "c".to_owned(),
        run: 1,
    }));
    assert_eq!(sim.probes.len(), 1, "one at a time");
    sim.probed(0, ProbeOutcome::Passed);
    assert_eq!(sim.container("c").health(), Health::Healthy);
    assert!(sim.said.contains(&"Health(Healthy)".to_owned()));
    sim.tell(Event::Due(Timer::Probe {
        id: "c".to_owned(),
        run: 1,
    }));
    assert!(sim.probes.is_empty(), "it is not due yet");
    let timer = sim.timers.len() - 1;
    sim.fire(timer);
    sim.exits("c", 0);
    sim.up("c");
    sim.probed(0, ProbeOutcome::Passed);
    assert_eq!(
        sim.container("c").health(),
        Health::Starting,
        "that probe was of the run before"
    );
}

#[test]
fn waits_end_with_the_state_that_they_wait_for() {
    let mut sim = Sim::new();
    sim.make("c", never(), false, Some(health()));
    let ready = sim.wait("c", Condition::Ready(Readiness::Ready));
    let done = sim.wait("c", Condition::Ready(Readiness::Completed));
    let removed = sim.wait("c", Condition::Removed);
    let next = sim.wait("c", Condition::Ended { fresh: true });
    let down = sim.wait("c", Condition::Ended { fresh: false });
    assert_eq!(
        sim.outcomes[&down],
        Outcome::Exit(None),
        "it is down already"
    );
    sim.start("c", StartWhy::Request);
    let settled = sim.wait("c", Condition::Settled);
    assert!(!sim.outcomes.contains_key(&settled));
    sim.launched("c");
    assert_eq!(sim.outcomes[&settled], Outcome::Reached);
    let over = sim.wait("c", Condition::Down { run: 1 });
    sim.stop("c");
    let stopping = sim.wait("c", Condition::Settled);
    sim.exits("c", 3);
    for (wait, outcome) in [
        (
            ready,
            Outcome::Unready(Unready::Exited(sim.records["c"].clone())),
        ),
        (
            done,
            Outcome::Unready(Unready::Exited(sim.records["c"].clone())),
        ),
        (next, Outcome::Exit(Some(sim.records["c"].clone()))),
        (over, Outcome::Reached),
        (stopping, Outcome::Reached),
    ] {
        assert_eq!(sim.outcomes[&wait], outcome);
    }
    let record = sim.records["c"].clone();
    sim.gone("c");
    assert_eq!(
        sim.outcomes[&removed],
        Outcome::Exit(Some(record)),
        "its last exit"
    );
    let nobody = sim.wait("c", Condition::Settled);
    assert_eq!(sim.outcomes[&nobody], Outcome::Gone);
    assert!(sim.open.is_empty());
}

#[test]
fn readiness_is_what_was_asked_for() {
    let mut sim = Sim::new();
    sim.make("c", never(), false, Some(health()));
    sim.make("plain", never(), false, None);
    let none = sim.wait("plain", Condition::Ready(Readiness::Healthy));
    assert_eq!(
        sim.outcomes[&none],
        Outcome::Unready(Unready::NoHealthcheck)
    );
    sim.up("c");
    sim.up("plain");
    let plain = sim.wait("plain", Condition::Ready(Readiness::Ready));
    let started = sim.wait("c", Condition::Ready(Readiness::Started));
    let healthy = sim.wait("c", Condition::Ready(Readiness::Healthy));
    assert_eq!(
        (&sim.outcomes[&plain], &sim.outcomes[&started]),
        (&Outcome::Reached, &Outcome::Reached)
    );
    assert!(!sim.outcomes.contains_key(&healthy));
    sim.fire(0);
    sim.probed(0, ProbeOutcome::Passed);
    assert_eq!(sim.outcomes[&healthy], Outcome::Reached);
    sim.advance(Duration::from_secs(60));
    sim.tell(Event::Due(Timer::Probe {
        id: "c".to_owned(),
        run: 1,
    }));
    sim.probed(0, ProbeOutcome::Failed);
    let ready = sim.wait("c", Condition::Ready(Readiness::Ready));
    assert_eq!(sim.outcomes[&ready], Outcome::Unready(Unready::Unhealthy));
    let job = sim.wait("plain", Condition::Ready(Readiness::Completed));
    sim.exits("plain", 0);
    assert_eq!(sim.outcomes[&job], Outcome::Reached);
    let gone = sim.wait("c", Condition::Ready(Readiness::Completed));
    sim.gone("c");
    assert_eq!(sim.outcomes[&gone], Outcome::Unready(Unready::Removed));
}

#[test]
fn no_state_is_missed_by_a_wait() {
    let mut sim = Sim::with(always());
    sim.up("c");
    let wait = sim.wait("c", Condition::Down { run: 1 });
    sim.exits("c", 1);
    sim.settle();
    assert_eq!(
        (sim.phase(), &sim.outcomes[&wait]),
        (&Phase::Running, &Outcome::Reached)
    );
}

#[test]
fn waits_that_nobody_waits_for_are_dropped() {
    let mut sim = Sim::with(never());
    sim.up("c");
    for _ in 0..3 {
        sim.tell(Event::Await {
            id: "c".to_owned(),
            condition: Condition::Removed,
            reply: ABANDONED,
        });
    }
    sim.wait("c", Condition::Removed);
    sim.gone("c");
    assert_eq!(
        sim.outcomes.len(),
        1,
        "the last abandoned one went with the first that was not"
    );
}

#[test]
fn an_engine_that_was_away_finds_what_became_of_its_containers() {
    let mut sim = Sim::new();
    for id in ["runs", "ended", "stopping", "silent", "cut", "created"] {
        sim.make(id, always(), false, None);
    }
    for id in ["runs", "ended", "stopping", "silent"] {
        sim.up(id);
    }
    sim.stop("stopping");
    sim.start("cut", StartWhy::Request);
    sim.goes_silent("silent");
    sim.engine_dies(false);
    sim.exits("ended", 6);
    sim.advance(Duration::from_secs(60));
    sim.engine_comes(BOOT);
    let phase = |id: &str| sim.container(id).phase.clone();
    assert_eq!(
        (phase("runs"), phase("silent"), phase("created")),
        (Phase::Running, Phase::Running, Phase::Created)
    );
    assert_eq!(phase("ended").exit().map(|exit| exit.code), Some(6));
    assert_eq!(sim.unfinished_stops, [("stopping".to_owned(), 1)]);
    assert_eq!(sim.seeks, [("silent".to_owned(), 1)]);
    let mut again = sim.policy_starts.clone();
    again.sort();
    assert_eq!(again, ["cut", "ended"], "their policy wants them");
    sim.settle();
    assert_eq!(
        sim.alive.keys().collect::<Vec<_>>(),
        ["cut", "ended", "runs", "silent"]
    );
}

#[test]
fn a_start_that_was_cut_short_is_not_an_exit() {
    for (policy, stopped, again) in [
        (never(), false, false),
        (always(), true, false),
        (always(), false, true),
    ] {
        let mut sim = Sim::with(policy);
        sim.start("c", StartWhy::Request);
        if stopped {
            sim.stop("c");
        }
        sim.engine_dies(false);
        sim.engine_comes(BOOT);
        assert_eq!(sim.policy_starts.len(), usize::from(again));
        assert_eq!(*sim.phase() == Phase::Created, !again);
        // Nor is it one for the engine after that.
        sim.engine_dies(false);
        sim.engine_comes(BOOT);
        assert_eq!(sim.policy_starts.len(), usize::from(again));
    }
}

#[test]
fn after_a_boot_a_plan_decides() {
    let mut sim = Sim::with(always());
    sim.make("done", never(), false, None);
    sim.up("c");
    sim.up("done");
    sim.exits("done", 0);
    sim.machine_dies();
    sim.engine_comes("boot-2");
    assert!(sim.container("c").lost_in_reboot && sim.policy_starts.is_empty());
    assert_eq!(sim.supervised, ["project"]);
    assert_eq!(sim.phase().exit().map(|exit| exit.code), Some(137));
    sim.settle();
    assert_eq!(sim.alive.keys().collect::<Vec<_>>(), ["c"]);
    assert!(!sim.container("c").lost_in_reboot);
}

#[test]
fn what_runs_without_a_record_is_taken_in() {
    let mut sim = Sim::new();
    let doc = ContainerDoc::unknown("0123456789abcdef");
    sim.tell(Event::Stray(Box::new(Container::new(
        doc,
        (),
        None,
        StateDoc::default(),
    ))));
    let found = |shim| Event::Adopted {
        id: "0123456789abcdef".to_owned(),
        shim,
        pid: shim,
        paused: true,
        check: None,
    };
    sim.tell(found(5));
    sim.tell(Event::Resumed);
    let container = sim.supervisor.by_name("0123456789ab").unwrap();
    assert_eq!(
        (&container.phase, container.state.wanted),
        (&Phase::Paused, Wanted::Running)
    );
    assert!(sim.supervisor.supervises());
    // One that was removed in the same moment.
    sim.gone("0123456789abcdef");
    sim.alive.insert("other".to_owned(), 6);
    sim.tell(found(6));
    assert!(sim.alive.is_empty(), "its shim is shut down");
}

#[test]
fn health_goes_on_with_the_next_engine() {
    let mut sim = Sim::new();
    sim.make("c", never(), false, Some(health()));
    sim.up("c");
    sim.fire(0);
    sim.probed(0, ProbeOutcome::Passed);
    let mut check = sim.container("c").health.as_ref().unwrap().check;
    // Of another clock.
    check.next = sim.now.steady + Duration::from_secs(1_000_000);
    sim.engine_dies(false);
    let (doc, plan) = sim.docs["c"].clone();
    sim.supervisor = hoist_supervisor::Supervisor::new(BOOT.to_owned());
    sim.supervisor
        .load(Container::new(doc, (), plan, sim.states["c"].clone()));
    sim.tell(Event::Adopted {
        id: "c".to_owned(),
        shim: 1,
        pid: 1,
        paused: false,
        check: Some(check),
    });
    assert_eq!(sim.container("c").health(), Health::Healthy);
    assert_eq!(
        sim.timers,
        [(
            sim.now.steady,
            Timer::Probe {
                id: "c".to_owned(),
                run: 1
            }
        )],
        "the next probe is due"
    );
}

#[test]
fn who_shares_namespaces_is_planned_anew_when_their_owner_starts() {
    let mut sim = Sim::with(never());
    let mut doc = sim.docs["c"].0.clone();
    doc.id = "guest".to_owned();
    doc.record.name = "guest".to_owned();
    doc.record.sharing = vec![hoist_object::Sharing::Network("name-c".to_owned())];
    sim.docs.insert("guest".to_owned(), (doc.clone(), None));
    sim.tell(Event::ContainerMade(Box::new(Container::new(
        doc,
        (),
        None,
        StateDoc::default(),
    ))));
    sim.up("c");
    sim.up("guest");
    assert!(sim.supervised.is_empty());
    sim.exits("c", 0);
    sim.advance(Duration::from_secs(1));
    sim.up("c");
    assert_eq!(sim.supervised, ["project"]);
}

#[test]
fn execs_leave_after_their_end_or_when_they_are_never_started() {
    let mut sim = Sim::with(never());
    sim.up("c");
    for id in ["one", "two", "three"] {
        let exec = Exec::new(id.to_owned(), "c".to_owned(), vec!["ls".to_owned()], ());
        sim.tell(Event::ExecMade(Box::new(exec)));
    }
    let forget = |id: &str, why| {
        Event::Due(Timer::Exec {
            id: id.to_owned(),
            why,
        })
    };
    sim.tell(Event::ExecStarted {
        id: "one".to_owned(),
        handle: 1,
    });
    assert_eq!(sim.supervisor.exec("one").unwrap().handle, Some(1));
    sim.tell(Event::ExecEnded {
        id: "one".to_owned(),
        code: 3,
    });
    sim.tell(forget("one", Forget::Unstarted));
    assert_eq!(
        sim.supervisor.exec("one").unwrap().code,
        Some(3),
        "its end is still to be asked for"
    );
    sim.tell(Event::ExecDelivered {
        id: "one".to_owned(),
    });
    let (at, timer) = sim.timers.last().cloned().unwrap();
    assert_eq!(at, sim.now.steady + Duration::from_secs(300));
    sim.tell(Event::Due(timer));
    sim.tell(forget("two", Forget::Unstarted));
    sim.tell(forget("three", Forget::Ended));
    let left = ["one", "two", "three"].map(|id| sim.supervisor.exec(id).is_some());
    assert_eq!(left, [false, false, true]);
    sim.gone("c");
    assert!(sim.supervisor.exec("three").is_none());
    assert_eq!(
        sim.said
            .iter()
            .filter(|said| said.starts_with("Exec"))
            .count(),
        5
    );
}

#[test]
fn an_exit_without_a_record_counts_as_killed() {
    let container = Container::<sim::Plain>::new(
        ContainerDoc::unknown("c"),
        (),
        None,
        StateDoc {
            started: Some(sim::Sim::new().now.wall),
            ..StateDoc::default()
        },
    );
    assert_eq!(
        container.phase,
        Phase::Exited(ExitDoc::unrecorded(sim::Sim::new().now.wall))
    );
}
