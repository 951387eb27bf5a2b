//! Signals by number or name, as Compose files, Dockerfiles, options and docker's API write them.

pub const HANGUP: i32 = 1;
pub const KILL: i32 = 9;

/// The first real-time signal of glibc and musl's programs, which is what images mean by SIGRTMIN.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// Those of x86-64 and arm64, which are the same.
const NAMES: [(&str, i32); 34] = [
    ("HUP", HANGUP),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", KILL),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// `9`, `KILL`, `SIGKILL`, `kill`, `RTMIN+3`, `SIGRTMAX-1`.
pub fn number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=RTMAX).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |rest: &str, sign: char| match rest {
        "" => Some(0),
        rest => rest.strip_prefix(sign)?.parse::<u8>().ok().map(i32::from),
    };
    let real_time = if let Some(rest) = name.strip_prefix("RTMIN") {
        Some(RTMIN + offset(rest, '+')?)
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        Some(RTMAX - offset(rest, '-')?)
    } else {
        None
    };
    match real_time {
        Some(number) => (RTMIN..=RTMAX).contains(&number).then_some(number),
        None => NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, number)| *number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_known() {
        for (text, wanted) in [
            ("SIGTERM", 15),
            ("int", 2),
            ("9", 9),
            ("64", 64),
            ("SIGCLD", 17),
            ("poll", 29),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("rtmax-1", 63),
            ("SIGRTMIN+30", 64),
        ] {
            assert_eq!(number(text), Some(wanted), "{text}");
        }
        for text in [
            "", "0", "65", "-1", "SIG", "SIGNOPE", "RTMIN+31", "RTMIN-1", "RTMAX-31", "RTMIN+-1",
            "TERM ",
        ] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
