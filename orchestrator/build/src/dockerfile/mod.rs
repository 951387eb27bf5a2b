//! Dockerfile text → typed instructions with places. Pure: no files, no variables, no images.
//!
//! All problems are reported at once. The syntax is that of BuildKit's stable frontend; an external frontend named by
//! `# syntax=` is never loaded.

mod chmod;
mod command;
mod copy;
mod instruction;
mod lines;
mod metadata;
mod mount;
mod words;

use crate::diagnostic::{Diagnostic, Severity, SourceFile, Span, Spanned, closest};

pub(crate) use chmod::Chmod;
pub use instruction::{
    ArgPair, Command, Copy, CopySource, FileOwner, Health, Instruction, Kind, Mount, MountKind,
    Pair, Run, SecretMount, Sharing, SshMount, Stage,
};
pub use lines::Heredoc;
use lines::LogicalLine;

#[derive(Debug, Clone)]
pub struct Dockerfile {
    /// ARGs before the first FROM.
    pub args: Vec<ArgPair>,
    /// Never empty.
    pub stages: Vec<Stage>,
    pub escape: char,
    /// `# check=…`
    pub check: Option<Spanned<String>>,
    pub warnings: Vec<Diagnostic>,
}

const INSTRUCTIONS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Parses a whole Dockerfile. `Err` holds every problem, errors and warnings, in the order of the text.
pub fn parse(source: &SourceFile) -> Result<Dockerfile, Vec<Diagnostic>> {
    let mut lines = lines::split(source);
    let escape = lines.escape();
    let mut problems = std::mem::take(&mut lines.problems);
    if let Some(syntax) = &lines.syntax
        && !is_builtin_frontend(&syntax.value)
    {
        problems.push(
            Diagnostic::error(syntax.span, format!("the frontend {} cannot be loaded", syntax.value))
                .hint("the Dockerfile is read by hoist itself: docker/dockerfile, of any version, is known"),
        );
    }
    let check = lines.check.take();
    let mut file = Dockerfile {
        args: Vec::new(),
        stages: Vec::new(),
        escape,
        check,
        warnings: Vec::new(),
    };
    let mut before_from_reported = false;
    for line in &lines.lines {
        let parser = Parser { line, escape };
        match parser.line_kind() {
            Err(problem) => problems.push(problem),
            Ok(Line::From(stage)) => file.stages.push(stage),
            Ok(Line::Instruction(instruction)) => {
                match (file.stages.last_mut(), instruction.kind) {
                    (None, Kind::Arg(pairs)) => file.args.extend(pairs),
                    (None, _) => {
                        if !before_from_reported {
                            let message = "no build stage in the current context: the first instruction must be FROM";
                            problems.push(
                                Diagnostic::error(line.span, message)
                                    .hint("only ARG and comments may stand before FROM"),
                            );
                        }
                        before_from_reported = true;
                    }
                    (Some(stage), kind) => stage.instructions.push(Instruction {
                        kind,
                        ..instruction
                    }),
                }
            }
        }
    }
    if file.stages.is_empty()
        && !problems
            .iter()
            .any(|problem| problem.severity == Severity::Error)
    {
        problems.push(Diagnostic::error(
            Span::new(0, 0),
            "the Dockerfile has no FROM",
        ));
    }
    problems.sort_by_key(|problem| problem.span.start);
    if problems
        .iter()
        .any(|problem| problem.severity == Severity::Error)
    {
        return Err(problems);
    }
    file.warnings = problems;
    Ok(file)
}

/// Parses the text of an ONBUILD trigger; every place is that of the FROM which makes it fire.
pub(crate) fn parse_trigger(
    text: &str,
    span: Span,
    escape: char,
) -> Result<Instruction, Diagnostic> {
    // Triggers with heredocs keep their bodies on lines of their own.
    let source = SourceFile {
        name: String::new(),
        text: text.to_owned(),
    };
    let mut lines = lines::split(&source);
    let in_trigger = |problem: Diagnostic| Diagnostic {
        span,
        message: format!(
            "in the trigger `ONBUILD {text}` of the base image: {}",
            problem.message
        ),
        ..problem
    };
    if let Some(position) = lines
        .problems
        .iter()
        .position(|problem| problem.severity == Severity::Error)
    {
        return Err(in_trigger(lines.problems.swap_remove(position)));
    }
    let Some(line) = lines.lines.pop().filter(|_| lines.lines.is_empty()) else {
        return Err(in_trigger(Diagnostic::error(
            span,
            "it is not one instruction",
        )));
    };
    let line = LogicalLine::synthetic(line.text, line.heredocs, span);
    match (Parser {
        line: &line,
        escape,
    })
    .line_kind()
    .map_err(in_trigger)?
    {
        Line::Instruction(instruction) => Ok(Instruction {
            span,
            ..instruction
        }),
        Line::From(_) => Err(in_trigger(Diagnostic::error(span, "FROM is not allowed"))),
    }
}

