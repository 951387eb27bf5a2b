//! COPY and ADD.

use super::words;
use super::{Chmod, Copy, CopySource, Parser};
use crate::diagnostic::{Diagnostic, Spanned};

impl Parser<'_> {
    pub(super) fn copy(&self, at: usize, instruction: &str) -> Result<Copy, Diagnostic> {
        let known: &[&str] = if instruction == "COPY" {
            &["from", "chown", "chmod", "link", "exclude", "parents"]
        } else {
            &[
                "chown",
                "chmod",
                "link",
                "exclude",
                "checksum",
                "keep-git-dir",
                "unpack",
            ]
        };
        let (flags, at) = self.flags(at, instruction, known)?;
        let from = flags.value("from")?;
        if let Some(from) = from.as_ref().filter(|from| from.value.contains('$')) {
            return Err(
                Diagnostic::error(from.span, "variables are not expanded in --from")
                    .hint("name a stage for it: FROM ${IMAGE} AS name, then --from=name"),
            );
        }
        let mut words = match words::json_array(self.line, at) {
            Some(array) => {
                let span = self.line.span;
                array?
                    .into_iter()
                    .map(|value| Spanned { value, span })
                    .collect()
            }
            None => self.words_of(at, instruction).unwrap_or_default(),
        };
        let (Some(destination), false) = (words.pop(), words.is_empty()) else {
            return Err(Diagnostic::error(
                self.line.span,
                format!("{instruction} needs a source and a destination"),
            )
            .hint(format!(
                "{instruction} [--chown=user:group] source… destination"
            )));
        };
        let copy = Copy {
            sources: words.into_iter().map(|word| self.source(word)).collect(),
            destination,
            from,
            chown: flags.value("chown")?,
            chmod: flags.value("chmod")?,
            link: flags.switch("link")?,
            exclude: flags.values("exclude").collect::<Result<_, _>>()?,
            parents: flags.switch("parents")?,
            checksum: flags.value("checksum")?,
            keep_git_dir: flags.switch("keep-git-dir")?,
            unpack: flags
                .first("unpack")
                .map(|_| flags.switch("unpack"))
                .transpose()?,
        };
        if copy.sources.len() > 1 && !names_a_folder(&copy.destination.value) {
            let message =
                format!("with several sources, the destination of {instruction} must be a folder");
            return Err(Diagnostic::error(copy.destination.span, message).hint("end it with a /"));
        }
        if let Some(chmod) = &copy.chmod
            && !chmod.value.contains('$')
        {
            Chmod::parse(&chmod.value, chmod.span)?;
        }
        Ok(copy)
    }

    fn source(&self, word: Spanned<String>) -> CopySource {
        let marker = words::heredoc_marker(&word.value, self.escape);
        let heredoc = marker.and_then(|marker| {
            self.line
                .heredocs
                .iter()
                .find(|heredoc| heredoc.marker == marker.text)
        });
        heredoc.map_or(CopySource::Path(word), |heredoc| {
            CopySource::Heredoc(heredoc.clone())
        })
    }
}

fn names_a_folder(destination: &str) -> bool {
    // A variable may still end in a slash: judged again when it is known.
    destination.ends_with('/')
        || destination == "."
        || destination.ends_with("/.")
        || destination.contains('$')
}
