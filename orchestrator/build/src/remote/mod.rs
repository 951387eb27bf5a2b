//! Files that a build names by URL: of a web server, of a git repository. What they are, and how they are fetched.
//!
//! Everything that is fetched becomes a folder below the build's own state, which is then read like a context. Knows
//! nothing of Dockerfiles.

mod archive;
mod git;
mod http;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::ssh::Agent;

pub(crate) use archive::archive;
pub(crate) use git::GitSource;
pub(crate) use http::{HttpSource, unpacked};

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Remote {
    Http(HttpSource),
    Git(GitSource),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoteError {
    #[error("{url} is not a URL: {reason}")]
    Url { url: String, reason: String },
    #[error(
        "invalid checksum {0}: sha256: and 64 hexadecimal digits for a file, a commit's digits for a repository"
    )]
    Checksum(String),
    #[error("--keep-git-dir is for git repositories, and {0} is none")]
    NotGit(String),
    #[error("{url} has the digest {found}, not {expected}")]
    OtherDigest {
        url: String,
        found: String,
        expected: String,
    },
    #[error("{url} is commit {found}, not {expected}")]
    OtherCommit {
        url: String,
        found: String,
        expected: String,
    },
    #[error("{url}: {reason}")]
    Refused { url: String, reason: String },
    #[error("downloading {url}")]
    Download {
        url: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{url} answers {status}")]
    Status { url: String, status: String },
    #[error(
        "git is not installed, and {0} is a git repository; install git on the machine that runs the engine"
    )]
    NoGit(String),
    #[error("git cannot bring {url}: {output}")]
    Git { url: String, output: String },
    #[error("{attempt} {path}")]
    Io {
        attempt: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("unpacking {url}: {reason}")]
    Unpack { url: String, reason: String },
}

/// Where downloads are kept, and what they may use.
#[derive(Debug, Clone)]
pub(crate) struct Downloads<'a> {
    /// Where results are kept.
    pub(crate) folder: &'a Path,
    /// Agents for ssh, by id.
    pub(crate) ssh: &'a BTreeMap<String, Agent>,
}

/// A download in its folder.
#[derive(Debug, Clone)]
pub(crate) struct Fetched {
    pub(crate) folder: PathBuf,
    /// The one file in the folder that was asked for; `None`: all of it.
    pub(crate) file: Option<String>,
}

impl Remote {
    /// `None`: a path.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some(git) = GitSource::parse(text) {
            return Some(Self::Git(git));
        }
        let web = ["http://", "https://"]
            .iter()
            .any(|scheme| text.starts_with(scheme));
        web.then(|| Self::Http(HttpSource::new(text)))
    }

    /// With the flags of ADD.
    pub(crate) fn of_add(
        self,
        checksum: Option<String>,
        keep_git_dir: bool,
    ) -> Result<Self, RemoteError> {
        match self {
            Self::Http(http) if keep_git_dir => Err(RemoteError::NotGit(http.url)),
            Self::Http(http) => Ok(Self::Http(http.with_checksum(checksum)?)),
            Self::Git(git) => Ok(Self::Git(
                git.with_checksum(checksum)?.keeping_git_dir(keep_git_dir),
            )),
        }
    }

    pub(crate) fn shown(&self) -> &str {
        match self {
            Self::Http(http) => &http.url,
            Self::Git(git) => &git.text,
        }
    }

    /// Brings it, unless what is there is still right.
    pub(crate) async fn fetch(&self, downloads: &Downloads<'_>) -> Result<Fetched, RemoteError> {
        let fetched = match self {
            Self::Http(http) => http.fetch(downloads).await?,
            Self::Git(git) => git.fetch(downloads).await?,
        };
        // What lies directly below is what goes when it is not used for long.
        if let Some(kept) = fetched
            .folder
            .strip_prefix(downloads.folder)
            .ok()
            .and_then(|below| below.iter().next())
        {
            crate::prune::touch(&downloads.folder.join(kept));
        }
        Ok(fetched)
    }
}

fn io_error(attempt: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> RemoteError {
    let path = path.to_owned();
    move |source| RemoteError::Io {
        attempt,
        path,
        source,
    }
}
