//! Signal names.

use nix::sys::signal::Signal;

/// `9`, `KILL`, `SIGKILL`, `kill`, `RTMIN+3`.
pub(super) fn number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |rest: &str| if rest.is_empty() { Some(0) } else { rest.get(1..)?.parse::<i32>().ok() };
    if let Some(rest) = short.strip_prefix("RTMIN") {
        return Some(libc::SIGRTMIN() + offset(rest)?).filter(|number| *number <= 64);
    }
    if let Some(rest) = short.strip_prefix("RTMAX") {
        return Some(libc::SIGRTMAX() - offset(rest)?).filter(|number| *number > libc::SIGRTMIN());
    }
    format!("SIG{short}").parse::<Signal>().ok().map(|signal| signal as i32)
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_and_numbers() {
        for (text, want) in
            [("9", 9), ("KILL", 9), ("SIGKILL", 9), ("sigterm", 15), ("RTMIN+3", 37), ("SIGRTMAX-1", 63)]
        {
            assert_eq!(super::number(text), Some(want), "{text}");
        }
        for text in ["0", "65", "-1", "NONSENSE", ""] {
            assert_eq!(super::number(text), None, "{text}");
        }
    }
}
