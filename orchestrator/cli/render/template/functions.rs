//! Go's and docker's functions, and how values are written.

use std::cmp::Ordering;

use serde_json::Value;

use super::Result;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Json,
    Join,
    Split,
    Index,
    Len,
    Upper,
    Lower,
    Title,
    Truncate,
    Print,
    Println,
    Printf,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    And,
    Or,
    Not,
}

const NAMES: [(&str, Function); 21] = [
    ("json", Function::Json),
    ("join", Function::Join),
    ("split", Function::Split),
    ("index", Function::Index),
    ("len", Function::Len),
    ("upper", Function::Upper),
    ("lower", Function::Lower),
    ("title", Function::Title),
    ("truncate", Function::Truncate),
    ("print", Function::Print),
    ("println", Function::Println),
    ("printf", Function::Printf),
    ("eq", Function::Eq),
    ("ne", Function::Ne),
    ("lt", Function::Lt),
    ("le", Function::Le),
    ("gt", Function::Gt),
    ("ge", Function::Ge),
    ("and", Function::And),
    ("or", Function::Or),
    ("not", Function::Not),
];

impl Function {
    pub(super) fn named(name: &str) -> Result<Self> {
        let known = NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, function)| *function);
        let all = || NAMES.map(|(name, _)| name).join(", ");
        known.ok_or_else(|| format!("there is no function {name}; there are {}", all()))
    }

    // One flat match: a line or two for each function and kind of argument.
    pub(super) fn call(self, arguments: &[Value]) -> Result<Value> {
        let name = || {
            NAMES
                .iter()
                .find(|(_, known)| *known == self)
                .map_or("", |(name, _)| name)
        };
        let wants = |what: &str| format!("{} wants {what}", name());
        match (self, arguments) {
            (Self::Json, [value]) => Ok(value.to_string().into()),
            (Self::Join, [Value::Array(items), Value::String(between)]) => Ok(items
                .iter()
                .map(text)
                .collect::<Vec<_>>()
                .join(between)
                .into()),
            (Self::Join, [Value::Null, _]) => Ok("".into()),
            (Self::Join, _) => Err(wants("a list and a string")),
            (Self::Split, [Value::String(whole), Value::String(between)]) => {
                Ok(whole.split(between.as_str()).map(Value::from).collect())
            }
            (Self::Split, _) => Err(wants("two strings")),
            (Self::Index, [value, keys @ ..]) => keys
                .iter()
                .try_fold(value.clone(), |value, key| at(&value, key)),
            (Self::Len, [Value::Array(items)]) => Ok(items.len().into()),
            (Self::Len, [Value::Object(fields)]) => Ok(fields.len().into()),
            (Self::Len, [Value::String(text)]) => Ok(text.len().into()),
            (Self::Len, [Value::Null]) => Ok(0.into()),
            (Self::Upper, [Value::String(text)]) => Ok(text.to_uppercase().into()),
            (Self::Lower, [Value::String(text)]) => Ok(text.to_lowercase().into()),
            (Self::Title, [Value::String(text)]) => Ok(title(text).into()),
            (Self::Truncate, [Value::String(text), length]) => Ok(truncated(text, length).into()),
            (Self::Upper | Self::Lower | Self::Title | Self::Truncate, _) => Err(wants("a string")),
            (Self::Print, values) => Ok(values.iter().map(text).collect::<String>().into()),
            (Self::Println, values) => {
                Ok((values.iter().map(text).collect::<Vec<_>>().join(" ") + "\n").into())
            }
            (Self::Printf, [Value::String(format), values @ ..]) => {
                formatted(format, values).map(Value::from)
            }
            (Self::Eq, [first, others @ ..]) if !others.is_empty() => {
                Ok(others.iter().any(|other| same(first, other)).into())
            }
            (Self::Ne, [a, b]) => Ok((!same(a, b)).into()),
            (Self::Lt, [a, b]) => Ok(compared(a, b)?.is_lt().into()),
            (Self::Le, [a, b]) => Ok(compared(a, b)?.is_le().into()),
            (Self::Gt, [a, b]) => Ok(compared(a, b)?.is_gt().into()),
            (Self::Ge, [a, b]) => Ok(compared(a, b)?.is_ge().into()),
            (Self::And, [.., last]) => Ok(arguments
                .iter()
                .find(|value| !truth(value))
                .unwrap_or(last)
                .clone()),
            (Self::Or, [.., last]) => Ok(arguments
                .iter()
                .find(|value| truth(value))
                .unwrap_or(last)
                .clone()),
            (Self::Not, [value]) => Ok((!truth(value)).into()),
            _ => Err(format!(
                "{} does not take {} arguments like these",
                name(),
                arguments.len()
            )),
        }
    }
}

