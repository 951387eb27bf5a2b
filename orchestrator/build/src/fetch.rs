//! Fetches what a build reads and no step makes: a context by URL, named contexts, files and repositories of ADD.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::context::Context;
use crate::error::BuildError;
use crate::execute::{Fetched, Reporter, chain};
use crate::graph::{Graph, Origin};
use crate::host::Host;
use crate::reading::on_disk;
use crate::remote::{self, Downloads, Remote, RemoteError, unpacked};
use crate::request::{ContextSource, NamedContext};
use crate::{BuildRequest, Diagnostic, SourceFile};

#[derive(Clone, Copy)]
pub(crate) struct Fetcher<'a> {
    pub(crate) request: &'a BuildRequest,
    pub(crate) host: &'a Host,
    pub(crate) reporter: &'a Reporter,
}

impl Fetcher<'_> {
    /// The folder of the main context.
    pub(crate) async fn context(self) -> Result<PathBuf, BuildError> {
        match &self.request.context {
            ContextSource::Folder(path) if path.is_file() => {
                let (path, state) = (path.clone(), self.state());
                on_disk(move || {
                    let failed = |error: RemoteError| BuildError::Remote {
                        url: path.display().to_string(),
                        reason: chain(&error),
                    };
                    remote::archive(&path, &state).map_err(failed)
                })
                .await
            }
            ContextSource::Folder(folder) => Ok(folder.clone()),
            ContextSource::Remote(url) => {
                self.folder(url).await.map_err(|error| BuildError::Remote {
                    url: url.clone(),
                    reason: chain(&error),
                })
            }
        }
    }

    /// A repository, an unpacked archive, or a folder with one file.
    async fn folder(self, url: &str) -> Result<PathBuf, RemoteError> {
        let Some(remote) = Remote::parse(url) else {
            return Ok(PathBuf::from(url));
        };
        let fetched = self.remote(&remote).await?;
        unpacked(&fetched, &self.downloads(&self.state()), url)
    }

    /// Everything that the graph's steps read, at once.
    pub(crate) async fn files(
        self,
        graph: &Graph,
        file: &Arc<SourceFile>,
    ) -> Result<BTreeMap<Origin, Fetched>, BuildError> {
        let all = graph
            .files()
            .into_iter()
            .map(async |origin| match self.one(&origin).await {
                Ok(fetched) => Ok((origin, fetched)),
                Err(error) => Err(at_step(graph, file, &origin, error)),
            });
        Ok(futures_util::future::try_join_all(all)
            .await?
            .into_iter()
            .collect())
    }

    async fn one(self, origin: &Origin) -> Result<Fetched, BuildError> {
        let state_dir = &self.host.state_dir;
        let failed = |url: &str, error: &RemoteError| BuildError::Remote {
            url: url.to_owned(),
            reason: chain(error),
        };
        match origin {
            Origin::Remote(remote) => {
                let fetched = self
                    .remote(remote)
                    .await
                    .map_err(|error| failed(remote.shown(), &error))?;
                Ok(Fetched {
                    context: Context::fetched(&fetched.folder, state_dir)?,
                    file: fetched.file,
                })
            }
            Origin::Named(name) => match self.request.contexts.get(name) {
                Some(NamedContext::Remote(url)) => {
                    let folder = self
                        .folder(url)
                        .await
                        .map_err(|error| failed(url, &error))?;
                    Ok(Fetched {
                        context: Context::fetched(&folder, state_dir)?,
                        file: None,
                    })
                }
                Some(NamedContext::Folder(folder)) => Ok(Fetched {
                    context: Context::beside(folder, state_dir)?,
                    file: None,
                }),
                Some(NamedContext::Image(_) | NamedContext::Layout(_)) | None => {
                    unreachable!("only contexts with files are fetched as files")
                }
            },
            Origin::Context | Origin::Tree(_) => unreachable!("these are not fetched"),
        }
    }

    async fn remote(self, remote: &Remote) -> Result<remote::Fetched, RemoteError> {
        let running = self
            .reporter
            .started(&format!("[internal] load {}", remote.shown()));
        let state = self.state();
        match remote.fetch(&self.downloads(&state)).await {
            Ok(fetched) => {
                running.done();
                Ok(fetched)
            }
            Err(error) => {
                running.failed(&chain(&error));
                Err(error)
            }
        }
    }

    fn state(self) -> PathBuf {
        self.host.state_dir.join(crate::prune::REMOTE)
    }

    fn downloads<'b>(self, folder: &'b std::path::Path) -> Downloads<'b>
    where
        Self: 'b,
    {
        Downloads {
            folder,
            ssh: &self.request.ssh,
        }
    }
}

/// Blames the first step that reads it.
fn at_step(
    graph: &Graph,
    file: &Arc<SourceFile>,
    origin: &Origin,
    error: BuildError,
) -> BuildError {
    let Some(step) = graph
        .steps
        .iter()
        .find(|step| step.op.origins().contains(origin))
    else {
        return error;
    };
    let message = match &error {
        BuildError::Remote { reason, .. } => reason.clone(),
        other => chain(other),
    };
    let diagnostic = Box::new(Diagnostic::error(step.span, message));
    BuildError::Step {
        file: Arc::clone(file),
        diagnostic,
        source: None,
    }
}
