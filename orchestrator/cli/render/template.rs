//! The part of Go's templates that scripts give to `--format`: fields, `range`, `if`, `with`, variables and docker's functions, over
//! JSON values. What is not known is an error when the command line is read.

mod functions;
mod parse;

use serde_json::Value;

use functions::Function;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template {
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Text(String),
    Print(Pipe),
    /// `$x := …`, which prints nothing.
    Set(String, Pipe),
    If {
        condition: Pipe,
        then: Vec<Self>,
        otherwise: Vec<Self>,
    },
    With {
        value: Pipe,
        body: Vec<Self>,
        otherwise: Vec<Self>,
    },
    Range {
        key: Option<String>,
        item: Option<String>,
        over: Pipe,
        body: Vec<Self>,
        otherwise: Vec<Self>,
    },
}

/// Commands joined by `|`: the result of one is the last argument of the next.
#[derive(Debug, Clone, PartialEq)]
struct Pipe(Vec<Command>);

#[derive(Debug, Clone, PartialEq)]
enum Command {
    Value(Operand),
    Call(Function, Vec<Operand>),
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Literal(Value),
    /// What a path of fields begins at, and the fields.
    Path(Base, Vec<String>),
}

#[derive(Debug, Clone, PartialEq)]
enum Base {
    Dot,
    Variable(String),
    Pipe(Box<Pipe>),
}

/// `None`: there is no such field.
type Found = Option<Value>;
type Result<T> = std::result::Result<T, String>;

struct Scope {
    variables: Vec<(String, Value)>,
}

impl std::str::FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self> {
        Ok(Self {
            nodes: parse::nodes(text)?,
        })
    }
}

impl Template {
    pub(crate) fn render(&self, value: &Value) -> Result<String> {
        let mut scope = Scope {
            variables: vec![("$".to_owned(), value.clone())],
        };
        let mut out = String::new();
        render(&self.nodes, value, &mut scope, &mut out)?;
        Ok(out)
    }

    /// The heading of a column: the field that it shows.
    pub(crate) fn heading(&self) -> String {
        let fields = self.nodes.iter().filter_map(|node| match node {
            Node::Print(Pipe(commands)) => commands.iter().find_map(last_field),
            _ => None,
        });
        fields.map(functions::heading).collect::<Vec<_>>().join(" ")
    }
}

fn last_field(command: &Command) -> Option<&str> {
    let operands = match command {
        Command::Value(operand) => std::slice::from_ref(operand),
        Command::Call(_, operands) => operands,
    };
    operands.iter().find_map(|operand| match operand {
        Operand::Path(_, fields) => fields.last().map(String::as_str),
        Operand::Literal(_) => None,
    })
}

fn render(nodes: &[Node], dot: &Value, scope: &mut Scope, out: &mut String) -> Result<()> {
    let outer = scope.variables.len();
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Print(pipe) => match scope.pipe(pipe, dot)? {
                Some(value) => out.push_str(&functions::text(&value)),
                None => return Err(missing(pipe, dot)),
            },
            Node::Set(name, pipe) => {
                let value = scope.pipe(pipe, dot)?.unwrap_or(Value::Null);
                scope.variables.push((name.clone(), value));
            }
            Node::If {
                condition,
                then,
                otherwise,
            } => {
                let holds = scope
                    .pipe(condition, dot)?
                    .is_some_and(|value| functions::truth(&value));
                render(if holds { then } else { otherwise }, dot, scope, out)?;
            }
            Node::With {
                value,
                body,
                otherwise,
            } => match scope.pipe(value, dot)?.filter(functions::truth) {
                Some(value) => render(body, &value, scope, out)?,
                None => render(otherwise, dot, scope, out)?,
            },
            Node::Range {
                key,
                item,
                over,
                body,
                otherwise,
            } => {
                let entries = entries(scope.pipe(over, dot)?.unwrap_or(Value::Null))?;
                if entries.is_empty() {
                    render(otherwise, dot, scope, out)?;
                }
                for (index, value) in entries {
                    let named = [(key, index), (item, value.clone())];
                    scope.variables.extend(
                        named
                            .into_iter()
                            .filter_map(|(name, value)| Some((name.clone()?, value))),
                    );
                    render(body, &value, scope, out)?;
                    scope.variables.truncate(outer);
                }
            }
        }
    }
    scope.variables.truncate(outer);
    Ok(())
}

/// What `range` goes over, with index or key.
fn entries(value: Value) -> Result<Vec<(Value, Value)>> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => Ok(items
            .into_iter()
            .enumerate()
            .map(|(at, item)| (at.into(), item))
            .collect()),
        Value::Object(fields) => Ok(fields
            .into_iter()
            .map(|(key, value)| (key.into(), value))
            .collect()),
        other => Err(format!("range cannot go over {}", functions::text(&other))),
    }
}

impl Scope {
    fn pipe(&self, Pipe(commands): &Pipe, dot: &Value) -> Result<Found> {
        let mut passed: Option<Found> = None;
        for command in commands {
            let result = match command {
                Command::Value(operand) => self.operand(operand, dot)?,
                Command::Call(function, operands) => {
                    let mut arguments = Vec::new();
                    for operand in operands {
                        arguments.push(self.operand(operand, dot)?.unwrap_or(Value::Null));
                    }
                    arguments.extend(passed.take().map(|value| value.unwrap_or(Value::Null)));
                    Some(function.call(&arguments)?)
                }
            };
            passed = Some(result);
        }
        Ok(passed.flatten())
    }

