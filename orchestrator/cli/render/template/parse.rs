//! Text to nodes.

use serde_json::Value;

use super::{Base, Command, Function, Node, Operand, Pipe, Result};

/// How deep blocks and parentheses may be nested.
const DEPTH: usize = 50;

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    Action(String),
}

pub(super) fn nodes(text: &str) -> Result<Vec<Node>> {
    let parts = parts(text)?;
    let mut rest = parts.as_slice();
    let (nodes, end) = block(&mut rest, 0)?;
    if end.is_empty() {
        Ok(nodes)
    } else {
        Err(format!("{{{{{end}}}}} closes nothing"))
    }
}

/// Text and what stands between braces, with `{{-` and `-}}` carried out.
fn parts(text: &str) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    let mut rest = text;
    let mut trim = false;
    while !rest.is_empty() {
        let (before, action) = rest
            .split_once("{{")
            .map_or((rest, None), |(before, action)| (before, Some(action)));
        let mut before = if trim { before.trim_start() } else { before };
        let Some(action) = action else {
            parts.push(Part::Text(before.to_owned()));
            break;
        };
        let action = match action.strip_prefix('-') {
            Some(action) if action.starts_with(char::is_whitespace) => {
                before = before.trim_end();
                action
            }
            _ => action,
        };
        parts.push(Part::Text(before.to_owned()));
        let end = closing(action).ok_or("an action has no }}")?;
        let mut inner = &action[..end];
        rest = &action[end + 2..];
        trim = inner.ends_with(" -");
        if trim {
            inner = &inner[..inner.len() - 2];
        }
        let inner = inner.trim();
        if !(inner.starts_with("/*") && inner.ends_with("*/")) {
            parts.push(Part::Action(inner.to_owned()));
        }
    }
    Ok(parts)
}

/// Where the `}}` outside of strings is.
fn closing(action: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, letter) in action.char_indices() {
        match quote {
            Some('"') if letter == '\\' && !escaped => {
                escaped = true;
                continue;
            }
            Some(open) if letter == open && !escaped => quote = None,
            None if letter == '"' || letter == '`' => quote = Some(letter),
            None if action[at..].starts_with("}}") => return Some(at),
            _ => {}
        }
        escaped = false;
    }
    None
}

/// Nodes up to the action that ends the block (`end`, `else …`; nothing at the text's end).
fn block(parts: &mut &[Part], depth: usize) -> Result<(Vec<Node>, String)> {
    if depth > DEPTH {
        return Err("blocks are nested too deep".to_owned());
    }
    let mut nodes = Vec::new();
    while let Some((part, rest)) = parts.split_first() {
        *parts = rest;
        let action = match part {
            Part::Text(text) => {
                nodes.push(Node::Text(text.clone()));
                continue;
            }
            Part::Action(action) => action,
        };
        let (word, argument) = action
            .split_once(char::is_whitespace)
            .unwrap_or((action, ""));
        match word {
            "end" | "else" => return Ok((nodes, action.clone())),
            "if" | "with" | "range" => nodes.push(control(word, argument, parts, depth)?),
            _ => match action.split_once(":=").filter(|_| action.starts_with('$')) {
                Some((name, value)) => nodes.push(Node::Set(name.trim().to_owned(), pipe(value)?)),
                None => nodes.push(Node::Print(pipe(action)?)),
            },
        }
    }
    Ok((nodes, String::new()))
}

fn control(word: &str, argument: &str, parts: &mut &[Part], depth: usize) -> Result<Node> {
    let (body, end) = block(parts, depth + 1)?;
    let otherwise = match end.strip_prefix("else").map(str::trim) {
        Some("") => {
            let (otherwise, end) = block(parts, depth + 1)?;
            closed(word, &end)?;
            otherwise
        }
        Some(more) => {
            let (next, argument) = more.split_once(char::is_whitespace).unwrap_or((more, ""));
            vec![control(next, argument, parts, depth + 1)?]
        }
        None => {
            closed(word, &end)?;
            Vec::new()
        }
    };
    match word {
        "if" => Ok(Node::If {
            condition: pipe(argument)?,
            then: body,
            otherwise,
        }),
        "with" => Ok(Node::With {
            value: pipe(argument)?,
            body,
            otherwise,
        }),
        "range" => {
            let (names, over) = argument.split_once(":=").unwrap_or(("", argument));
            let mut names: Vec<String> = names
                .split(',')
                .map(|name| name.trim().to_owned())
                .filter(|name| !name.is_empty())
                .collect();
            let item = names.pop();
            Ok(Node::Range {
                key: names.pop(),
                item,
                over: pipe(over)?,
                body,
                otherwise,
            })
        }
        other => Err(format!("else cannot be followed by {other}")),
    }
}

