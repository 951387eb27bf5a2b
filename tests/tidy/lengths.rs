//! How long functions are: the lines of product code from `fn` to the closing brace, as rustfmt lays them out.

/// Name, line and length of every function with a body. Inline tests are left out.
pub(crate) fn functions(source: &str) -> Vec<(&str, usize, usize)> {
    let product = source
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default();
    let lines: Vec<&str> = product.lines().collect();
    let starts = lines
        .iter()
        .enumerate()
        .filter_map(|(at, line)| Some((at, name(line)?)));
    starts
        .filter_map(|(at, name)| Some((name, at + 1, length(&lines[at..])?)))
        .collect()
}

/// The name of the function that begins on this line.
fn name(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let visibility = |word: &str| word.starts_with("pub") || word.ends_with(')');
    let qualifier = |word: &str| matches!(word, "async" | "const" | "unsafe" | "extern" | "\"C\"");
    let begins = before
        .split_whitespace()
        .all(|word| visibility(word) || qualifier(word));
    let end = after.find(|letter: char| !letter.is_alphanumeric() && letter != '_')?;
    (begins && end > 0).then(|| &after[..end])
}

/// rustfmt puts the closing brace at the indentation of the function's first line, where no line of its body is. `None`:
/// the function is on one line, or a trait only declares it.
fn length(lines: &[&str]) -> Option<usize> {
    let indentation = indentation(lines[0]);
    let ends = |line: &str| {
        self::indentation(line) == indentation && line.trim_end().ends_with(['}', ';'])
    };
    let last = lines.iter().position(|line| ends(line))?;
    (last > 0 && lines[last].trim() == "}").then_some(last + 1)
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

#[test]
fn lengths_are_counted_from_the_first_line_to_the_brace() {
    let source = "trait A {\n    fn none(\n        &self,\n    ) -> u8;\n    fn one() {}\n}\n\
                  pub(crate) async fn three() {\n    let made = fn_of();\n}\n\n#[cfg(test)]\nmod tests {\n    fn test() {\n    }\n}\n";
    assert_eq!(functions(source), [("three", 7, 3)]);
}
