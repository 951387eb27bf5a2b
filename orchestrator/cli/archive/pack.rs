//! Packing: a file or folder here becomes a tar stream.

use std::fs::Metadata;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};
use tokio::sync::mpsc;

/// Writes the stream. `name` is what the root is called in it; `None` leaves the root out.
pub(super) fn pack(
    root: &Path,
    name: Option<&str>,
    keep_owner: bool,
    sender: mpsc::Sender<io::Result<Vec<u8>>>,
) -> io::Result<()> {
    let mut builder = Builder::new(io::BufWriter::with_capacity(64 * 1024, Chunks { sender: sender.clone() }));
    let result = add_all(&mut builder, root, name, keep_owner).and_then(|()| builder.into_inner()?.flush());
    if let Err(error) = &result {
        // The other side must not take a torn stream for a whole one.
        let _ = sender.blocking_send(Err(io::Error::new(error.kind(), error.to_string())));
    }
    result
}

struct Chunks {
    sender: mpsc::Sender<io::Result<Vec<u8>>>,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.sender.blocking_send(Ok(bytes.to_vec())).map_err(gone)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn add_all(builder: &mut Builder<impl Write>, root: &Path, name: Option<&str>, keep_owner: bool) -> io::Result<()> {
    let mut open: Vec<(PathBuf, PathBuf)> = vec![(root.to_owned(), name.map(PathBuf::from).unwrap_or_default())];
    while let Some((path, inside)) = open.pop() {
        let meta = path.symlink_metadata()?;
        if !inside.as_os_str().is_empty() {
            add(builder, &path, &inside, &meta, keep_owner)?;
        }
        if meta.is_dir() {
            let mut children: Vec<_> = std::fs::read_dir(&path)?.collect::<io::Result<_>>()?;
            children.sort_by_key(|child| std::cmp::Reverse(child.file_name()));
            open.extend(children.into_iter().map(|child| (child.path(), inside.join(child.file_name()))));
        }
    }
    Ok(())
}

fn add(builder: &mut Builder<impl Write>, path: &Path, inside: &Path, meta: &Metadata, keep: bool) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(meta.mode() & 0o7777);
    header.set_mtime(u64::try_from(meta.mtime()).unwrap_or(0));
    let (uid, gid) = if keep { (meta.uid(), meta.gid()) } else { (0, 0) };
    header.set_uid(uid.into());
    header.set_gid(gid.into());
    header.set_size(0);
    let kind = meta.file_type();
    if kind.is_dir() {
        header.set_entry_type(EntryType::Directory);
        builder.append_data(&mut header, inside, io::empty())
    } else if kind.is_symlink() {
        header.set_entry_type(EntryType::Symlink);
        builder.append_link(&mut header, inside, std::fs::read_link(path)?)
    } else if kind.is_file() {
        let file = std::fs::File::open(path)?;
        header.set_entry_type(EntryType::Regular);
        header.set_size(meta.len());
        // A file that grows or shrinks meanwhile must not shift what follows it.
        let exact = io::Read::take(io::Read::chain(file, io::repeat(0)), meta.len());
        builder.append_data(&mut header, inside, exact)
    } else {
        let message = format!("{}: only files, folders and symbolic links can be copied", path.display());
        Err(io::Error::new(io::ErrorKind::Unsupported, message))
    }
}
