//! Notations of values in Compose files: booleans and whole numbers. Those of durations and sizes are hoist-object's.

pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "true" | "y" | "yes" | "on" | "1" => Some(true),
        "false" | "n" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

pub(crate) fn integer(text: &str) -> Option<i64> {
    match crate::yaml::resolve(text.trim()) {
        crate::node::Data::Int(value) => Some(value),
        crate::node::Data::Float(value) => whole(value),
        _ => None,
    }
}

pub(crate) fn whole(value: f64) -> Option<i64> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the range and the fraction are checked on this line"
    )]
    (value.fract() == 0.0 && value.abs() < 9e15).then_some(value as i64)
}
