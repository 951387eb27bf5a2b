//! Reads the containers' logs: history, then what comes, over rotations, merged by time for a whole stack.
//!
//! Following waits for inotify: nothing is polled. Must not know how logs are written beyond their format and names.

mod follow;
mod long;
mod records;
mod seek;
mod tail;

use std::sync::Arc;
use std::time::Duration;

use hoist_api::StackLogLine;
use hoist_object::{Timestamp, units};
use hoist_runtime::log::Stream;
use tokio::sync::mpsc;

use crate::engine::{Engine, now};

pub use tail::Line;

#[derive(Debug, Clone, Default)]
pub struct Wanted {
    pub follow: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// `None`: all.
    pub tail: Option<usize>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

impl Wanted {
    /// Nothing that is written from now on is wanted.
    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| until < now())
    }

    /// Resolves about when it is over; the clock may be set meanwhile, so ask again.
    async fn end(&self) {
        match self.until {
            Some(until) => tokio::time::sleep(until.since(now()) + Duration::from_millis(1)).await,
            None => std::future::pending().await,
        }
    }

    /// Is a line wanted that was finished at this time?
    fn takes(&self, time: &str, stream: Stream) -> bool {
        let stream = match stream {
            Stream::Stdout => self.stdout,
            Stream::Stderr => self.stderr,
        };
        let timed = self.since.is_some() || self.until.is_some();
        let at = if timed { at(time) } else { None };
        stream
            && self
                .since
                .is_none_or(|since| at.is_none_or(|at| at >= since))
            && self
                .until
                .is_none_or(|until| at.is_none_or(|at| at <= until))
    }
}

/// A record's time.
fn at(time: &str) -> Option<Timestamp> {
    let time: jiff::Timestamp = time.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok().map(Timestamp)
}

/// Pieces of at most 64 KiB on their way to a client; a reader that is slow holds back only its own stream.
const AHEAD: usize = 64;

pub(crate) fn container(engine: &Arc<Engine>, id: &str, wanted: Wanted) -> mpsc::Receiver<Line> {
    let (out, lines) = mpsc::channel(AHEAD);
    let (engine, id) = (Arc::clone(engine), id.to_owned());
    tokio::spawn(async move { follow::one(&engine, &id, &wanted, &out).await });
    lines
}

/// `services`: empty for all.
pub(crate) fn stack(
    engine: &Arc<Engine>,
    project: &str,
    wanted: Wanted,
    services: Vec<String>,
) -> mpsc::Receiver<StackLogLine> {
    let (out, lines) = mpsc::channel(AHEAD);
    let (engine, project) = (Arc::clone(engine), project.to_owned());
    tokio::spawn(async move { follow::stack(&engine, &project, &wanted, &services, &out).await });
    lines
}

/// A time as docker's clients give it: seconds since the epoch (with fraction), RFC 3339, or a duration before now.
pub fn moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return i64::try_from(time.as_nanosecond()).ok().map(Timestamp);
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if let Ok(seconds) = seconds.parse::<i64>()
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
        && fraction.len() <= 9
    {
        let nanos = if fraction.is_empty() {
            0
        } else {
            format!("{fraction:0<9}").parse().ok()?
        };
        return Some(Timestamp(
            seconds.checked_mul(1_000_000_000)?.checked_add(nanos)?,
        ));
    }
    if let Ok(time) = text.parse::<jiff::civil::DateTime>() {
        let zoned = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        return i64::try_from(zoned.timestamp().as_nanosecond())
            .ok()
            .map(Timestamp);
    }
    let ago = i64::try_from(units::duration(text)?.as_nanos()).ok()?;
    Some(Timestamp(now.0.checked_sub(ago)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_in_many_forms() {
        let now = Timestamp(100_000_000_000);
        assert_eq!(moment("42", now), Some(Timestamp(42_000_000_000)));
        assert_eq!(moment("42.5", now), Some(Timestamp(42_500_000_000)));
        assert_eq!(
            moment("1970-01-01T00:00:07Z", now),
            Some(Timestamp(7_000_000_000))
        );
        assert_eq!(moment("1m30s", now), Some(Timestamp(10_000_000_000)));
        assert_eq!(moment("yesterday", now), None);
    }
}