fn closed(word: &str, end: &str) -> Result<()> {
    if end == "end" {
        Ok(())
    } else {
        Err(format!("{{{{{word}}}}} has no {{{{end}}}}"))
    }
}

fn pipe(text: &str) -> Result<Pipe> {
    let tokens = tokens(text)?;
    let mut rest = tokens.as_slice();
    let pipe = commands(&mut rest, 0)?;
    match rest.first() {
        None => Ok(pipe),
        Some(_) => Err(format!(
            "a parenthesis is closed that was not opened: {text}"
        )),
    }
}

fn commands(tokens: &mut &[String], depth: usize) -> Result<Pipe> {
    if depth > DEPTH {
        return Err("parentheses are nested too deep".to_owned());
    }
    let mut commands = Vec::new();
    loop {
        commands.push(command(tokens, depth)?);
        match tokens.split_first() {
            Some((token, rest)) if token == "|" => *tokens = rest,
            _ => return Ok(Pipe(commands)),
        }
    }
}

fn command(tokens: &mut &[String], depth: usize) -> Result<Command> {
    let Some((first, rest)) = tokens.split_first() else {
        return Err("an action says nothing".to_owned());
    };
    let function =
        if first.starts_with(|letter: char| letter.is_ascii_alphabetic()) && !is_constant(first) {
            *tokens = rest;
            Some(Function::named(first)?)
        } else {
            None
        };
    let mut operands = Vec::new();
    while let Some(token) = tokens
        .first()
        .filter(|token| !matches!(token.as_str(), "|" | ")"))
    {
        let token = token.clone();
        *tokens = &tokens[1..];
        operands.push(operand(&token, tokens, depth)?);
    }
    match function {
        Some(function) => Ok(Command::Call(function, operands)),
        None if operands.len() == 1 => Ok(Command::Value(operands.remove(0))),
        None => {
            Err("a value cannot be called; functions stand in front of their arguments".to_owned())
        }
    }
}

fn is_constant(token: &str) -> bool {
    matches!(token, "true" | "false" | "nil")
}

fn operand(token: &str, tokens: &mut &[String], depth: usize) -> Result<Operand> {
    let fields = |path: &str| {
        path.split('.')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect()
    };
    if token == "(" {
        let inner = commands(tokens, depth + 1)?;
        match tokens.split_first() {
            Some((token, rest)) if token == ")" => *tokens = rest,
            _ => return Err("a parenthesis is not closed".to_owned()),
        }
        // `(index .X 0).Name`: the path follows without a space, so the reader of tokens marks it.
        let path = match tokens.split_first() {
            Some((token, rest)) if token.starts_with(").") => {
                *tokens = rest;
                fields(&token[1..])
            }
            _ => Vec::new(),
        };
        return Ok(Operand::Path(Base::Pipe(Box::new(inner)), path));
    }
    if token.starts_with('.') {
        return Ok(Operand::Path(Base::Dot, fields(token)));
    }
    if token.starts_with('$') {
        let (name, path) = token.split_once('.').unwrap_or((token, ""));
        return Ok(Operand::Path(Base::Variable(name.to_owned()), fields(path)));
    }
    if let Some(raw) = token.strip_prefix('`') {
        return Ok(Operand::Literal(raw.trim_end_matches('`').into()));
    }
    match token {
        "nil" => Ok(Operand::Literal(Value::Null)),
        _ => serde_json::from_str(token)
            .map(Operand::Literal)
            .map_err(|_| format!("{token} is not understood here")),
    }
}

fn tokens(text: &str) -> Result<Vec<String>> {
    let mut tokens: Vec<String> = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '(' | ')' | '|' => 1,
            '"' | '`' => string(rest).ok_or_else(|| format!("a string is not closed: {rest}"))?,
            _ => rest
                .find(|letter: char| letter.is_whitespace() || "()|\"`".contains(letter))
                .unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at(length);
        tokens.push(token.to_owned());
        rest = after.trim_start();
        if token == ")" && after.starts_with('.') {
            let end =
                after.find(|letter: char| letter.is_whitespace() || "()|\"`".contains(letter));
            let (path, more) = after.split_at(end.unwrap_or(after.len()));
            tokens.push(format!("){path}"));
            rest = more.trim_start();
        }
    }
    Ok(tokens)
}

/// The length of the string that the text begins with.
fn string(text: &str) -> Option<usize> {
    let quote = text.chars().next()?;
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        if letter == quote && !escaped {
            return Some(at + 1);
        }
        escaped = quote == '"' && letter == '\\' && !escaped;
    }
    None
}