    fn operand(&self, operand: &Operand, dot: &Value) -> Result<Found> {
        match operand {
            Operand::Literal(value) => Ok(Some(value.clone())),
            Operand::Path(base, fields) => {
                let start = match base {
                    Base::Dot => Some(dot.clone()),
                    Base::Variable(name) => {
                        let found = self.variables.iter().rev().find(|(known, _)| known == name);
                        Some(
                            found
                                .ok_or_else(|| format!("variable {name} is not set"))?
                                .1
                                .clone(),
                        )
                    }
                    Base::Pipe(pipe) => self.pipe(pipe, dot)?,
                };
                Ok(start.and_then(|start| {
                    fields
                        .iter()
                        .try_fold(start, |value, name| field(&value, name))
                }))
            }
        }
    }
}

/// By the name as it is in the output of `--format json`, or as Go spells it (`ID` for `Id`).
fn field(value: &Value, name: &str) -> Found {
    let fields = value.as_object()?;
    let same =
        |(key, value): (&String, &Value)| key.eq_ignore_ascii_case(name).then(|| value.clone());
    fields
        .get(name)
        .cloned()
        .or_else(|| fields.iter().find_map(same))
}

fn missing(Pipe(commands): &Pipe, dot: &Value) -> String {
    let name = commands.iter().find_map(last_field).unwrap_or_default();
    let known: Vec<&str> = dot
        .as_object()
        .into_iter()
        .flat_map(|fields| fields.keys().map(String::as_str))
        .collect();
    format!(
        "there is no field {name}; the fields here are {}",
        known.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rendered(template: &str, value: &Value) -> Result<String> {
        template.parse::<Template>()?.render(value)
    }

    #[test]
    fn scripts_templates_give_what_go_gives() {
        let value = json!({
            "Id": "abc", "Name": "/web", "State": { "Running": true, "ExitCode": 3, "Health": null },
            "Config": { "Labels": { "a.b": "c", "x": "y" }, "Cmd": ["sh", "-c", "a b"], "Tty": false },
            "Ports": [{ "HostPort": "80" }, { "HostPort": "81" }], "Networks": { "n": { "IPAddress": "1.2.3.4" } },
        });
        for (template, wanted) in [
            ("{{.ID}} {{.Name}}", "abc /web"),
            ("{{json .Config.Cmd}}", r#"["sh","-c","a b"]"#),
            (
                "{{.Config.Cmd}} {{.Config.Labels}}",
                "[sh -c a b] map[a.b:c x:y]",
            ),
            (
                "{{ index .Config.Labels \"a.b\" }}{{index .Config.Labels `no`}}",
                "c",
            ),
            ("{{range .Ports}}{{.HostPort}};{{end}}", "80;81;"),
            (
                "{{range $k, $v := .Networks}}{{$k}}={{$v.IPAddress}}{{end}}",
                "n=1.2.3.4",
            ),
            (
                "{{range $i, $p := .Ports}}{{if $i}},{{end}}{{$p.HostPort}}{{end}}",
                "80,81",
            ),
            (
                "{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}",
                "none",
            ),
            (
                "{{if eq .State.ExitCode 0}}good{{else if gt .State.ExitCode 2}}bad{{else}}odd{{end}}",
                "bad",
            ),
            (
                "{{if and .State.Running (not .Config.Tty)}}yes{{end}}",
                "yes",
            ),
            (
                "{{with .Config}}{{join .Cmd \"|\"}} {{$.Id}}{{end}}",
                "sh|-c|a b abc",
            ),
            ("{{.Name | upper | printf \"%s-%d\" }}", "%!error"),
            (
                "{{printf \"%s:%d:%v:%q\" .Id .State.ExitCode .State.Running .Name}}",
                "abc:3:true:\"/web\"",
            ),
            ("{{(index .Ports 1).HostPort}} {{len .Ports}}", "81 2"),
            ("a {{- /* nothing */ -}} b{{println}}", "ab\n"),
            ("{{$x := .State}}{{$x.ExitCode}}", "3"),
        ] {
            if wanted == "%!error" {
                assert!(rendered(template, &value).is_err(), "{template}");
            } else {
                assert_eq!(
                    rendered(template, &value).as_deref(),
                    Ok(wanted),
                    "{template}"
                );
            }
        }
    }

    #[test]
    fn mistakes_are_named() {
        let value = json!({ "Id": "abc" });
        let told = |template: &str| rendered(template, &value).unwrap_err();
        assert_eq!(
            told("{{.Nane}}"),
            "there is no field Nane; the fields here are Id"
        );
        assert!(told("{{.Id").contains("}}"));
        assert!(told("{{if .Id}}x").contains("end"));
        assert!(told("{{end}}").contains("end"));
        assert!(told("{{shout .Id}}").contains("shout"));
        assert!(told("{{$x}}").contains("$x"));
        assert!(told("{{}}").contains("nothing"));
    }
}
