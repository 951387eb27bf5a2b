//! Signals by name or number, as Compose files and docker's clients write them.

use std::str::FromStr;

use nix::sys::signal::Signal;

pub(crate) const HANGUP: i32 = 1;
pub(crate) const KILL: i32 = 9;

/// glibc's first real-time signal, which is what images mean by SIGRTMIN.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

pub(crate) fn number(text: &str) -> Option<i32> {
    let text = text.trim().to_ascii_uppercase();
    if let Ok(number) = text.parse::<i32>() {
        return (1..=RTMAX).contains(&number).then_some(number);
    }
    let name = text.strip_prefix("SIG").unwrap_or(&text);
    let offset = |rest: &str, sign: &str| match rest {
        "" => Some(0),
        rest => rest.strip_prefix(sign)?.parse::<i32>().ok(),
    };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return Some(RTMIN + offset(rest, "+")?).filter(|number| *number <= RTMAX);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return Some(RTMAX - offset(rest, "-")?).filter(|number| *number >= RTMIN);
    }
    Signal::from_str(&format!("SIG{name}")).ok().map(|signal| signal as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_known() {
        assert_eq!(number("SIGTERM"), Some(15));
        assert_eq!(number("int"), Some(2));
        assert_eq!(number("9"), Some(9));
        assert_eq!(number("SIGRTMIN+3"), Some(37));
        assert_eq!(number("SIGRTMAX-1"), Some(63));
        assert_eq!(number("SIGNOPE"), None);
        assert_eq!(number("0"), None);
    }
}
