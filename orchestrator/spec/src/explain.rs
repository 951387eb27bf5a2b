//! Where a value comes from: everything that had a say in it, in the order in which it was said.
//!
//! Must not know: how the places came into the tree; the phases leave them there (`Node::why`, `Node::earlier`).

use std::sync::Arc;

use serde_json::Value;

use crate::diagnostic::SourceFile;
use crate::node::{Data, Entry, Node, Tag, ValueOrigin};
use crate::report::{Report, Span, VariablePlaces};
use crate::suggest;

/// The merged tree of a loaded stack with all its places.
#[derive(Debug, Clone)]
pub struct Provenance {
    tree: Node,
    files: Vec<Arc<SourceFile>>,
    variables: VariablePlaces,
}

/// What is known about one path. A path that names a section gives one line for every value in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    pub values: Vec<ExplainedValue>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ExplainedValue {
    pub path: String,
    /// `None`: it was set and then taken out by `!reset`.
    pub value: Option<Value>,
    /// First said first; the last one counts.
    pub steps: Vec<Step>,
}

/// One place that had a say.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub role: Role,
    /// `file:line:column`.
    pub place: String,
    /// What it said; `None`: that the value is to go.
    pub value: Option<Value>,
    /// Variables in the text at this place.
    pub variables: Vec<Variable>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Base,
    Override,
    Include,
    Extends,
    EnvFile,
    LabelFile,
    /// The value of the variable of the same name.
    Variable,
    Default,
    Reset,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    pub name: String,
    /// `None`: not set.
    pub value: Option<String>,
    /// Where an env file sets it; `None`: in the caller's environment, or nowhere.
    pub place: Option<String>,
    /// What took the place of a value that is not there.
    pub default: Option<String>,
    /// Values and places of env files that set it, too, and did not win.
    pub overruled: Vec<(String, String)>,
}

/// There is nothing at a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("nothing is set at `{path}`")]
pub struct NotSet {
    pub path: String,
    /// What there is instead.
    pub near: Vec<String>,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Override => "override",
            Self::Include => "include",
            Self::Extends => "extends",
            Self::EnvFile => "env file",
            Self::LabelFile => "label file",
            Self::Variable => "variable",
            Self::Default => "default",
            Self::Reset => "reset",
        }
    }
}

impl Provenance {
    pub(crate) fn new(tree: Node, report: &Report) -> Self {
        Self {
            tree,
            files: report.files().to_vec(),
            variables: report.variables.clone(),
        }
    }

    /// Explains a path of the canonical form: `services.web.environment.DB`, `services.web.ports[0]`.
    pub fn explain(&self, path: &str) -> Result<Explanation, NotSet> {
        let mut values = Vec::new();
        match self.find(&self.tree, path, "") {
            Ok(Found::Value(node, path)) => self.values(node, &path, &mut values),
            Ok(Found::Gone(node, path)) => values.push(self.gone(node, path)),
            Err(near) => {
                return Err(NotSet {
                    path: path.to_owned(),
                    near,
                });
            }
        }
        Ok(Explanation { values })
    }

