//! Options of networks that are pairs: `KEY=VALUE`.

use std::collections::BTreeMap;

pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

pub(super) fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        Err("a label needs a key".to_owned())
    } else {
        Ok((key.to_owned(), value.to_owned()))
    }
}

pub(super) fn table(pairs: &[(String, String)]) -> BTreeMap<String, String> {
    pairs.iter().cloned().collect()
}
