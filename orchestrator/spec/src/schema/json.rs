//! The table as a JSON schema (draft 2020-12), for editors.
//!
//! Must not know: what attributes mean. Where a variable may stand, the schema takes any string that has one.

use serde_json::{Map, Value, json};

use super::{Field, Object, STACK, Shape, Support};

/// What editors check and complete stack files with.
pub fn json_schema() -> Value {
    let mut schema = object(&STACK);
    if let Value::Object(map) = &mut schema {
        map.shift_insert(
            0,
            "$schema".to_owned(),
            json!("https://json-schema.org/draft/2020-12/schema"),
        );
        map.shift_insert(1, "title".to_owned(), json!("Compose, as hoist reads it"));
    }
    schema
}

fn object(table: &Object) -> Value {
    let mut properties = Map::new();
    // Capital letters are a printed form only.
    for field in table
        .fields
        .iter()
        .filter(|field| !field.name.starts_with(|c: char| c.is_ascii_uppercase()))
    {
        properties.insert(field.name.to_owned(), property(field));
    }
    let mut schema =
        json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if table.extensible {
        schema["patternProperties"] = json!({ "^x-": {} });
    }
    if !table.required.is_empty() {
        schema["required"] = json!(table.required);
    }
    schema
}

fn property(field: &Field) -> Value {
    let mut schema = shape(&field.shape);
    let note = match field.support {
        Support::Yes | Support::Part | Support::Printed => return schema,
        Support::NotYet | Support::Modelled => "hoist cannot act on this yet: `up` refuses it.",
        Support::Warn => "Accepted with a warning; hoist does nothing with it.",
    };
    schema["description"] = json!(note);
    if field.name == "version" {
        schema["deprecated"] = json!(true);
    }
    schema
}

fn shape(shape: &Shape) -> Value {
    let strings = || json!({ "type": "array", "items": { "type": "string" } });
    match shape {
        Shape::Null => json!({ "type": "null" }),
        Shape::Str | Shape::Duration => json!({ "type": "string" }),
        Shape::Bool => json!({ "type": ["boolean", "string"] }),
        Shape::Int => json!({ "type": ["integer", "string"] }),
        Shape::Num => json!({ "type": ["number", "string"] }),
        Shape::Bytes => json!({ "type": ["integer", "string"] }),
        Shape::Word(words) => {
            json!({ "anyOf": [{ "enum": words }, { "type": "string", "pattern": "\\$" }] })
        }
        Shape::List(item) => json!({ "type": "array", "items": self::shape(item) }),
        Shape::Map(value) => {
            json!({ "type": "object", "additionalProperties": self::shape(value) })
        }
        Shape::Object(table) => object(table),
        Shape::Either(shapes) => {
            json!({ "anyOf": shapes.iter().map(self::shape).collect::<Vec<_>>() })
        }
        Shape::StringOrList => json!({ "anyOf": [{ "type": "string" }, strings()] }),
        Shape::Command => json!({ "anyOf": [{ "type": ["string", "null"] }, strings()] }),
        Shape::Table | Shape::Labels => {
            let scalar = json!({ "type": ["string", "number", "boolean", "null"] });
            json!({ "anyOf": [{ "type": "object", "additionalProperties": scalar }, strings()] })
        }
        Shape::Special(_, inner) => self::shape(inner),
    }
}
