//! The plan, as text and as JSON. Its words are the planner's; here they are only coloured.

use anstyle::{AnsiColor, Style};
use hoist_engine::api::types::PlanResponse;

use crate::render::{Ui, painted};

pub(crate) fn text(plan: &PlanResponse, ui: Ui) -> String {
    if plan.steps == 0 && plan.text.trim().is_empty() {
        return "nothing to do\n".to_owned();
    }
    let mut text = String::new();
    for line in plan.text.lines() {
        match style(line) {
            Some(style) if ui.color_stdout() => text.push_str(&painted(line, style)),
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

pub(crate) fn json(plan: &PlanResponse) -> String {
    format!("{:#}\n", plan.plan)
}

/// By the verb of a step's line.
fn style(line: &str) -> Option<Style> {
    let words: Vec<&str> = line.split_whitespace().take(3).collect();
    let has = |verbs: &[&str]| words.iter().any(|word| verbs.iter().any(|verb| word.eq_ignore_ascii_case(verb)));
    if has(&["remove", "stop", "kill"]) {
        Some(AnsiColor::Red.on_default())
    } else if has(&["create", "start", "pull", "build"]) {
        Some(AnsiColor::Green.on_default())
    } else if has(&["await", "wait", "note"]) {
        Some(Style::new().dimmed())
    } else {
        None
    }
}
