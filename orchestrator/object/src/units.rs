//! Notations of durations and sizes, which Compose files, Dockerfiles, options and docker's API share.

use std::time::Duration;

/// `1h5m30s20ms`; a bare number is refused, `0` is not.
pub fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return None;
    }
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .unwrap_or(rest.len());
        let number = &rest[..digits];
        rest = &rest[digits..];
        let unit_end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let scale: u128 = match &rest[..unit_end] {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "d" => 86_400_000_000_000,
            "w" => 604_800_000_000_000,
            _ => return None,
        };
        rest = &rest[unit_end..];
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let whole: u128 = if whole.is_empty() {
            0
        } else {
            whole.parse().ok()?
        };
        nanos = nanos.checked_add(whole.checked_mul(scale)?)?;
        let mut part = scale;
        for digit in fraction.chars() {
            part /= 10;
            nanos = nanos.checked_add(part.checked_mul(u128::from(digit.to_digit(10)?))?)?;
        }
    }
    let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
    Some(Duration::new(
        seconds,
        u32::try_from(nanos % 1_000_000_000).ok()?,
    ))
}

/// `1h0m0s`, `1m30s`, `1.5s`, `20ms`, as Go prints durations.
pub fn duration_text(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let decimal = |value: u128, scale: u128| {
        let fraction = format!(
            "{:0width$}",
            value % scale,
            width = scale.to_string().len() - 1
        );
        let fraction = fraction.trim_end_matches('0');
        if fraction.is_empty() {
            (value / scale).to_string()
        } else {
            format!("{}.{fraction}", value / scale)
        }
    };
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}µs", decimal(nanos, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", decimal(nanos, 1_000_000)),
        _ => {
            let minutes = nanos / 60_000_000_000;
            let seconds = decimal(nanos % 60_000_000_000, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

/// Bytes; `k`, `m`, `g`, `t`, `p` are binary, with or without `b` or `ib`. -1 is "unlimited".
pub fn bytes(text: &str) -> Option<i64> {
    let text = text.trim().to_lowercase();
    if let Ok(number) = text.parse::<i64>() {
        return Some(number);
    }
    let digits = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim();
    let unit = unit
        .strip_suffix("ib")
        .or_else(|| unit.strip_suffix('b'))
        .unwrap_or(unit);
    let power = match unit {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let value = number * 1024f64.powi(power);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the range is checked on this line"
    )]
    (value < 9e18).then_some(value as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print_as_go_does() {
        for (text, printed) in [
            ("1h", "1h0m0s"),
            ("90s", "1m30s"),
            ("1.5s", "1.5s"),
            ("20ms", "20ms"),
            ("1m0s", "1m0s"),
            ("2m", "2m0s"),
        ] {
            assert_eq!(
                duration(text).map(duration_text).as_deref(),
                Some(printed),
                "{text}"
            );
        }
        assert_eq!(duration("10"), None);
        assert_eq!(duration(""), None);
        assert_eq!(duration("5x"), None);
    }

    #[test]
    fn sizes_are_binary() {
        assert_eq!(bytes("64M"), Some(64 << 20));
        assert_eq!(bytes("1.5g"), Some(3 << 29));
        assert_eq!(bytes("10kb"), Some(10 << 10));
        assert_eq!(bytes("-1"), Some(-1));
        assert_eq!(bytes("lots"), None);
    }
}
