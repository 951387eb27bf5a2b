//! COPY and ADD.

use super::words;
use super::{Copy, CopySource, Parser};
use crate::diagnostic::{Diagnostic, Span, Spanned};

impl Parser<'_> {
    pub(super) fn copy(&self, at: usize, instruction: &str) -> Result<Copy, Diagnostic> {
        let known: &[&str] = if instruction == "COPY" {
            &["from", "chown", "chmod", "link", "exclude", "parents"]
        } else {
            &["chown", "chmod", "link", "exclude", "checksum", "keep-git-dir", "unpack"]
        };
        let (flags, at) = self.flags(at, instruction, known)?;
        for later in ["parents", "checksum", "keep-git-dir", "unpack"] {
            if let Some(span) = flags.first(later) {
                return Err(Diagnostic::error(span, format!("{instruction} --{later} is not supported")));
            }
        }
        let from = flags.value("from")?;
        if let Some(from) = from.as_ref().filter(|from| from.value.contains('$')) {
            return Err(Diagnostic::error(from.span, "variables are not expanded in --from")
                .hint("name a stage for it: FROM ${IMAGE} AS name, then --from=name"));
        }
        let mut words = match words::json_array(self.line, at) {
            Some(array) => {
                let span = self.line.span;
                array?.into_iter().map(|value| Spanned { value, span }).collect()
            }
            None => self.words_of(at, instruction).unwrap_or_default(),
        };
        let (Some(destination), false) = (words.pop(), words.is_empty()) else {
            return Err(Diagnostic::error(self.line.span, format!("{instruction} needs a source and a destination"))
                .hint(format!("{instruction} [--chown=user:group] source… destination")));
        };
        let copy = Copy {
            sources: words.into_iter().map(|word| self.source(word, instruction)).collect::<Result<_, _>>()?,
            destination,
            from,
            chown: flags.value("chown")?,
            chmod: flags.value("chmod")?,
            link: flags.switch("link")?,
            exclude: flags.values("exclude").collect::<Result<_, _>>()?,
        };
        if copy.sources.len() > 1 && !names_a_folder(&copy.destination.value) {
            let message = format!("with several sources, the destination of {instruction} must be a folder");
            return Err(Diagnostic::error(copy.destination.span, message).hint("end it with a /"));
        }
        if let Some(chmod) = &copy.chmod
            && !chmod.value.contains('$')
        {
            octal_mode(&chmod.value, chmod.span)?;
        }
        Ok(copy)
    }

    fn source(&self, word: Spanned<String>, instruction: &str) -> Result<CopySource, Diagnostic> {
        if let Some(marker) = words::heredoc_marker(&word.value, self.escape)
            && let Some(heredoc) = self.line.heredocs.iter().find(|heredoc| heredoc.marker == marker.text)
        {
            return Ok(CopySource::Heredoc(heredoc.clone()));
        }
        if instruction == "ADD" && is_remote(&word.value) {
            return Err(Diagnostic::error(word.span, format!("ADD of {} is not supported", word.value))
                .hint("download it in a RUN step, or before the build"));
        }
        Ok(CopySource::Path(word))
    }
}

fn names_a_folder(destination: &str) -> bool {
    // A variable may still end in a slash: judged again when it is known.
    destination.ends_with('/') || destination == "." || destination.ends_with("/.") || destination.contains('$')
}

fn is_remote(source: &str) -> bool {
    ["http://", "https://", "git://", "ssh://", "git@"].iter().any(|scheme| source.starts_with(scheme))
}

pub(crate) fn octal_mode(text: &str, span: Span) -> Result<u32, Diagnostic> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(mode),
        _ => {
            Err(Diagnostic::error(span, format!("invalid mode {text}"))
                .hint("--chmod takes octal numbers: --chmod=755"))
        }
    }
}
