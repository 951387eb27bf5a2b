//! Owns the state of a healthcheck: which status a probe leads to and when the next one is due.
//!
//! States and counting are docker's. Timing differs in one way, which only helps: the first probe runs at once and
//! probes follow with delays that grow with the container's age, until docker's own first probe would be due. Such early
//! probes can make a container healthy but never count as failures. Must not know how a probe is run, nor the time.

use std::time::Duration;

use hoist_object::{Check, Health, Outcome, Probe, Timestamp, Timing};
use hoist_spec::model::Healthcheck;

/// Between early probes: at least this, and at least twice as long as the last probe ran, which bounds their cost.
const SHORTEST_DELAY: Duration = Duration::from_millis(10);
/// The delay is this part of the container's age, so readiness is seen at most about 6 % late.
const AGE_PART: u32 = 16;

/// What the stack sets, over what the image sets, over docker's defaults. Zero means unset, as with docker.
pub fn timing(check: &Healthcheck, image: &Timing) -> Timing {
    let set = |value: Option<Duration>, otherwise: Duration| {
        value.filter(|d| !d.is_zero()).unwrap_or(otherwise)
    };
    Timing {
        interval: set(check.interval, image.interval),
        timeout: set(check.timeout, image.timeout),
        retries: check.retries.filter(|&n| n > 0).unwrap_or(image.retries),
        start_period: set(check.start_period, image.start_period),
        start_interval: set(check.start_interval, image.start_interval),
    }
}

/// The container has just been started: the first probe is due at once.
pub fn begin(now: Timestamp) -> Check {
    Check {
        status: Health::Starting,
        failing_streak: 0,
        started: now,
        next: now,
    }
}

/// A probe has ended at `now`.
pub fn step(check: &Check, probe: Probe, timing: &Timing, now: Timestamp) -> Check {
    let lenient = check.status == Health::Starting && probe.began < counting_from(check, timing);
    let (status, failing_streak) = match probe.outcome {
        Outcome::Passed => (Health::Healthy, 0),
        Outcome::Failed | Outcome::TimedOut if lenient => (Health::Starting, 0),
        Outcome::Failed | Outcome::TimedOut => {
            let streak = check.failing_streak.saturating_add(1);
            (
                if streak >= timing.retries {
                    Health::Unhealthy
                } else {
                    check.status
                },
                streak,
            )
        }
    };
    let next = if status == Health::Starting && lenient {
        early(check, probe, timing, now)
    } else {
        now + timing.interval
    };
    Check {
        status,
        failing_streak,
        started: check.started,
        next,
    }
}

/// From here on failures count: after the start period, and not before docker would have probed for the first time.
fn counting_from(check: &Check, timing: &Timing) -> Timestamp {
    check.started + timing.start_period.max(timing.interval)
}

