//! Owns when a container that ended is started again: a pure decision over its policy, its history and its exit.
//!
//! Timing is docker's: 100 ms, doubling to one minute, forgotten after 10 s of running. `deploy.restart_policy` sets
//! delay and window instead. Must not know how a container is started, nor what time it is.

use std::time::Duration;

use hoist_object::{History, Policy, Timestamp, When};
use hoist_spec::model::{self, Service};
use serde::{Deserialize, Serialize};

pub const FIRST_DELAY: Duration = Duration::from_millis(100);
pub const LONGEST_DELAY: Duration = Duration::from_secs(60);
pub const SETTLED_AFTER: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    pub code: i32,
    pub at: Timestamp,
    /// When the run that ended here had begun.
    pub started: Timestamp,
    pub cause: Cause,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It ended by itself, or was killed from outside or for lack of memory.
    Own,
    /// `stop` or `kill` through hoist.
    Requested,
    /// The host went down under it, or came up again after it had ended: the first decision after a boot.
    Reboot,
    /// The host came up again, and before it went down somebody had stopped it.
    RebootAfterStop,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Now. The history to keep once it is started.
    Start {
        history: History,
    },
    /// Not before this time.
    Wait {
        until: Timestamp,
    },
    Stay(Rest),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// The policy is `no`.
    NoPolicy,
    /// Exit code 0 under `on-failure`.
    Succeeded,
    /// Attempts are used up.
    GivenUp,
    /// Somebody stopped it.
    Stopped,
}

/// `deploy.restart_policy` wins over `restart`. A service with neither is not restarted.
pub fn policy(service: &Service) -> Policy {
    if let Some(deploy) = &service.deploy_restart {
        let when = match deploy.condition.as_deref() {
            Some("none") => When::Never,
            Some("on-failure") => When::OnFailure,
            _ => When::Always,
        };
        return Policy {
            when,
            max_attempts: deploy.max_attempts,
            delay: deploy.delay,
            window: deploy.window,
        };
    }
    let (when, max_attempts) = match service.restart {
        None | Some(model::RestartPolicy::No) => (When::Never, None),
        Some(model::RestartPolicy::Always) => (When::Always, None),
        Some(model::RestartPolicy::UnlessStopped) => (When::UnlessStopped, None),
        Some(model::RestartPolicy::OnFailure { max_retries }) => {
            (When::OnFailure, max_retries.filter(|&n| n > 0))
        }
    };
    Policy {
        when,
        max_attempts,
        delay: None,
        window: None,
    }
}

pub fn decide(policy: &Policy, history: &History, exit: &Exit, now: Timestamp) -> Decision {
    match (policy.when, exit.cause) {
        (When::Never, _) => return Decision::Stay(Rest::NoPolicy),
        (_, Cause::Requested) | (When::UnlessStopped | When::OnFailure, Cause::RebootAfterStop) => {
            return Decision::Stay(Rest::Stopped);
        }
        // A boot is a fresh start: nothing that happened before it counts or delays.
        (When::Always | When::UnlessStopped, Cause::Reboot | Cause::RebootAfterStop) => {
            return Decision::Start {
                history: History::default(),
            };
        }
        (When::OnFailure, Cause::Own | Cause::Reboot) if exit.code == 0 => {
            return Decision::Stay(Rest::Succeeded);
        }
        (When::OnFailure, Cause::Reboot) => {
            return Decision::Start {
                history: History::default(),
            };
        }
        (When::OnFailure | When::Always | When::UnlessStopped, Cause::Own) => {}
    }
    let lasted = exit.at.since(exit.started);
    let forgiven = policy.window.is_some_and(|window| lasted >= window);
    let restarts = if forgiven { 0 } else { history.restarts };
    if policy.max_attempts.is_some_and(|max| restarts >= max) {
        return Decision::Stay(Rest::GivenUp);
    }
    let streak = if lasted >= SETTLED_AFTER {
        0
    } else {
        history.streak
    };
    let due = exit.at + policy.delay.unwrap_or_else(|| delay_after(streak));
    // A clock set back would otherwise hold it for as long as the clock was set back.
    let longest = exit.at.since(now) > LONGEST_DELAY;
    if now >= due || longest {
        Decision::Start {
            history: History {
                restarts: restarts.saturating_add(1),
                streak: streak.saturating_add(1),
            },
        }
    } else {
        Decision::Wait { until: due }
    }
}

