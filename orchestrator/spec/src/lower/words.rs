//! Words of a command that is written as one string, by the rules of the reference: no shell runs, so operators and
//! variables mean nothing, and a backslash takes the next character as it is, except in single quotes.

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Words {
    pub(crate) words: Vec<String>,
    /// The first character that a shell would act on.
    pub(crate) operator: Option<char>,
}

/// `None`: a quote is not closed.
pub(crate) fn split(text: &str) -> Option<Words> {
    let mut result = Words {
        words: Vec::new(),
        operator: None,
    };
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\'', Some('\'')) | ('"', Some('"')) => quote = None,
            (c, Some('\'')) => word.get_or_insert_default().push(c),
            ('\\', _) => word.get_or_insert_default().push(chars.next()?),
            (c, Some(_)) => word.get_or_insert_default().push(c),
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (' ' | '\t' | '\r' | '\n', None) => result.words.extend(word.take()),
            (c, None) => {
                if matches!(c, ';' | '&' | '|' | '<' | '>') {
                    result.operator = result.operator.or(Some(c));
                }
                word.get_or_insert_default().push(c);
            }
        }
    }
    if quote.is_some() {
        return None;
    }
    result.words.extend(word);
    Some(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_escapes_and_operators() {
        let words = |text: &str| split(text).map(|split| (split.words.join("|"), split.operator));
        assert_eq!(
            words(r#"sh -c 'a "b" \n' "c d" e\ f ''"#),
            Some((r#"sh|-c|a "b" \n|c d|e f|"#.to_owned(), None))
        );
        assert_eq!(
            words("echo #1 a; b"),
            Some(("echo|#1|a;|b".to_owned(), Some(';')))
        );
        assert_eq!(
            words("sh -c 'a | b'"),
            Some(("sh|-c|a | b".to_owned(), None))
        );
        assert_eq!(words("echo 'oops"), None);
        assert_eq!(words("echo \\"), None);
        assert_eq!(words(""), Some((String::new(), None)));
    }
}
