//! Plain values as YAML text, laid out and quoted as the reference's printer does it, so that the outputs of both can be
//! compared line by line. A library's emitter quotes, folds and indents in its own way; that this one's output means what
//! was printed is tested with serde_norway as the reader.
//!
//! Must not know: what is printed.

use std::fmt::Write as _;

use serde_json::Value;

/// Longer keys are written in the explicit form.
const MAX_SIMPLE_KEY: usize = 128;

pub(super) fn text(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => mapping(map, 0, &mut out),
        Value::Array(items) if !items.is_empty() => sequence(items, 0, &mut out),
        _ => {
            leaf(value, 0, &mut out);
            out.push('\n');
        }
    }
    out
}

/// The first line's indentation is already written.
fn mapping(map: &serde_json::Map<String, Value>, indent: usize, out: &mut String) {
    for (index, (key, value)) in map.iter().enumerate() {
        if index > 0 {
            pad(indent, out);
        }
        if key.len() > MAX_SIMPLE_KEY {
            out.push_str("? ");
            scalar(key, out);
            out.push('\n');
            pad(indent, out);
        } else {
            scalar(key, out);
        }
        out.push(':');
        match value {
            Value::Object(map) if !map.is_empty() => {
                out.push('\n');
                pad(indent + 2, out);
                mapping(map, indent + 2, out);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                pad(indent + 2, out);
                sequence(items, indent + 2, out);
            }
            value => {
                out.push(' ');
                leaf(value, indent + 2, out);
                out.push('\n');
            }
        }
    }
}

fn sequence(items: &[Value], indent: usize, out: &mut String) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            pad(indent, out);
        }
        out.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => mapping(map, indent + 2, out),
            Value::Array(items) if !items.is_empty() => sequence(items, indent + 2, out),
            item => {
                leaf(item, indent + 2, out);
                out.push('\n');
            }
        }
    }
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// A value of one line, or a text in lines of this indentation; without the last line's end.
fn leaf(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::String(text) if text.contains('\n') && fits_block(text) => block(text, indent, out),
        Value::String(text) => scalar(text, out),
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => {
            // Writing to a string cannot fail.
            let _ = write!(out, "{number}");
        }
    }
}

/// Whether a text of several lines keeps its every character in a block.
fn fits_block(text: &str) -> bool {
    !text.ends_with(' ')
        && !text.contains(" \n")
        && !text
            .chars()
            .any(|c| c != '\n' && c != '\t' && !is_printable(c))
}

fn block(text: &str, indent: usize, out: &mut String) {
    out.push('|');
    if text.starts_with([' ', '\n', '\t']) {
        out.push('2');
    }
    match text.strip_suffix('\n') {
        None => out.push('-'),
        Some(rest) if rest.is_empty() || rest.ends_with('\n') => out.push('+'),
        Some(_) => {}
    }
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            pad(indent, out);
            out.push_str(line);
        }
    }
}

fn scalar(text: &str, out: &mut String) {
    let escaped = text.contains('\t') || !text.chars().all(is_printable);
    if escaped || text.is_empty() || reads_as_another_type(text) {
        double_quoted(text, out);
    } else if fits_plain(text) {
        out.push_str(text);
    } else {
        out.push('\'');
        out.push_str(&text.replace('\'', "''"));
        out.push('\'');
    }
}

/// Not what a reader may take for a line's end, a control character or nothing at all.
fn is_printable(c: char) -> bool {
    !c.is_control()
        && !matches!(
            c,
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
}

/// Whether no character of the text is notation at its place.
fn fits_plain(text: &str) -> bool {
    let blank_after = |rest: &str| rest.chars().next().is_none_or(|next| next == ' ');
    let mut chars = text.char_indices();
    let first = chars.next().map_or(' ', |(_, first)| first);
    let rest = &text[first.len_utf8().min(text.len())..];
    if matches!(
        first,
        '#' | ','
            | '['
            | ']'
            | '{'
            | '}'
            | '&'
            | '*'
            | '!'
            | '|'
            | '>'
            | '\''
            | '"'
            | '%'
            | '@'
            | '`'
    ) || matches!(first, '?' | ':' | '-') && blank_after(rest)
        || text.starts_with("---")
        || text.starts_with("...")
        || text.starts_with(' ')
        || text.ends_with(' ')
    {
        return false;
    }
    chars.all(|(at, c)| match c {
        ':' => !blank_after(&text[at + 1..]),
        '#' => !text[..at].ends_with(' '),
        _ => true,
    })
}

/// Words, numbers and times of YAML 1.1 and 1.2: without quotes, some reader would not see a text.
fn reads_as_another_type(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let same_case =
        text == lower || text.bytes().all(|b| !b.is_ascii_lowercase()) || is_capitalised(text);
    let word = matches!(
        lower.as_str(),
        "~" | "null"
            | "true"
            | "false"
            | "y"
            | "yes"
            | "on"
            | "n"
            | "no"
            | "off"
            | ".nan"
            | ".inf"
            | "+.inf"
            | "-.inf"
    );
    word && (same_case || lower.starts_with(['.', '+', '-']))
        || text == "<<"
        || is_number(text)
        || is_time(text)
}

fn is_capitalised(text: &str) -> bool {
    text.bytes().next().is_some_and(|b| b.is_ascii_uppercase())
        && text.bytes().skip(1).all(|b| !b.is_ascii_uppercase())
}

fn is_number(text: &str) -> bool {
    let plain = text.replace('_', "");
    let digits = plain.trim_start_matches(['+', '-']);
    if plain.len() - digits.len() > 1
        || !text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
    {
        return false;
    }
    let radix = |prefix: [&str; 2], radix: u32| {
        let rest = prefix.iter().find_map(|prefix| digits.strip_prefix(prefix));
        rest.is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_digit(radix)))
    };
    radix(["0x", "0X"], 16)
        || radix(["0o", "0O"], 8)
        || radix(["0b", "0B"], 2)
        || is_decimal(digits)
        || is_base_sixty(digits)
}