    /// Keys may contain dots themselves, so every key that the rest of the path begins with is tried.
    fn find<'a>(
        &'a self,
        node: &'a Node,
        rest: &str,
        path: &str,
    ) -> Result<Found<'a>, Vec<String>> {
        if rest.is_empty() {
            return Ok(Found::Value(node, path.to_owned()));
        }
        let mut near = Vec::new();
        match &node.data {
            Data::Map(map) => {
                for entry in &map.0 {
                    let Some(rest) = after(rest, &entry.key) else {
                        continue;
                    };
                    match self.find(&entry.value, rest, &join(path, &entry.key)) {
                        Ok(found) => return Ok(found),
                        Err(other) => near = other,
                    }
                }
                if let Some(entry) = gone_entries(node).find(|entry| entry.key == rest) {
                    return Ok(Found::Gone(&entry.value, join(path, &entry.key)));
                }
                if near.is_empty() {
                    let wanted = rest.split(['.', '[']).next().unwrap_or(rest);
                    let keys = || map.0.iter().map(|entry| entry.key.as_str());
                    near = match suggest::closest(wanted, keys()) {
                        Some(key) => vec![join(path, key)],
                        None => keys().map(|key| join(path, key)).collect(),
                    };
                }
            }
            Data::Seq(items) => {
                let digits = rest.trim_start_matches('[');
                let end = digits
                    .find(|c: char| !c.is_ascii_digit())
                    .unwrap_or(digits.len());
                let item = digits[..end]
                    .parse::<usize>()
                    .ok()
                    .and_then(|index| Some((index, items.get(index)?)));
                match item {
                    Some((index, item)) => {
                        let rest = digits[end..]
                            .trim_start_matches(']')
                            .trim_start_matches('.');
                        return self.find(item, rest, &format!("{path}[{index}]"));
                    }
                    None => {
                        near = (0..items.len())
                            .map(|index| format!("{path}[{index}]"))
                            .collect()
                    }
                }
            }
            _ => near.push(path.to_owned()),
        }
        Err(near)
    }

    fn values(&self, node: &Node, path: &str, values: &mut Vec<ExplainedValue>) {
        match &node.data {
            Data::Map(map) if !map.0.is_empty() => {
                for entry in &map.0 {
                    self.values(&entry.value, &join(path, &entry.key), values);
                }
                values.extend(
                    gone_entries(node).map(|entry| self.gone(&entry.value, join(path, &entry.key))),
                );
            }
            Data::Seq(items)
                if items
                    .iter()
                    .any(|item| item.as_map().is_some() || item.origin != node.origin) =>
            {
                for (index, item) in items.iter().enumerate() {
                    self.values(item, &format!("{path}[{index}]"), values);
                }
            }
            _ => {
                let name = path.rsplit('.').next().unwrap_or(path);
                let mut steps = Vec::new();
                self.steps(node, name, &mut steps);
                values.push(ExplainedValue {
                    path: path.to_owned(),
                    value: Some(node.to_json()),
                    steps,
                });
            }
        }
    }

    fn gone(&self, node: &Node, path: String) -> ExplainedValue {
        let mut steps = Vec::new();
        if let Some(below) = &node.earlier {
            self.steps(below, path.rsplit('.').next().unwrap_or(&path), &mut steps);
        }
        steps.push(Step {
            role: Role::Reset,
            place: self.place(node.span),
            value: None,
            variables: Vec::new(),
        });
        ExplainedValue {
            path,
            value: None,
            steps,
        }
    }

    fn steps(&self, node: &Node, name: &str, steps: &mut Vec<Step>) {
        if let Some(below) = &node.earlier {
            self.steps(below, name, steps);
        }
        if node.tag == Some(Tag::Reset) && node.as_map().is_some() {
            return;
        }
        let role = match node.origin {
            ValueOrigin::File => Role::Base,
            ValueOrigin::Override => Role::Override,
            ValueOrigin::Include => Role::Include,
            ValueOrigin::Extends => Role::Extends,
            ValueOrigin::EnvFile => Role::EnvFile,
            ValueOrigin::LabelFile => Role::LabelFile,
            ValueOrigin::Variable => Role::Variable,
            ValueOrigin::Default => Role::Default,
        };
        let mut variables: Vec<Variable> = Vec::new();
        if node.origin == ValueOrigin::Variable {
            variables.push(self.variable(name, node.as_str().map(str::to_owned), None));
        }
        let spans = std::iter::once(node.span)
            .chain(node.as_seq().into_iter().flatten().map(|item| item.span));
        for used in spans.flat_map(|span| self.variables.of(span)) {
            let variable = self.variable(&used.name, used.value.clone(), used.default.clone());
            if !variables.contains(&variable) && node.origin != ValueOrigin::Default {
                variables.push(variable);
            }
        }
        steps.push(Step {
            role,
            place: self.place(node.span),
            value: Some(node.to_json()),
            variables,
        });
    }

    fn variable(&self, name: &str, value: Option<String>, default: Option<String>) -> Variable {
        let winner = value
            .as_ref()
            .and_then(|value| self.variables.place(name, value));
        let place = winner.map(|place| self.place(place));
        // Included files may read the same env file again.
        let mut overruled: Vec<(String, String)> = Vec::new();
        for (value, other) in self.variables.settings(name) {
            let other = (value.clone(), self.place(*other));
            if Some(&other.1) != place.as_ref() && !overruled.contains(&other) {
                overruled.push(other);
            }
        }
        Variable {
            name: name.to_owned(),
            value,
            place,
            default,
            overruled,
        }
    }

    fn place(&self, span: Span) -> String {
        let Some(file) = self.files.get(span.file as usize) else {
            return String::new();
        };
        let (line, column) = file.position(span.start as usize);
        format!("{}:{line}:{column}", file.name)
    }
}

