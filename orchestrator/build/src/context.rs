//! The build context: a folder read in place, its ignore file, and the Dockerfile.
//!
//! A path inside the context is resolved inside it: a symlink cannot lead anywhere else. Only a Dockerfile that the caller
//! itself names outside (absolute, or with `..`) is read from there.

use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::SourceFile;
use crate::error::BuildError;
use crate::fs::{Kind, View, ViewError};
use crate::ignore::Ignore;
use crate::request::{BuildRequest, DockerfileSource};
use crate::stamps::Stamps;

/// No Dockerfile or ignore file that people write is near this.
const MAX_TEXT: u64 = 4 << 20;

#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) view: Arc<View>,
    pub(crate) ignore: Ignore,
    pub(crate) stamps: Stamps,
}

impl Context {
    /// A context beside the main one: its own ignore file counts.
    pub(crate) fn beside(folder: &Path, state_dir: &Path) -> Result<Self, BuildError> {
        let view = folder_view(folder)?;
        let ignore = ignore_file(&view, None)?;
        Ok(Self {
            view: Arc::new(view),
            ignore,
            stamps: Stamps::load(state_dir, folder),
        })
    }

    /// What was downloaded: all of it counts.
    pub(crate) fn fetched(folder: &Path, state_dir: &Path) -> Result<Self, BuildError> {
        let view = Arc::new(folder_view(folder)?);
        Ok(Self {
            view,
            ignore: Ignore::default(),
            stamps: Stamps::load(state_dir, folder),
        })
    }
}

fn folder_view(folder: &Path) -> Result<View, BuildError> {
    View::of_folder(folder).map_err(|error| BuildError::Context {
        path: folder.to_owned(),
        source: into_io(error),
    })
}

/// Opens the context and reads the Dockerfile.
pub(crate) fn open(
    folder: &Path,
    request: &BuildRequest,
    state_dir: &Path,
) -> Result<(Context, Arc<SourceFile>), BuildError> {
    let view = folder_view(folder)?;
    let (source, own) = match &request.dockerfile {
        DockerfileSource::Inline(text) => {
            (SourceFile::new("inline Dockerfile", text.as_str()), None)
        }
        DockerfileSource::File(path) => {
            let place = match inside_context(folder, path) {
                Some(relative) => TextFilePath::Inside(relative),
                None => TextFilePath::Outside(folder.join(path)),
            };
            let shown = if let TextFilePath::Inside(relative) = &place {
                relative
            } else {
                path
            };
            let text = text_of(place.read(&view), shown)?
                .map_err(|source| no_dockerfile(folder.join(path), source))?;
            (
                SourceFile::new(shown.display().to_string(), text),
                Some(place.ignore_file()),
            )
        }
    };
    let ignore = ignore_file(&view, own)?;
    let stamps = Stamps::load(state_dir, folder);
    Ok((
        Context {
            view: Arc::new(view),
            ignore,
            stamps,
        },
        source,
    ))
}

/// Where a file of text is.
enum TextFilePath {
    /// Relative to the context, and resolved inside of it.
    Inside(PathBuf),
    /// The caller itself named it.
    Outside(PathBuf),
}

impl TextFilePath {
    fn path(&self) -> &Path {
        let (Self::Inside(path) | Self::Outside(path)) = self;
        path
    }

    fn read(&self, view: &View) -> io::Result<Vec<u8>> {
        match self {
            Self::Inside(relative) => read_inside(view, relative),
            Self::Outside(path) => read_limited(std::fs::File::open(path)),
        }
    }

    /// A Dockerfile's own ignore file, next to it.
    fn ignore_file(self) -> Self {
        let beside = |path: PathBuf| {
            let mut name = path.into_os_string();
            name.push(".dockerignore");
            PathBuf::from(name)
        };
        match self {
            Self::Inside(path) => Self::Inside(beside(path)),
            Self::Outside(path) => Self::Outside(beside(path)),
        }
    }
}

/// The first ignore file that is there: the Dockerfile's own, else the context's.
fn ignore_file(view: &View, own: Option<TextFilePath>) -> Result<Ignore, BuildError> {
    for place in own
        .into_iter()
        .chain([TextFilePath::Inside(PathBuf::from(".dockerignore"))])
    {
        let path = place.path();
        match text_of(place.read(view), path)? {
            Ok(text) => {
                return Ignore::parse(&text).map_err(|source| BuildError::Ignore {
                    path: path.to_owned(),
                    source,
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(BuildError::Io {
                    attempt: "reading",
                    path: path.to_owned(),
                    source,
                });
            }
        }
    }
    Ok(Ignore::default())
}

/// The path as seen from the context, when the caller did not name a place outside of it.
fn inside_context(context: &Path, path: &Path) -> Option<PathBuf> {
    let relative = if path.is_absolute() {
        path.strip_prefix(context).ok()?
    } else {
        path
    };
    let mut parts = PathBuf::new();
    for component in relative.components() {
        match component {
            Component::Normal(part) => parts.push(part),
            Component::CurDir => {}
            Component::ParentDir if parts.pop() => {}
            _ => return None,
        }
    }
    Some(parts)
}

fn read_inside(view: &View, path: &Path) -> io::Result<Vec<u8>> {
    let walk = view.walk(path, true).map_err(into_io)?;
    match walk.found {
        Some(node) if node.kind() == Kind::File => {
            read_limited(view.open_file(&node).map_err(into_io))
        }
        Some(_) => Err(io::Error::other("it is not a file")),
        None => Err(io::ErrorKind::NotFound.into()),
    }
}

fn read_limited(file: io::Result<std::fs::File>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file?.take(MAX_TEXT + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The outer error is about the text, the inner one about reading.
fn text_of(bytes: io::Result<Vec<u8>>, path: &Path) -> Result<io::Result<String>, BuildError> {
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(error) => return Ok(Err(error)),
    };
    if bytes.len() as u64 > MAX_TEXT {
        return Err(BuildError::TooLarge {
            path: path.to_owned(),
            limit: MAX_TEXT,
        });
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Ok(text)),
        Err(_) => Err(BuildError::NotText {
            path: path.to_owned(),
        }),
    }
}

fn into_io(error: ViewError) -> io::Error {
    match error {
        ViewError::Open { source, .. } | ViewError::Read { source, .. } => source,
        other => io::Error::other(other),
    }
}
fn no_dockerfile(path: PathBuf, source: std::io::Error) -> BuildError {
    match source.kind() {
        std::io::ErrorKind::NotFound => BuildError::NoDockerfile { path },
        _ => BuildError::Io {
            attempt: "reading the Dockerfile",
            path,
            source,
        },
    }
}
