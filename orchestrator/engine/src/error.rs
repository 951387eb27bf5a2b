//! How errors become text: one place that prints a chain of causes.

use std::error::Error;

/// An error and its causes, `a: b: c`. A cause that only repeats what was said is left out.
pub fn chain(error: &dyn Error) -> String {
    let mut text = words(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = words(error);
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

/// The system's errors without their numbers, and in its words also where Rust made them.
fn words(error: &dyn Error) -> String {
    let text = error.to_string();
    if text == "entity not found" {
        return "no such file or directory".to_owned();
    }
    match text.rsplit_once(" (os error ") {
        Some((words, number)) if number.trim_end_matches(')').parse::<u32>().is_ok() => {
            words.to_owned()
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_words_for_people() {
        #[derive(Debug, thiserror::Error)]
        #[error("reading x")]
        struct Reading(#[source] std::io::Error);
        assert_eq!(
            chain(&Reading(std::io::Error::from_raw_os_error(2))),
            "reading x: No such file or directory"
        );
        assert_eq!(
            chain(&Reading(std::io::ErrorKind::NotFound.into())),
            "reading x: no such file or directory"
        );
    }
}