/// BuildKit's own, of any version: what they can is built in.
fn is_builtin_frontend(syntax: &str) -> bool {
    let name = syntax.split_whitespace().next().unwrap_or_default();
    let image = name.split_once('@').map_or(name, |(image, _)| image);
    let image = image.strip_prefix("docker.io/").unwrap_or(image);
    let repository = image
        .split_once(':')
        .map_or(image, |(repository, _)| repository);
    matches!(
        repository,
        "docker/dockerfile" | "docker/dockerfile-upstream"
    )
}

enum Line {
    From(Stage),
    Instruction(Instruction),
}

/// One logical line on its way to an instruction.
struct Parser<'a> {
    line: &'a LogicalLine,
    escape: char,
}

impl Parser<'_> {
    fn line_kind(&self) -> Result<Line, Diagnostic> {
        let text = &self.line.text;
        let name_end = text.find(char::is_whitespace).unwrap_or(text.len());
        let name = text[..name_end].to_uppercase();
        if !INSTRUCTIONS.contains(&name.as_str()) {
            return Err(self.unknown_instruction(&text[..name_end], name_end));
        }
        if name == "FROM" {
            return self.from(name_end).map(Line::From);
        }
        let kind = self.kind(&name, name_end)?;
        Ok(Line::Instruction(Instruction {
            kind,
            text: one_line(text),
            span: self.line.span,
        }))
    }

    fn kind(&self, name: &str, at: usize) -> Result<Kind, Diagnostic> {
        match name {
            "ADD" => self.copy(at, name).map(Kind::Add),
            "COPY" => self.copy(at, name).map(Kind::Copy),
            "ARG" => self.arg(at),
            "CMD" => self.command(at, name).map(Kind::Cmd),
            "ENTRYPOINT" => self.command(at, name).map(Kind::Entrypoint),
            "ENV" => self.pairs(at, name).map(Kind::Env),
            "LABEL" => self.pairs(at, name).map(Kind::Label),
            "EXPOSE" => self.words_of(at, name).map(Kind::Expose),
            "HEALTHCHECK" => self.healthcheck(at),
            "MAINTAINER" => Ok(Kind::Maintainer(self.rest_of(at, name)?.value)),
            "ONBUILD" => self.onbuild(at),
            "RUN" => self.run(at).map(Kind::Run),
            "SHELL" => self.shell(at),
            "STOPSIGNAL" => self.rest_of(at, name).map(Kind::StopSignal),
            "USER" => self.rest_of(at, name).map(Kind::User),
            "VOLUME" => self.volume(at),
            _ => self.rest_of(at, name).map(Kind::Workdir),
        }
    }

    fn unknown_instruction(&self, name: &str, end: usize) -> Diagnostic {
        let problem = Diagnostic::error(
            self.line.place(0, end),
            format!("unknown instruction: {name}"),
        )
        .label("not an instruction");
        match closest(name, INSTRUCTIONS) {
            Some(known) => problem.hint(format!("did you mean {known}?")),
            None if name.starts_with("<<") || name.ends_with("&&") => problem,
            None => {
                problem.hint("does the line before it lack a continuation character at its end?")
            }
        }
    }

    /// `FROM [--platform=P] image [AS name]`
    fn from(&self, at: usize) -> Result<Stage, Diagnostic> {
        let (flags, at) = self.flags(at, "FROM", &["platform"])?;
        let words = words::plain_words(self.line, at);
        let spanned = |word: &words::Word| Spanned {
            value: word.text.clone(),
            span: self.line.place(word.start, word.end),
        };
        let (base, name) = match words.as_slice() {
            [base] => (base, None),
            [base, keyword, name] if keyword.text.eq_ignore_ascii_case("as") => (base, Some(name)),
            _ => {
                return Err(Diagnostic::error(
                    self.line.span,
                    "FROM takes an image, and a stage name after AS",
                )
                .hint("FROM image[:tag] [AS name]"));
            }
        };
        let name = match name {
            None => None,
            Some(word) => {
                let mut name = spanned(word);
                name.value = name.value.to_lowercase();
                if !is_stage_name(&name.value) {
                    let message = format!("invalid name for a build stage: {}", word.text);
                    return Err(Diagnostic::error(name.span, message).hint(
                        "it starts with a letter, and has letters, digits, '-', '_' and '.'",
                    ));
                }
                Some(name)
            }
        };
        Ok(Stage {
            base: Spanned {
                value: unquoted(&base.text),
                ..spanned(base)
            },
            platform: flags.value("platform")?,
            name,
            text: one_line(&self.line.text),
            span: self.line.span,
            instructions: Vec::new(),
        })
    }

    /// Reads the flags of an instruction; a flag that it does not have is an error.
    fn flags(
        &self,
        at: usize,
        instruction: &str,
        known: &[&str],
    ) -> Result<(Flags, usize), Diagnostic> {
        let (flags, at) = words::flags(self.line, at, self.escape);
        let mut found = Flags::default();
        for flag in flags {
            let span = self.line.place(flag.start, flag.end);
            if !known.contains(&flag.name.as_str()) {
                let problem =
                    Diagnostic::error(span, format!("{instruction} has no flag --{}", flag.name));
                return Err(match closest(&flag.name, known.iter().copied()) {
                    Some(name) => problem.hint(format!("did you mean --{name}?")),
                    None => problem,
                });
            }
            found.0.push((flag.name, flag.value, span));
        }
        Ok((found, at))
    }

    /// Everything after the name, which must be there.
    fn rest_of(&self, at: usize, instruction: &str) -> Result<Spanned<String>, Diagnostic> {
        let text = &self.line.text;
        let rest = text[at..].trim();
        if rest.is_empty() {
            return Err(self.missing_argument(instruction));
        }
        let start = at + text[at..].len() - text[at..].trim_start().len();
        Ok(Spanned {
            value: rest.to_owned(),
            span: self.line.place(start, start + rest.len()),
        })
    }

    fn words_of(&self, at: usize, instruction: &str) -> Result<Vec<Spanned<String>>, Diagnostic> {
        let words: Vec<_> = words::plain_words(self.line, at)
            .into_iter()
            .map(|word| Spanned {
                span: self.line.place(word.start, word.end),
                value: word.text,
            })
            .collect();
        if words.is_empty() {
            Err(self.missing_argument(instruction))
        } else {
            Ok(words)
        }
    }

    fn missing_argument(&self, instruction: &str) -> Diagnostic {
        Diagnostic::error(self.line.span, format!("{instruction} needs an argument"))
    }
}

