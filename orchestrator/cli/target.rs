//! Owns where an archive goes: a file that appears whole or not at all, or standard output when it is no terminal.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::{Failure, Result};
use crate::render::Ui;
use crate::terminal;

pub(crate) enum Target {
    Stdout(Ui),
    File {
        file: BufWriter<File>,
        temporary: PathBuf,
        path: PathBuf,
    },
}

impl Target {
    pub(crate) fn open(ui: Ui, path: Option<&Path>) -> Result<Self> {
        let Some(path) = path.filter(|path| *path != Path::new("-")) else {
            if terminal::stdout_is_terminal() {
                return Err(Failure::user("an archive is not for a terminal")
                    .hint("give it a file with -o FILE"));
            }
            return Ok(Self::Stdout(ui));
        };
        let name = path
            .file_name()
            .ok_or_else(|| Failure::user(format!("{} is no file name", path.display())))?;
        let temporary = path.with_file_name(format!(".{}.{}", name.display(), std::process::id()));
        let file = File::create(&temporary).map_err(|error| {
            Failure::from(
                anyhow::Error::new(error).context(format!("cannot create {}", temporary.display())),
            )
        })?;
        Ok(Self::File {
            file: BufWriter::with_capacity(256 << 10, file),
            temporary,
            path: path.to_owned(),
        })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Stdout(ui) => Ok(ui.data(bytes)?),
            Self::File { file, path, .. } => file.write_all(bytes).map_err(|error| {
                Failure::from(
                    anyhow::Error::new(error).context(format!("cannot write {}", path.display())),
                )
            }),
        }
    }

    /// It is whole: gives it its name, on the disk.
    pub(crate) fn finish(mut self) -> Result<()> {
        let Self::File {
            file,
            temporary,
            path,
        } = &mut self
        else {
            return Ok(());
        };
        let named = file
            .flush()
            .and_then(|()| file.get_ref().sync_all())
            .and_then(|()| std::fs::rename(&*temporary, &*path));
        named.map_err(|error| {
            Failure::from(
                anyhow::Error::new(error).context(format!("cannot write {}", path.display())),
            )
        })
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Self::File { temporary, .. } = self {
            // Gone already when it was finished.
            let _ = std::fs::remove_file(temporary);
        }
    }
}

/// Opens an archive to read; standard input when none is named.
pub(crate) async fn source(
    path: Option<&Path>,
) -> Result<Box<dyn tokio::io::AsyncRead + Send + Unpin>> {
    match path.filter(|path| *path != Path::new("-")) {
        None => Ok(Box::new(tokio::io::stdin())),
        Some(path) => {
            let file = tokio::fs::File::open(path).await.map_err(|error| {
                Failure::from(
                    anyhow::Error::new(error).context(format!("cannot open {}", path.display())),
                )
            })?;
            Ok(Box::new(file))
        }
    }
}
