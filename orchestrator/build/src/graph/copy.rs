//! COPY and ADD → steps.

use std::collections::BTreeMap;

use super::lower::{CurrentInstruction, Lowering, Stage, inside};
use super::step::CopyItem;
use super::{CopyStep, Op, Origin};
use crate::dockerfile::{Chmod, Copy, CopySource};
use crate::ignore::Ignore;
use crate::remote::Remote;
use crate::{Diagnostic, Span, Spanned};

impl Lowering<'_> {
    pub(super) fn copy(
        &mut self,
        current: CurrentInstruction<'_>,
        copy: &Copy,
        add: bool,
        stage: &mut Stage,
        done: &BTreeMap<usize, Stage>,
    ) -> Result<(), Diagnostic> {
        let escape = self.escape();
        let from = match &copy.from {
            Some(from) => self.origin(current, &from.value, from.span, done)?,
            None => Origin::Context,
        };
        let item = |source| copy_item(source, copy, add, stage, escape);
        let sources: Vec<CopyItem> = copy.sources.iter().map(item).collect::<Result<_, _>>()?;
        let destination = stage.expand(&copy.destination, escape)?;
        let into_folder =
            destination.ends_with('/') || destination.ends_with("/.") || destination == ".";
        if sources.len() > 1 && !into_folder {
            let message = "with several sources, the destination must be a folder";
            return Err(Diagnostic::error(copy.destination.span, message)
                .label(format!("this is {destination}"))
                .hint("end it with a /"));
        }
        let chmod = match &copy.chmod {
            Some(mode) => Some(Chmod::parse(&stage.expand(mode, escape)?, mode.span)?),
            None => None,
        };
        let chown = copy
            .chown
            .as_ref()
            .map(|owner| stage.expand(owner, escape))
            .transpose()?;
        let op = CopyStep {
            from,
            sources,
            destination: stage.absolute(&destination),
            into_folder,
            chown,
            chmod,
            unpack: add && copy.unpack != Some(false),
            unpack_remote: copy.unpack == Some(true),
            exclude: excluded(copy, current.instruction.span, stage, escape)?,
            parents: copy.parents,
        };
        if let Some(checksum) = &copy.checksum
            && !op
                .sources
                .iter()
                .all(|source| matches!(source, CopyItem::Remote(_)))
        {
            return Err(Diagnostic::error(
                checksum.span,
                "--checksum is for sources that are downloaded",
            )
            .hint("files of the context are compared by their contents anyway"));
        }
        let created_by = created_by_copy(&op, copy, &destination);
        // A linked layer is the same on whatever lies below it, unless names have to be looked up there.
        let independent = copy.link && op.chown.as_deref().is_none_or(is_numeric_owner);
        let op = if independent {
            Op::Link(op)
        } else {
            Op::Copy(op)
        };
        let parent = stage.tree.clone();
        self.push(current, parent, op, created_by, stage);
        Ok(())
    }
}

fn excluded(copy: &Copy, span: Span, stage: &Stage, escape: char) -> Result<Ignore, Diagnostic> {
    let expanded = copy
        .exclude
        .iter()
        .map(|pattern| stage.expand(pattern, escape));
    let patterns = expanded.collect::<Result<Vec<_>, _>>()?;
    Ignore::from_patterns(patterns.iter().map(String::as_str))
        .map_err(|error| Diagnostic::error(span, error.to_string()))
}

fn copy_item(
    source: &CopySource,
    copy: &Copy,
    add: bool,
    stage: &Stage,
    escape: char,
) -> Result<CopyItem, Diagnostic> {
    match source {
        CopySource::Path(path) => {
            path_or_remote(path, &stage.expand(path, escape)?, copy, add, stage, escape)
        }
        CopySource::Heredoc(heredoc) => {
            let body = Spanned {
                value: heredoc.content.clone(),
                span: heredoc.span,
            };
            let content = if heredoc.expand {
                stage.expand_body(&body)?
            } else {
                body.value
            };
            Ok(CopyItem::Inline {
                name: heredoc.name.clone(),
                content,
            })
        }
    }
}

fn path_or_remote(
    place: &Spanned<String>,
    text: &str,
    copy: &Copy,
    add: bool,
    stage: &Stage,
    escape: char,
) -> Result<CopyItem, Diagnostic> {
    if add && let Some(remote) = Remote::parse(text) {
        let checksum = copy
            .checksum
            .as_ref()
            .map(|checksum| stage.expand(checksum, escape))
            .transpose()?;
        let remote = remote.of_add(checksum, copy.keep_git_dir);
        return remote
            .map(CopyItem::Remote)
            .map_err(|error| Diagnostic::error(place.span, error.to_string()));
    }
    // The pivot of --parents is kept: cleaning would take it away.
    let path = match text.split_once("/./") {
        Some((base, rest)) if copy.parents => format!("{}/./{}", inside(base), inside(rest)),
        _ => inside(text),
    };
    Ok(CopyItem::Path(path))
}

fn is_numeric_owner(owner: &str) -> bool {
    owner
        .split(':')
        .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
}

fn created_by_copy(op: &CopyStep, copy: &Copy, destination: &str) -> String {
    let mut text = if op.unpack {
        "ADD".to_owned()
    } else {
        "COPY".to_owned()
    };
    for (flag, value) in [
        ("from", &copy.from),
        ("chown", &copy.chown),
        ("chmod", &copy.chmod),
    ] {
        if let Some(value) = value {
            text.push_str(&format!(" --{flag}={}", value.value));
        }
    }
    for source in &op.sources {
        text.push(' ');
        text.push_str(match source {
            CopyItem::Path(path) => path,
            CopyItem::Remote(remote) => remote.shown(),
            CopyItem::Inline { name, .. } => name,
        });
    }
    format!("{text} {destination}")
}