/// The flags of one instruction, in order.
#[derive(Debug, Default)]
struct Flags(Vec<(String, Option<String>, Span)>);

impl Flags {
    /// The value of a flag that may be given once.
    fn value(&self, name: &str) -> Result<Option<Spanned<String>>, Diagnostic> {
        let mut given = self.0.iter().filter(|(flag, ..)| flag == name);
        let Some((_, value, span)) = given.next() else {
            return Ok(None);
        };
        if let Some((_, _, again)) = given.next() {
            return Err(Diagnostic::error(
                *again,
                format!("--{name} is given twice"),
            ));
        }
        match value {
            Some(value) if !value.is_empty() => Ok(Some(Spanned {
                value: value.clone(),
                span: *span,
            })),
            _ => Err(Diagnostic::error(
                *span,
                format!("--{name} needs a value: --{name}=…"),
            )),
        }
    }

    fn values(&self, name: &str) -> impl Iterator<Item = Result<Spanned<String>, Diagnostic>> {
        self.0.iter().filter(move |(flag, ..)| flag == name).map(
            |(name, value, span)| match value {
                Some(value) => Ok(Spanned {
                    value: value.clone(),
                    span: *span,
                }),
                None => Err(Diagnostic::error(
                    *span,
                    format!("--{name} needs a value: --{name}=…"),
                )),
            },
        )
    }

    fn switch(&self, name: &str) -> Result<bool, Diagnostic> {
        match self.0.iter().find(|(flag, ..)| flag == name) {
            None => Ok(false),
            Some((_, None, _)) => Ok(true),
            Some((_, Some(value), span)) => match value.as_str() {
                "true" | "1" => Ok(true),
                "false" | "0" => Ok(false),
                other => Err(Diagnostic::error(
                    *span,
                    format!("--{name} is true or false, not {other}"),
                )),
            },
        }
    }

    fn first(&self, name: &str) -> Option<Span> {
        self.0
            .iter()
            .find(|(flag, ..)| flag == name)
            .map(|(_, _, span)| *span)
    }
}

fn is_stage_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.'))
}

fn unquoted(text: &str) -> String {
    let inner = |quote: char| {
        text.strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote))
    };
    inner('"')
        .or_else(|| inner('\''))
        .unwrap_or(text)
        .to_owned()
}

/// Control characters would break a list of steps.
fn one_line(text: &str) -> String {
    text.trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