/// `1`, `1.`, `.5`, `1.5e-3`.
fn is_decimal(digits: &str) -> bool {
    let (mantissa, exponent) = digits
        .split_once(['e', 'E'])
        .map_or((digits, None), |(m, e)| (m, Some(e)));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let exponent = exponent.map(|exponent| exponent.strip_prefix(['+', '-']).unwrap_or(exponent));
    !(whole.is_empty() && fraction.is_empty())
        && all_digits(whole)
        && all_digits(fraction)
        && exponent.is_none_or(|exponent| !exponent.is_empty() && all_digits(exponent))
}

/// `22:30` is a number in YAML 1.1.
fn is_base_sixty(digits: &str) -> bool {
    let mut parts = digits.split(':');
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let first = parts.next().is_some_and(all_digits);
    let mut rest = parts.peekable();
    let several = rest.peek().is_some();
    let sixty = |part: &str| {
        let whole = part.split('.').next().unwrap_or(part);
        all_digits(whole) && whole.parse::<u32>().is_ok_and(|part| part < 60)
    };
    first && several && rest.all(sixty)
}

/// `2001-12-14`, with or without a time of day.
fn is_time(text: &str) -> bool {
    let (date, time) = text.split_once(['T', 't', ' ']).unwrap_or((text, "0"));
    let parts: Vec<&str> = date.split('-').collect();
    let number = |part: &str, length: std::ops::RangeInclusive<usize>| {
        length.contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit())
    };
    matches!(parts.as_slice(), [year, month, day] if number(year, 4..=4) && number(month, 1..=2) && number(day, 1..=2))
        && time.starts_with(|c: char| c.is_ascii_digit())
}

fn double_quoted(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0' => out.push_str("\\0"),
            c if is_printable(c) => out.push(c),
            c => {
                let number = u32::from(c);
                // Writing to a string cannot fail.
                let _ = if number <= 0xff {
                    write!(out, "\\x{number:02X}")
                } else {
                    write!(out, "\\u{number:04X}")
                };
            }
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::report::Report;

    fn read_back(text: &str) -> Value {
        let mut report = Report::default();
        let file = report.add_file("printed".to_owned(), text.to_owned());
        let documents = crate::yaml::parse(&mut report, file);
        assert!(!report.failed(), "{text}");
        documents
            .and_then(|mut documents| documents.pop())
            .map_or(Value::Null, |node| node.to_json())
    }

    #[test]
    fn texts_are_quoted_as_the_reference_quotes_them() {
        let lines = [
            ("8.8.8.8", "8.8.8.8"),
            ("container:", "'container:'"),
            ("ends with a space ", "'ends with a space '"),
            ("80", "\"80\""),
            ("1.5", "\"1.5\""),
            ("0777", "\"0777\""),
            ("22:30", "\"22:30\""),
            ("no", "\"no\""),
            ("Y", "\"Y\""),
            ("nO", "nO"),
            ("", "\"\""),
            ("a: b", "'a: b'"),
            ("it's # here", "'it''s # here'"),
            ("{a}", "'{a}'"),
            ("-", "'-'"),
            ("-c", "-c"),
            ("*", "'*'"),
            ("a\tb", "\"a\\tb\""),
            ("2001-12-14", "\"2001-12-14\""),
            ("1h30m", "1h30m"),
            ("a\nb\n", "|\n  a\n  b"),
            ("a\nb", "|-\n  a\n  b"),
            (" a\n\n", "|2+\n   a\n"),
        ];
        for (value, printed) in lines {
            let mut out = String::new();
            leaf(&json!(value), 2, &mut out);
            assert_eq!(out, printed, "{value:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_text_is_read_back_as_itself(key in any::<String>(), value in "[ \t\n#:'\"|>\\-a0.~]{0,12}|\\PC{0,8}") {
            let all = json!({ "a": { key.clone(): [value.clone(), { "b": value.clone() }, [value.clone()]] }, "c": value });
            let printed = text(&all);
            prop_assert_eq!(read_back(&printed), all.clone());
            prop_assert_eq!(serde_norway::from_str::<Value>(&printed).unwrap(), all);
        }
    }
}
