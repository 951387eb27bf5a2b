//! Points in time as they are typed: `2026-01-02T03:04:05Z`, `2026-01-02`, `1767312000`, `42m` (ago).

use hoist_object::units;
use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};

/// Parses for clap; the result is seconds since the epoch with a fraction, as the engine's query takes it.
pub(crate) fn parse(text: &str) -> Result<String, String> {
    let time = point(text, Timestamp::now()).ok_or_else(|| {
        format!(
            "`{text}` is no time: expected a date (2026-01-02T03:04:05Z), seconds since 1970, or how long ago (10m)"
        )
    })?;
    Ok(format!(
        "{}.{:09}",
        time.as_second(),
        time.subsec_nanosecond()
    ))
}

fn point(text: &str, now: Timestamp) -> Option<Timestamp> {
    if text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.')
        && !text.is_empty()
    {
        let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
        let nanos: String = fraction
            .chars()
            .chain(std::iter::repeat('0'))
            .take(9)
            .collect();
        return Timestamp::new(seconds.parse().ok()?, nanos.parse().ok()?).ok();
    }
    if let Some(ago) = units::duration(text) {
        return now.checked_sub(ago).ok();
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    let local = text
        .parse::<civil::DateTime>()
        .ok()
        .or_else(|| Some(text.parse::<civil::Date>().ok()?.into()))?;
    Some(local.to_zoned(TimeZone::system()).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_time_is_understood() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        let at = |text| point(text, now).map(|time| time.to_string());
        assert_eq!(at("1h30m").as_deref(), Some("2026-01-01T22:30:00Z"));
        assert_eq!(
            at("2026-01-01T01:00:00+01:00").as_deref(),
            Some("2026-01-01T00:00:00Z")
        );
        assert_eq!(
            at("1767225600.5").as_deref(),
            Some("2026-01-01T00:00:00.5Z")
        );
        assert!(at("2026-01-01").is_some());
        assert!(at("2026-01-01T10:00:00").is_some());
        assert_eq!(at("yesterday"), None);
        assert_eq!(at(""), None);
        assert_eq!(at("10x"), None);
    }
}
