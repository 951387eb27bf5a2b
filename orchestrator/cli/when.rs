//! Points in time as they are typed: `2026-01-02T03:04:05Z`, `2026-01-02`, `1767312000`, `42m` (ago).

use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};

/// Parses for clap; the result is seconds since the epoch with a fraction, as the engine's query takes it.
pub(crate) fn parse(text: &str) -> Result<String, String> {
    let time = point(text, Timestamp::now()).ok_or_else(|| {
        format!(
            "`{text}` is no time: expected a date (2026-01-02T03:04:05Z), seconds since 1970, or how long ago (10m)"
        )
    })?;
    Ok(format!("{}.{:09}", time.as_second(), time.subsec_nanosecond()))
}

fn point(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Some(ago) = go_duration(text) {
        return now.checked_sub(ago).ok();
    }
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && !text.is_empty() {
        let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
        let nanos: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
        return Timestamp::new(seconds.parse().ok()?, nanos.parse().ok()?).ok();
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    let local = text.parse::<civil::DateTime>().ok().or_else(|| Some(text.parse::<civil::Date>().ok()?.into()))?;
    Some(local.to_zoned(TimeZone::system()).ok()?.timestamp())
}

/// `1h30m`, `1.5s`, as Go writes durations; needs a unit.
fn go_duration(text: &str) -> Option<std::time::Duration> {
    const UNITS: [(&str, f64); 7] =
        [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest.get(..end)?.parse().ok()?;
        rest = rest.get(end..)?;
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = rest.get(..end)?;
        total += number * UNITS.iter().find(|(name, _)| *name == unit)?.1;
        rest = rest.get(end..)?;
    }
    (!text.is_empty()).then(|| std::time::Duration::try_from_secs_f64(total).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_time_is_understood() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        let at = |text| point(text, now).map(|time| time.to_string());
        assert_eq!(at("1h30m").as_deref(), Some("2026-01-01T22:30:00Z"));
        assert_eq!(at("2026-01-01T01:00:00+01:00").as_deref(), Some("2026-01-01T00:00:00Z"));
        assert_eq!(at("1767225600.5").as_deref(), Some("2026-01-01T00:00:00.5Z"));
        assert!(at("2026-01-01").is_some());
        assert!(at("2026-01-01T10:00:00").is_some());
        assert_eq!(at("yesterday"), None);
        assert_eq!(at(""), None);
        assert_eq!(at("10x"), None);
    }
}
