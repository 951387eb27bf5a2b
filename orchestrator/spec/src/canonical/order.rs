//! The order of keys in print: that of the schema's table, which is the reference's, so that the two can be compared
//! line by line. Keys of the user's own are sorted.
//!
//! Must not know: what the keys mean.

use serde_json::Value;

use crate::schema::{Object, STACK, Shape};

/// Puts every mapping of a printed stack in order.
pub(super) fn stack(root: &mut Value) {
    object(root, &STACK);
}

fn object(value: &mut Value, table: &Object) {
    let Value::Object(map) = value else { return };
    let mut all = std::mem::take(map);
    for field in table.fields {
        if let Some(mut value) = all.remove(field.name) {
            shape(&mut value, &field.shape);
            map.insert(field.name.to_owned(), value);
        }
    }
    all.sort_keys();
    all.values_mut().for_each(Value::sort_all_objects);
    map.extend(all);
}

fn shape(value: &mut Value, known: &Shape) {
    match known {
        Shape::Object(table) => object(value, table),
        Shape::Special(_, inner) => shape(value, inner),
        Shape::Either(shapes) => {
            let fitting = shapes.iter().find(|shape| match shape {
                Shape::Object(_) | Shape::Map(_) => value.is_object(),
                Shape::List(_) => value.is_array(),
                _ => false,
            });
            if let Some(fitting) = fitting {
                shape(value, fitting);
            }
        }
        Shape::Map(inner) => {
            if let Value::Object(map) = value {
                map.sort_keys();
                map.values_mut().for_each(|value| shape(value, inner));
            }
        }
        Shape::List(inner) => value
            .as_array_mut()
            .into_iter()
            .flatten()
            .for_each(|item| shape(item, inner)),
        _ => value.sort_all_objects(),
    }
}