fn early(check: &Check, probe: Probe, timing: &Timing, now: Timestamp) -> Timestamp {
    let cap = if timing.start_period.is_zero() {
        timing.interval
    } else {
        timing.start_interval.min(timing.interval)
    };
    let delay = (now.since(check.started) / AGE_PART)
        .max(now.since(probe.began) * 2)
        .max(SHORTEST_DELAY)
        .min(cap);
    let counting = counting_from(check, timing);
    // The first probe that counts runs exactly when docker's would.
    if now < counting {
        (now + delay).min(counting)
    } else {
        now + delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Probes as due, each taking `takes`, until `end`; `passes` tells the outcome by the time since the start.
    fn run(
        timing: &Timing,
        takes: Duration,
        end: Duration,
        passes: impl Fn(Duration) -> bool,
    ) -> Vec<(Duration, Check)> {
        let start = Timestamp::from_millis(1_000_000);
        let mut check = begin(start);
        let mut seen = Vec::new();
        while check.next.since(start) <= end {
            let began = check.next;
            let outcome = if passes(began.since(start)) {
                Outcome::Passed
            } else {
                Outcome::Failed
            };
            check = step(&check, Probe { began, outcome }, timing, began + takes);
            seen.push((began.since(start), check));
        }
        seen
    }

    #[test]
    fn first_probe_is_at_once_and_can_make_healthy() {
        let seen = run(
            &Timing::default(),
            Duration::from_millis(5),
            Duration::ZERO,
            |_| true,
        );
        assert_eq!(seen[0].0, Duration::ZERO);
        assert_eq!(seen[0].1.status, Health::Healthy);
    }

    #[test]
    fn readiness_is_seen_soon_and_cheaply() {
        for ready in [20, 100, 400, 1_000, 5_000] {
            let ready = Duration::from_millis(ready);
            let seen = run(
                &Timing::default(),
                Duration::from_millis(2),
                seconds(10),
                |age| age >= ready,
            );
            let (probes, (at, _)) = seen
                .iter()
                .enumerate()
                .find(|(_, (_, check))| check.status == Health::Healthy)
                .unwrap();
            let late = *at - ready;
            assert!(
                late <= (ready / 10).max(Duration::from_millis(15)),
                "{ready:?} seen {late:?} late"
            );
            assert!(probes < 120, "{probes} probes in {ready:?}");
        }
    }

    #[test]
    fn an_expensive_probe_runs_a_third_of_the_time_at_most() {
        let seen = run(&Timing::default(), seconds(1), seconds(29), |_| false);
        assert!(seen.len() <= 11, "{} probes", seen.len());
    }

    #[test]
    fn early_failures_do_not_count_and_later_ones_count_as_dockers_do() {
        let timing = Timing {
            interval: seconds(2),
            ..Timing::default()
        };
        let seen = run(&timing, Duration::ZERO, seconds(20), |_| false);
        let counted: Vec<(Duration, u32, Health)> = seen
            .iter()
            .filter(|(_, check)| check.failing_streak > 0)
            .map(|(at, check)| (*at, check.failing_streak, check.status))
            .take(3)
            .collect();
        assert_eq!(
            counted,
            [
                (seconds(2), 1, Health::Starting),
                (seconds(4), 2, Health::Starting),
                (seconds(6), 3, Health::Unhealthy)
            ]
        );
    }

    #[test]
    fn start_period_is_lenient_and_probed_at_start_interval_at_most() {
        let timing = Timing {
            start_period: seconds(60),
            start_interval: seconds(1),
            ..Timing::default()
        };
        let seen = run(&timing, Duration::ZERO, seconds(59), |_| false);
        assert!(
            seen.iter()
                .all(|(_, check)| check.status == Health::Starting && check.failing_streak == 0)
        );
        let gaps = seen.windows(2).map(|pair| pair[1].0 - pair[0].0);
        assert!(gaps.max().unwrap() <= seconds(1));
        let seen = run(&timing, Duration::ZERO, seconds(130), |_| false);
        assert_eq!(seen.last().unwrap().1.status, Health::Unhealthy);
    }

    #[test]
    fn a_failure_after_success_counts_even_in_the_start_period() {
        let timing = Timing {
            interval: seconds(1),
            start_period: seconds(60),
            retries: 2,
            ..Timing::default()
        };
        let seen = run(&timing, Duration::ZERO, seconds(3), |age| age.is_zero());
        assert_eq!(seen[0].1.status, Health::Healthy);
        assert_eq!(seen[1].1.failing_streak, 1);
        assert_eq!(seen[2].1.status, Health::Unhealthy);
    }

    #[test]
    fn unhealthy_recovers_with_one_success() {
        let timing = Timing {
            interval: seconds(1),
            retries: 1,
            ..Timing::default()
        };
        let seen = run(&timing, Duration::ZERO, seconds(5), |age| age >= seconds(3));
        assert!(
            seen.iter()
                .any(|(_, check)| check.status == Health::Unhealthy)
        );
        assert_eq!(seen.last().unwrap().1.status, Health::Healthy);
        assert_eq!(seen.last().unwrap().1.failing_streak, 0);
    }

    #[test]
    fn unset_values_come_from_the_image_then_from_docker() {
        let image = Timing {
            interval: seconds(7),
            retries: 5,
            ..Timing::default()
        };
        let check = Healthcheck {
            timeout: Some(seconds(1)),
            interval: Some(Duration::ZERO),
            ..Healthcheck::default()
        };
        let timing = super::timing(&check, &image);
        assert_eq!(
            (timing.interval, timing.timeout, timing.retries),
            (seconds(7), seconds(1), 5)
        );
        assert_eq!(timing.start_interval, seconds(5));
    }
}