/// The first letter in upper case.
fn title(text: &str) -> String {
    let mut letters = text.chars();
    let first: String = letters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .collect();
    first + letters.as_str()
}

fn truncated(text: &str, length: &Value) -> String {
    let length = length
        .as_u64()
        .and_then(|length| usize::try_from(length).ok())
        .unwrap_or(0);
    text.chars().take(length).collect()
}

/// As Go prints it.
pub(super) fn text(value: &Value) -> String {
    let list = |items: Vec<String>| items.join(" ");
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".to_owned(),
        Value::Array(items) => format!("[{}]", list(items.iter().map(text).collect())),
        Value::Object(fields) => {
            format!(
                "map[{}]",
                list(
                    fields
                        .iter()
                        .map(|(key, value)| format!("{key}:{}", text(value)))
                        .collect()
                )
            )
        }
        other => other.to_string(),
    }
}

/// Empty values are false.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(holds) => *holds,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.total_cmp(&b).is_eq(),
        _ => a == b,
    }
}

fn compared(a: &Value, b: &Value) -> Result<Ordering> {
    match (a, b) {
        (Value::String(a), Value::String(b)) => Ok(a.cmp(b)),
        (Value::Number(a), Value::Number(b)) => Ok(a
            .as_f64()
            .unwrap_or_default()
            .total_cmp(&b.as_f64().unwrap_or_default())),
        _ => Err(format!("{} and {} cannot be compared", text(a), text(b))),
    }
}

/// A key that a map does not have gives nothing, as in Go.
fn at(value: &Value, key: &Value) -> Result<Value> {
    match (value, key) {
        (Value::Object(fields), Value::String(key)) => {
            Ok(fields.get(key).cloned().unwrap_or_else(|| "".into()))
        }
        (Value::Array(items), Value::Number(number)) => {
            let place = number
                .as_u64()
                .and_then(|place| usize::try_from(place).ok());
            let item = place.and_then(|place| items.get(place)).cloned();
            item.ok_or_else(|| format!("index {number} is out of range: there are {}", items.len()))
        }
        (Value::Null, _) => Ok(Value::Null),
        _ => Err(format!(
            "index cannot look up {} in {}",
            text(key),
            text(value)
        )),
    }
}

fn formatted(format: &str, values: &[Value]) -> Result<String> {
    let mut out = String::new();
    let mut values = values.iter();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let verb = letters.next();
        if verb == Some('%') {
            out.push('%');
            continue;
        }
        let value = values
            .next()
            .ok_or_else(|| format!("printf {format:?} has too few values"))?;
        match verb {
            Some('s' | 'v' | 'd') => out.push_str(&text(value)),
            Some('q') => out.push_str(&Value::from(text(value)).to_string()),
            _ => {
                return Err(format!(
                    "printf knows %s, %d, %v, %q and %%, not {format:?}"
                ));
            }
        }
    }
    match values.next() {
        None => Ok(out),
        Some(_) => Err(format!("printf {format:?} has too many values")),
    }
}

/// docker's heading for a field where it is not the field's name.
pub(super) fn heading(field: &str) -> String {
    match field {
        "RunningFor" | "CreatedSince" | "CreatedAt" => "CREATED".to_owned(),
        "CPUPerc" => "CPU %".to_owned(),
        "MemUsage" => "MEM USAGE / LIMIT".to_owned(),
        "MemPerc" => "MEM %".to_owned(),
        "NetIO" => "NET I/O".to_owned(),
        "BlockIO" => "BLOCK I/O".to_owned(),
        "ExitCode" => "EXIT CODE".to_owned(),
        other => other.to_uppercase(),
    }
}
