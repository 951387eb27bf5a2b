//! Owns points in time as plain numbers. Must not know where they come from: there is no clock in this crate. Compared
//! timestamps must come from one clock; deadlines use a monotonic one.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Nanoseconds since a point of the caller's choice, such as the Unix epoch.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Time that went by since `earlier`; zero when `earlier` is later, so that a clock set back cannot hurt.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)),
        )
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{:09}",
            self.0.div_euclid(1_000_000_000),
            self.0.rem_euclid(1_000_000_000)
        )
    }
}

/// One moment by both clocks, passed in with each event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// The monotonic clock of this boot, which timers and decisions use.
    pub steady: Timestamp,
    /// Wall time, for people, logs and files. It may be set at any moment, so no decision depends on it.
    pub wall: Timestamp,
}

impl Timestamp {
    /// A monotonic timestamp for an event known by wall time only: before all events of this boot, in wall-time order.
    #[must_use]
    pub fn before_boot(wall: Self) -> Self {
        Self(wall.0.saturating_sub(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_before_this_boot_comes_first_in_its_own_order() {
        let wall = Timestamp(1_700_000_000_000_000_000);
        let (old, older) = (
            Timestamp::before_boot(wall),
            Timestamp::before_boot(Timestamp(wall.0 - 1)),
        );
        assert!(older < old && old < Timestamp(0));
    }
}