enum Found<'a> {
    Value(&'a Node, String),
    Gone(&'a Node, String),
}

/// Entries that a later file took out of a mapping.
fn gone_entries(node: &Node) -> impl Iterator<Item = &Entry> {
    let record = node
        .earlier
        .as_deref()
        .filter(|earlier| earlier.tag == Some(Tag::Reset));
    record
        .and_then(Node::as_map)
        .into_iter()
        .flat_map(|map| &map.0)
}

fn after<'a>(rest: &'a str, key: &str) -> Option<&'a str> {
    let rest = rest.strip_prefix(key)?;
    match rest.chars().next() {
        None | Some('[') => Some(rest),
        Some('.') => Some(&rest[1..]),
        Some(_) => None,
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// The explanation for people, one block for each value.
pub fn render(explanation: &Explanation) -> String {
    let mut text = String::new();
    for value in &explanation.values {
        let shown = value
            .value
            .as_ref()
            .map_or_else(|| "(removed)".to_owned(), Value::to_string);
        text.push_str(&format!("{} = {shown}\n", value.path));
        let width = value
            .steps
            .iter()
            .map(|step| step.place.chars().count())
            .max()
            .unwrap_or_default();
        for step in &value.steps {
            let said = step
                .value
                .as_ref()
                .map_or_else(|| "!reset".to_owned(), Value::to_string);
            text.push_str(&format!(
                "  {:<10} {:<width$}  {said}\n",
                step.role.name(),
                step.place
            ));
            for variable in &step.variables {
                let from = match (&variable.value, &variable.place) {
                    (None, _) => "is not set".to_owned(),
                    (Some(value), Some(place)) if value.is_empty() => {
                        format!("is empty, set in {place}")
                    }
                    (Some(value), Some(place)) => format!("= {value}, set in {place}"),
                    (Some(value), None) => format!("= {value}, from the environment"),
                };
                let default = variable
                    .default
                    .as_ref()
                    .map(|default| format!(", so its default is taken: {default}"));
                let default = default.unwrap_or_default();
                text.push_str(&format!(
                    "  {:<10} ${} {from}{default}\n",
                    "", variable.name
                ));
                for (value, place) in &variable.overruled {
                    text.push_str(&format!("  {:<10} not {value}, set in {place}\n", ""));
                }
            }
        }
    }
    text
}

/// The same for programs: `[{path, value, steps: [{role, place, value, variables: [{name, value, place, …}]}]}]`.
pub fn to_json(explanation: &Explanation) -> Value {
    let variable = |variable: &Variable| {
        let overruled = variable.overruled.iter();
        let overruled =
            overruled.map(|(value, place)| serde_json::json!({ "value": value, "place": place }));
        serde_json::json!({
            "name": variable.name, "value": variable.value, "place": variable.place, "default": variable.default,
            "overruled": overruled.collect::<Vec<_>>(),
        })
    };
    let step = |step: &Step| {
        serde_json::json!({
            "role": step.role.name(), "place": step.place, "value": step.value,
            "variables": step.variables.iter().map(variable).collect::<Vec<_>>(),
        })
    };
    let one = |value: &ExplainedValue| {
        serde_json::json!({
            "path": value.path, "value": value.value, "steps": value.steps.iter().map(step).collect::<Vec<_>>(),
        })
    };
    explanation.values.iter().map(one).collect()
}
