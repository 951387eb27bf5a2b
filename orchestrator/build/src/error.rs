//! Why a build failed, in terms of the Dockerfile.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use hoist_image::StoreError;

use crate::diagnostic::{Diagnostic, Severity, SourceFile};
use crate::host::BaseError;
use crate::ignore::IgnoreError;
use crate::step::RunError;

/// Those about the Dockerfile show its lines.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("build context {path} cannot be opened")]
    Context {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("build context {url}: {reason}")]
    Remote { url: String, reason: String },
    #[error("{attempt} {path}")]
    Io {
        attempt: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "no Dockerfile at {path}; `build.dockerfile` in the Compose file or `-f` names another one"
    )]
    NoDockerfile { path: PathBuf },
    #[error("{path} is not text in UTF-8")]
    NotText { path: PathBuf },
    #[error("{path} is larger than {limit} bytes")]
    TooLarge { path: PathBuf, limit: u64 },
    #[error("ignore file {path} cannot be used")]
    Ignore { path: PathBuf, source: IgnoreError },
    #[error("invalid platform {0:?}")]
    Platform(String, #[source] hoist_image::PlatformError),
    #[error("SOURCE_DATE_EPOCH is {0:?}, and not a number of seconds since 1970")]
    Epoch(String),
    #[error("invalid tag {0:?}")]
    Tag(String, #[source] hoist_image::ReferenceError),
    /// Everything that is wrong with the text.
    #[error("{}", Rendered(.0, .1))]
    Dockerfile(Arc<SourceFile>, Vec<Diagnostic>),
    /// The base image of a stage cannot be had.
    #[error("{}", Rendered(file, std::slice::from_ref(diagnostic)))]
    Base {
        file: Arc<SourceFile>,
        diagnostic: Box<Diagnostic>,
        source: BaseError,
    },
    /// A RUN step ended with another exit code than 0.
    #[error("{}{}", Rendered(file, std::slice::from_ref(diagnostic)), Tail(tail))]
    RunFailed {
        file: Arc<SourceFile>,
        diagnostic: Box<Diagnostic>,
        exit_code: i32,
        tail: Vec<String>,
    },
    /// A step could not be carried out at all.
    #[error("{}", Rendered(file, std::slice::from_ref(diagnostic)))]
    Step {
        file: Arc<SourceFile>,
        diagnostic: Box<Diagnostic>,
        source: Option<RunError>,
    },
    #[error("exporting the cache {place}")]
    Export {
        place: String,
        source: Box<hoist_image::CacheError>,
    },
    #[error("storing the image")]
    Store(#[source] StoreError),
    #[error("the build was interrupted")]
    Interrupted,
}

impl BuildError {
    /// The diagnostics with their text, for callers that render them in colour.
    pub fn diagnostics(&self) -> Option<(&Arc<SourceFile>, &[Diagnostic])> {
        match self {
            Self::Dockerfile(file, diagnostics) => Some((file, diagnostics)),
            Self::Base {
                file, diagnostic, ..
            }
            | Self::RunFailed {
                file, diagnostic, ..
            }
            | Self::Step {
                file, diagnostic, ..
            } => Some((file, std::slice::from_ref(diagnostic))),
            _ => None,
        }
    }

    /// The last lines that a failed RUN step wrote.
    pub fn tail(&self) -> &[String] {
        match self {
            Self::RunFailed { tail, .. } => tail,
            _ => &[],
        }
    }
}

struct Rendered<'a>(&'a SourceFile, &'a [Diagnostic]);

impl fmt::Display for Rendered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors = self
            .1
            .iter()
            .filter(|diagnostic| diagnostic.severity == Severity::Error);
        for (index, diagnostic) in errors.enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            f.write_str(&diagnostic.render(self.0, false))?;
        }
        Ok(())
    }
}

struct Tail<'a>(&'a [String]);

impl fmt::Display for Tail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.is_empty() {
            f.write_str("\nlast output:")?;
        }
        for line in self.0 {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}
