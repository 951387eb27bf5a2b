//! The plan, as text and as JSON. Its words are the planner's; here they are only coloured.

use anstyle::{AnsiColor, Style};
use hoist_api::PlanResponse;

use crate::options::PlanForm;
use crate::render::{Ui, painted};

pub(crate) fn printed(plan: &PlanResponse, form: PlanForm, ui: Ui) -> String {
    match form {
        PlanForm::Text => text(plan, ui),
        PlanForm::Json => format!("{:#}\n", plan.plan),
    }
}

fn text(plan: &PlanResponse, ui: Ui) -> String {
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

/// By the sign in front of a line.
fn style(line: &str) -> Option<Style> {
    Some(match line.chars().next()? {
        '+' => AnsiColor::Green.on_default(),
        '-' => AnsiColor::Red.on_default(),
        '~' => AnsiColor::Yellow.on_default(),
        '!' => AnsiColor::Red.on_default().bold(),
        '?' | '#' => Style::new().dimmed(),
        _ => return None,
    })
}
