//! Numbers as people read them, in docker's words.

use jiff::Timestamp;

/// `74.8MB`, powers of 1000: images.
pub(crate) fn size(bytes: u64) -> String {
    scaled(bytes, 1000, &["B", "kB", "MB", "GB", "TB", "PB"], 3)
}

/// `12.5MiB`, powers of 1024: memory.
pub(crate) fn memory(bytes: u64) -> String {
    scaled(bytes, 1024, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"], 4)
}

/// At most `digits` digits in front of and after the point together.
fn scaled(bytes: u64, base: u64, units: &[&str], digits: usize) -> String {
    let mut divisor = 1_u128;
    let mut unit = 0;
    while u128::from(bytes) >= divisor * u128::from(base) && unit + 1 < units.len() {
        divisor *= u128::from(base);
        unit += 1;
    }
    let whole = (u128::from(bytes) / divisor).to_string();
    let decimals = if unit == 0 {
        0
    } else {
        digits.saturating_sub(whole.len())
    };
    let thousandths = u128::from(bytes) % divisor * 1000 / divisor;
    let fraction = format!("{thousandths:03}");
    let fraction = fraction
        .get(..decimals.min(3))
        .unwrap_or_default()
        .trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{whole}{point}{fraction}{}", units[unit])
}

/// `3 hours`, `About a minute`, as docker's go-units says it.
pub(crate) fn human_duration(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let minutes = seconds / 60;
    let hours = (seconds + 1800) / 3600;
    match (seconds, minutes) {
        (0, _) => "Less than a second".to_owned(),
        (1, _) => "1 second".to_owned(),
        (2..=59, _) => format!("{seconds} seconds"),
        (_, 1) => "About a minute".to_owned(),
        (_, 2..=45) => format!("{minutes} minutes"),
        _ => match hours {
            0 | 1 => "About an hour".to_owned(),
            2..=47 => format!("{hours} hours"),
            48..=335 => format!("{} days", hours / 24),
            336..=1439 => format!("{} weeks", hours / 24 / 7),
            1440..=17519 => format!("{} months", hours / 24 / 30),
            _ => format!("{} years", hours / 24 / 365),
        },
    }
}

/// `3 hours ago`.
pub(crate) fn ago(since: Timestamp, now: Timestamp) -> String {
    format!(
        "{} ago",
        human_duration(now.as_second() - since.as_second())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_dockers_form() {
        assert_eq!(size(0), "0B");
        assert_eq!(size(999), "999B");
        assert_eq!(size(1_000), "1kB");
        assert_eq!(size(74_800_000), "74.8MB");
        assert_eq!(size(1_234_567_890), "1.23GB");
        assert_eq!(memory(13_107_200), "12.5MiB");
        assert_eq!(memory(1024), "1KiB");
        assert_eq!(memory(1_073_741_824), "1GiB");
    }

    #[test]
    fn durations_have_dockers_words() {
        let cases = [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (150, "2 minutes"),
            (46 * 60, "About an hour"),
            (7_200, "2 hours"),
            (3 * 86_400, "3 days"),
            (20 * 86_400, "2 weeks"),
            (90 * 86_400, "3 months"),
            (800 * 86_400, "2 years"),
        ];
        for (seconds, words) in cases {
            assert_eq!(human_duration(seconds), words, "{seconds}");
        }
    }
}
