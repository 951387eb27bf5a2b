//! What build checks say, as text for people or as JSON.

use std::fmt::Write;

use hoist_api::BuildCheck;

use super::Ui;
use crate::options::ErrorFormat;

pub(crate) fn text(checks: &[BuildCheck], ui: Ui) -> String {
    if ui.error_format() == ErrorFormat::Json {
        return format!("{:#}\n", serde_json::json!(checks));
    }
    let mut text = String::new();
    for check in checks {
        if !check.error.is_empty() {
            let _ = writeln!(text, "{}\n", check.error);
        }
        for finding in &check.findings {
            let _ = writeln!(text, "{}\n", finding.text);
        }
    }
    let failed = checks
        .iter()
        .filter(|check| !check.error.is_empty())
        .count();
    let found: usize = checks.iter().map(|check| check.findings.len()).sum();
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    if failed > 0 {
        let _ = writeln!(
            text,
            "{failed} Dockerfile{} cannot be built",
            plural(failed)
        );
    }
    let _ = match found {
        0 if failed > 0 => Ok(()),
        0 => writeln!(text, "no warnings found"),
        _ => writeln!(text, "{found} warning{} found", plural(found)),
    };
    text
}
