//! Docker's filter documents. An unknown filter is an error: ignoring it would list everything to a script that removes
//! what is listed. A document can therefore only be read by naming the supported keys.

use std::collections::BTreeMap;

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use crate::answer::{ApiError, ApiResult};

#[derive(Debug, Default)]
pub(crate) struct Filters {
    by_key: BTreeMap<String, Vec<String>>,
}

impl Filters {
    /// In its newer (`{"label":["a=b"]}`) and older (`{"label":{"a=b":true}}`) form.
    pub(crate) fn parse(text: Option<&str>, known: &[&str]) -> ApiResult<Self> {
        let Some(text) = text.filter(|text| !text.trim().is_empty()) else {
            return Ok(Self::default());
        };
        let document: BTreeMap<String, Value> = serde_json::from_str(text)
            .map_err(|error| ApiError::bad(format!("invalid filters: {error}")))?;
        let mut by_key = BTreeMap::new();
        for (key, value) in document {
            if !known.contains(&key.as_str()) {
                return Err(ApiError::bad(format!(
                    "invalid filter '{key}': known here are {}",
                    known.join(", ")
                )));
            }
            by_key.insert(key.clone(), values(&key, value)?);
        }
        Ok(Self { by_key })
    }

    pub(crate) fn flag(&self, key: &str) -> ApiResult<Option<bool>> {
        let Some(values) = self.get(key) else {
            return Ok(None);
        };
        let parsed: Vec<_> = values.iter().map(|text| boolean(text)).collect();
        match parsed.as_slice() {
            [Some(first), rest @ ..] if rest.iter().all(|other| *other == Some(*first)) => {
                Ok(Some(*first))
            }
            _ => Err(invalid(key, &values.join(","), "true or false")),
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&[String]> {
        self.by_key
            .get(key)
            .map(Vec::as_slice)
            .filter(|values| !values.is_empty())
    }

    /// One of the values fits, or nothing was asked.
    pub(crate) fn any(&self, key: &str, fits: impl Fn(&str) -> bool) -> bool {
        self.get(key)
            .is_none_or(|values| values.iter().any(|value| fits(value)))
    }

    /// Each value is one of these.
    pub(crate) fn one_of(&self, key: &str, known: &[&str]) -> ApiResult<()> {
        match self
            .get(key)
            .unwrap_or_default()
            .iter()
            .find(|value| !known.contains(&value.as_str()))
        {
            Some(value) => Err(invalid(key, value, &known.join(", "))),
            None => Ok(()),
        }
    }

    /// The values of a key as something else.
    pub(crate) fn parsed<T>(
        &self,
        key: &str,
        what: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> ApiResult<Vec<T>> {
        let values = self.get(key).unwrap_or_default().iter();
        values
            .map(|text| parse(text).ok_or_else(|| invalid(key, text, what)))
            .collect()
    }

    /// The values of a key as docker matches names: by the whole text, or as a regular expression anywhere in it.
    pub(crate) fn patterns(&self, key: &str) -> ApiResult<Patterns> {
        let values = self.get(key).unwrap_or_default().to_vec();
        // A name that is no expression still is a name.
        let expressions = values
            .iter()
            .filter_map(|text| RegexBuilder::new(text).size_limit(1 << 20).build().ok());
        let expressions = expressions.collect();
        Ok(Patterns {
            values,
            expressions,
        })
    }

    /// All of the wanted labels are there, and none of those under `label!`: `key` or `key=value`.
    pub(crate) fn labels(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |wanted: &String| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
            None => labels.contains_key(wanted),
        };
        self.get("label")
            .is_none_or(|wanted| wanted.iter().all(has))
            && !self
                .get("label!")
                .is_some_and(|unwanted| unwanted.iter().any(has))
    }
}

/// Names by the whole or by regular expressions; without any, everything fits.
#[derive(Debug)]
pub(crate) struct Patterns {
    values: Vec<String>,
    expressions: Vec<Regex>,
}

impl Patterns {
    pub(crate) fn fit(&self, text: &str) -> bool {
        self.values.is_empty()
            || self.values.iter().any(|value| value == text)
            || self
                .expressions
                .iter()
                .any(|expression| expression.is_match(text))
    }
}

pub(crate) fn invalid(key: &str, value: &str, known: &str) -> ApiError {
    ApiError::bad(format!("invalid filter '{key}={value}': it takes {known}"))
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "1" | "true" | "t" => Some(true),
        "0" | "false" | "f" => Some(false),
        _ => None,
    }
}

fn values(key: &str, value: Value) -> ApiResult<Vec<String>> {
    let wrong = || {
        ApiError::bad(format!(
            "invalid filter '{key}': a list of texts is expected"
        ))
    };
    match value {
        Value::Array(list) => list
            .into_iter()
            .map(|item| match item {
                Value::String(text) => Ok(text),
                _ => Err(wrong()),
            })
            .collect(),
        Value::Object(map) if map.values().all(Value::is_boolean) => {
            Ok(map.into_iter().map(|(key, _)| key).collect())
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Filters {
        Filters::parse(Some(text), &["label", "label!", "name", "dangling"]).unwrap()
    }

    #[test]
    fn filters_come_in_two_forms() {
        for text in [r#"{"label":["a=b"]}"#, r#"{"label":{"a=b":true}}"#] {
            let filters = parse(text);
            assert!(filters.labels(&BTreeMap::from([("a".into(), "b".into())])));
            assert!(!filters.labels(&BTreeMap::from([("a".into(), "c".into())])));
        }
        let without = parse(r#"{"label!":["a"]}"#);
        assert!(
            without.labels(&BTreeMap::new())
                && !without.labels(&BTreeMap::from([("a".into(), "b".into())]))
        );
    }

    #[test]
    fn what_would_be_passed_over_is_refused() {
        let wrong = [
            "{",
            "[]",
            "null",
            "7",
            r#"{"bogus":["x"]}"#,
            r#"{"bogus":[]}"#,
            r#"{"name":"x"}"#,
            r#"{"name":[1]}"#,
            r#"{"name":{"x":1}}"#,
            r#"{"name":null}"#,
        ];
        for text in wrong {
            let error = Filters::parse(Some(text), &["name"]).unwrap_err();
            assert_eq!(error.status, 400, "{text}");
        }
        assert!(parse(r#"{"dangling":["maybe"]}"#).flag("dangling").is_err());
        assert!(
            parse(r#"{"dangling":["true","false"]}"#)
                .flag("dangling")
                .is_err()
        );
        assert_eq!(
            parse(r#"{"dangling":["true","1"]}"#)
                .flag("dangling")
                .unwrap(),
            Some(true)
        );
        assert!(parse(r#"{"name":["x"]}"#).one_of("name", &["y"]).is_err());
    }

    #[test]
    fn names_are_expressions() {
        let fits = |pattern: &str, name: &str| {
            Filters::parse(
                Some(&serde_json::json!({ "name": [pattern] }).to_string()),
                &["name"],
            )
            .unwrap()
            .patterns("name")
            .unwrap()
            .fit(name)
        };
        assert!(
            fits("web", "shop-web-1")
                && fits("^shop-web-1$", "shop-web-1")
                && fits("w.b", "shop-web-1")
        );
        assert!(!fits("^web", "shop-web-1") && !fits("db", "shop-web-1"));
        assert!(fits("a(b", "a(b") && !fits("a(b", "other"));
    }
}
