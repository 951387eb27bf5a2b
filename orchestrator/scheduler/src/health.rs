//! Owns the state of a healthcheck: which status a probe leads to and when the next one is due.
//!
//! States and counting are docker's. Timing differs in one way, which only helps: the first probe runs at once and
//! probes follow with delays that grow with the container's age, until docker's own first probe would be due. Such early
//! probes can make a container healthy but never count as failures. Must not know how a probe is run, nor the time.

use std::time::Duration;

use hoist_spec::model::Healthcheck;
use serde::{Deserialize, Serialize};

use crate::observed::Health;
use crate::time::Timestamp;

/// Between early probes: at least this, and at least twice as long as the last probe ran, which bounds their cost.
const SHORTEST_DELAY: Duration = Duration::from_millis(10);
/// The delay is this part of the container's age, so readiness is seen at most about 6 % late.
const AGE_PART: u32 = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    pub interval: Duration,
    pub timeout: Duration,
    pub retries: u32,
    pub start_period: Duration,
    pub start_interval: Duration,
}

impl Default for Timing {
    /// Docker's.
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(30),
            retries: 3,
            start_period: Duration::ZERO,
            start_interval: Duration::from_secs(5),
        }
    }
}

impl Timing {
    /// What the stack sets, over what the image sets, over docker's defaults. Zero means unset, as with docker.
    pub fn of(check: &Healthcheck, image: &Self) -> Self {
        let set = |value: Option<Duration>, otherwise: Duration| value.filter(|d| !d.is_zero()).unwrap_or(otherwise);
        Self {
            interval: set(check.interval, image.interval),
            timeout: set(check.timeout, image.timeout),
            retries: check.retries.filter(|&n| n > 0).unwrap_or(image.retries),
            start_period: set(check.start_period, image.start_period),
            start_interval: set(check.start_interval, image.start_interval),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub status: Health,
    pub failing_streak: u32,
    pub started: Timestamp,
    /// When to run the next probe.
    pub next: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    pub began: Timestamp,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    /// Exit code other than 0, or it could not be run.
    Failed,
    TimedOut,
}

/// The container has just been started: the first probe is due at once.
pub fn begin(now: Timestamp) -> Check {
    Check { status: Health::Starting, failing_streak: 0, started: now, next: now }
}

/// A probe has ended at `now`.
pub fn step(check: &Check, probe: Probe, timing: &Timing, now: Timestamp) -> Check {
    let lenient = check.status == Health::Starting && probe.began < counting_from(check, timing);
    let (status, failing_streak) = match probe.outcome {
        Outcome::Passed => (Health::Healthy, 0),
        Outcome::Failed | Outcome::TimedOut if lenient => (Health::Starting, 0),
        Outcome::Failed | Outcome::TimedOut => {
            let streak = check.failing_streak.saturating_add(1);
            (if streak >= timing.retries { Health::Unhealthy } else { check.status }, streak)
        }
    };
    let next =
        if status == Health::Starting && lenient { early(check, probe, timing, now) } else { now + timing.interval };
    Check { status, failing_streak, started: check.started, next }
}

/// From here on failures count: after the start period, and not before docker would have probed for the first time.
fn counting_from(check: &Check, timing: &Timing) -> Timestamp {
    check.started + timing.start_period.max(timing.interval)
}

fn early(check: &Check, probe: Probe, timing: &Timing, now: Timestamp) -> Timestamp {
    let cap = if timing.start_period.is_zero() { timing.interval } else { timing.start_interval.min(timing.interval) };
    let delay = (now.since(check.started) / AGE_PART).max(now.since(probe.began) * 2).max(SHORTEST_DELAY).min(cap);
    let counting = counting_from(check, timing);
    // The first probe that counts runs exactly when docker's would.
    if now < counting { (now + delay).min(counting) } else { now + delay }
}
