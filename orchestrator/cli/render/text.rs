//! Untrusted text on a terminal: which control characters it may use, and how many columns it takes.

use unicode_width::UnicodeWidthChar;

/// The text without anything that a terminal would obey, or that shows it in another order than it is written in. Lines
/// stay lines.
pub(crate) fn inert(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in anstream::adapter::strip_str(text).flat_map(str::chars) {
        match char {
            '\n' => shown.push('\n'),
            '\t' => shown.push_str("    "),
            char if char.is_control() || is_bidirectional(char) => {}
            char => shown.push(char),
        }
    }
    shown
}

/// The same as one line.
pub(crate) fn inert_line(text: &str) -> String {
    inert(text).replace('\n', " ")
}

fn is_bidirectional(char: char) -> bool {
    matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Columns that it takes at most: terminals disagree about joined characters, and some draw each of them.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

fn char_width(char: char) -> usize {
    match char {
        // Makes the character before it a picture, which is wide.
        '\u{fe0f}' => 1,
        char => char.width().unwrap_or(0),
    }
}

/// As much of it as fits, with a sign that there was more.
pub(crate) fn clip(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut left = columns.saturating_sub(1);
    let fits = |char: &char| match left.checked_sub(char_width(*char)) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    let mut kept: String = text.chars().take_while(fits).collect();
    if columns > 0 {
        kept.push('…');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_obeys_nothing_of_foreign_text() {
        let cases = [
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("\u{1b}]0;title\u{7}a\u{1b}]52;c;aGk=\u{1b}\\b", "ab"),
            ("up\u{1b}[2A\u{1b}[Jdown", "updown"),
            ("a\u{8}\u{7}b\u{7f}c\u{9b}2Jd", "abc2Jd"),
            ("\u{202e}cod.exe", "cod.exe"),
            ("two\nlines\tand a tab", "two\nlines    and a tab"),
            ("an unfinished one \u{1b}[3", "an unfinished one "),
        ];
        for (text, shown) in cases {
            assert_eq!(inert(text), shown, "{text:?}");
        }
        assert_eq!(inert_line("RUN <<END\necho\nEND"), "RUN <<END echo END");
    }

    #[test]
    fn what_is_clipped_fits() {
        assert_eq!(clip("plain", 5), "plain");
        assert_eq!(clip("plain text", 5), "plai…");
        assert_eq!(clip("日本語の文", 5), "日本…");
        assert_eq!(clip("日本語の文", 4), "日…");
        assert_eq!(clip("ab", 1), "…");
        assert_eq!(clip("ab", 0), "");
        for text in [
            "👩\u{200d}👩\u{200d}👧 family",
            "❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}",
            "e\u{301}e\u{301}e\u{301}",
            "ｗｉｄｅ",
        ] {
            for columns in 0..12 {
                assert!(
                    width(&clip(text, columns)) <= columns,
                    "{text} in {columns}"
                );
            }
        }
    }
}