fn delay_after(streak: u32) -> Duration {
    FIRST_DELAY
        .saturating_mul(2_u32.saturating_pow(streak.min(16)))
        .min(LONGEST_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn policy(when: When, max_attempts: Option<u32>) -> Policy {
        Policy {
            when,
            max_attempts,
            delay: None,
            window: None,
        }
    }

    const NONE: History = History {
        restarts: 0,
        streak: 0,
    };

    /// It ran for so long and has just ended.
    fn ended(code: i32, ran: Duration, cause: Cause) -> Exit {
        let started = Timestamp::from_millis(1_000_000);
        Exit {
            code,
            at: started + ran,
            started,
            cause,
        }
    }

    fn at_once(policy: &Policy, history: &History, exit: &Exit) -> Decision {
        decide(policy, history, exit, exit.at)
    }

    #[test]
    fn policies_by_exit_code() {
        use Rest::{NoPolicy, Succeeded};
        let long = Duration::from_secs(60);
        let waits = |exit: &Exit| Decision::Wait {
            until: exit.at + FIRST_DELAY,
        };
        let failed = ended(1, long, Cause::Own);
        let finished = ended(0, long, Cause::Own);
        let table = [
            (When::Never, failed, Decision::Stay(NoPolicy)),
            (When::OnFailure, failed, waits(&failed)),
            (When::OnFailure, finished, Decision::Stay(Succeeded)),
            (When::Always, finished, waits(&finished)),
            (When::UnlessStopped, finished, waits(&finished)),
        ];
        for (when, exit, expected) in table {
            assert_eq!(
                at_once(&policy(when, None), &NONE, &exit),
                expected,
                "{when:?} {}",
                exit.code
            );
        }
    }

    #[test]
    fn what_was_stopped_stays_down_except_always_after_a_boot() {
        let stopped = ended(0, Duration::from_secs(60), Cause::Requested);
        let rebooted = ended(0, Duration::from_secs(60), Cause::RebootAfterStop);
        for when in [When::OnFailure, When::Always, When::UnlessStopped] {
            assert_eq!(
                at_once(&policy(when, None), &NONE, &stopped),
                Decision::Stay(Rest::Stopped)
            );
        }
        assert_eq!(
            at_once(&policy(When::Always, None), &NONE, &rebooted),
            Decision::Start { history: NONE }
        );
        assert_eq!(
            at_once(&policy(When::UnlessStopped, None), &NONE, &rebooted),
            Decision::Stay(Rest::Stopped)
        );
    }

    #[test]
    fn a_boot_starts_at_once_and_forgets_attempts() {
        let exit = ended(255, Duration::from_secs(1), Cause::Reboot);
        let history = History {
            restarts: 5,
            streak: 5,
        };
        for when in [When::OnFailure, When::Always, When::UnlessStopped] {
            assert_eq!(
                at_once(&policy(when, Some(3)), &history, &exit),
                Decision::Start { history: NONE }
            );
        }
    }

    #[test]
    fn delay_doubles_to_a_minute_and_is_forgotten_after_ten_seconds() {
        let delay = |streak, ran| match at_once(
            &policy(When::Always, None),
            &History {
                restarts: streak,
                streak,
            },
            &ended(1, ran, Cause::Own),
        ) {
            Decision::Wait { until } => until.since(ended(1, ran, Cause::Own).at).as_millis(),
            other => panic!("{other:?}"),
        };
        let quick = Duration::from_secs(1);
        let delays: Vec<u128> = (0..12).map(|streak| delay(streak, quick)).collect();
        assert_eq!(
            delays,
            [
                100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000
            ]
        );
        assert_eq!(delay(9, Duration::from_secs(10)), 100);
        assert_eq!(delay(u32::MAX, quick), 60000);
    }

    #[test]
    fn due_means_start_with_one_more_attempt() {
        let exit = ended(1, Duration::from_secs(1), Cause::Own);
        let due = exit.at + FIRST_DELAY;
        let history = History {
            restarts: 1,
            streak: 1,
        };
        assert_eq!(
            decide(&policy(When::Always, None), &NONE, &exit, due),
            Decision::Start { history }
        );
    }

    #[test]
    fn attempts_are_used_up_and_forgiven_only_by_a_window() {
        let exit = ended(1, Duration::from_secs(30), Cause::Own);
        let history = History {
            restarts: 3,
            streak: 0,
        };
        let limited = policy(When::OnFailure, Some(3));
        assert_eq!(
            at_once(&limited, &history, &exit),
            Decision::Stay(Rest::GivenUp)
        );
        let window = Policy {
            window: Some(Duration::from_secs(20)),
            ..limited
        };
        let due = exit.at + FIRST_DELAY;
        let again = History {
            restarts: 1,
            streak: 1,
        };
        assert_eq!(
            decide(&window, &history, &exit, due),
            Decision::Start { history: again }
        );
    }

    #[test]
    fn deploy_policy_wins_and_sets_its_own_delay() {
        let deploy = model::DeployRestart {
            condition: Some("on-failure".to_owned()),
            delay: Some(Duration::from_secs(5)),
            max_attempts: Some(2),
            window: None,
        };
        let service = Service {
            restart: Some(model::RestartPolicy::Always),
            deploy_restart: Some(deploy),
            ..Service::default()
        };
        let policy = super::policy(&service);
        assert_eq!(
            (policy.when, policy.max_attempts),
            (When::OnFailure, Some(2))
        );
        let exit = ended(1, Duration::from_secs(1), Cause::Own);
        assert_eq!(
            at_once(&policy, &NONE, &exit),
            Decision::Wait {
                until: exit.at + Duration::from_secs(5)
            }
        );
    }

    #[test]
    fn a_clock_set_back_does_not_hold_anything() {
        let exit = ended(1, Duration::from_secs(1), Cause::Own);
        let before = Timestamp::from_millis(0);
        assert!(matches!(
            decide(&policy(When::Always, None), &NONE, &exit, before),
            Decision::Start { .. }
        ));
    }
}
