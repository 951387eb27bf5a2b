//! The files of an archive, put aside in the store's `tmp` (hashed on the way) until all of them are there.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::PathBuf;

use crate::layer::{Decoder, Kind, Limits, TarReader};
use crate::load::LoadError;
use crate::manifest::MAX_MANIFEST;
use crate::{Digest, Hasher, Store};

pub(crate) const MAX_MEMBERS: usize = 20_000;

#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
    pub(crate) digest: Digest,
}

/// An archive's files, put aside in the store's `tmp`.
#[derive(Debug)]
pub(crate) struct Members {
    pub(crate) files: BTreeMap<String, Member>,
    links: BTreeMap<String, String>,
}

impl Members {
    pub(crate) fn read(store: &Store, archive: impl Read) -> Result<Self, LoadError> {
        let mut tar =
            TarReader::new(Decoder::new(archive, Limits::default()).map_err(LoadError::Read)?);
        let mut members = Self {
            files: BTreeMap::new(),
            links: BTreeMap::new(),
        };
        while let Some(entry) = tar.next().map_err(LoadError::Archive)? {
            if members.files.len() + members.links.len() >= MAX_MEMBERS {
                return Err(LoadError::TooManyMembers);
            }
            // Names only serve to find members again; none of them ever becomes a path on the disk.
            let name = normal(&entry.display_path(), "");
            let link = String::from_utf8_lossy(&entry.link).into_owned();
            match entry.kind {
                Kind::File if entry.sparse.is_some() => return Err(LoadError::Sparse(name)),
                Kind::File => {
                    let member = put_aside(store, &mut tar)?;
                    if let Some(replaced) = members.files.insert(name, member) {
                        let _ = std::fs::remove_file(replaced.path);
                    }
                }
                Kind::Symlink => {
                    let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
                    members.links.insert(name.clone(), normal(&link, folder));
                }
                Kind::HardLink => {
                    members.links.insert(name, normal(&link, ""));
                }
                _ => {}
            }
        }
        Ok(members)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    pub(crate) fn find(&self, name: &str) -> Option<Member> {
        let mut name = normal(name, "");
        // Docker's old archives link a layer to an equal one, once; a cycle must end.
        for _ in 0..8 {
            match self.files.get(&name) {
                Some(member) => return Some(member.clone()),
                None => name.clone_from(self.links.get(&name)?),
            }
        }
        None
    }

    pub(crate) fn bytes(&self, name: &str, most: u64) -> Result<Vec<u8>, LoadError> {
        let member = self
            .find(name)
            .ok_or_else(|| LoadError::Missing(name.to_owned()))?;
        if member.size > most {
            return Err(LoadError::TooLong(name.to_owned()));
        }
        std::fs::read(&member.path).map_err(LoadError::Read)
    }

    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T, LoadError> {
        let bytes = self.bytes(name, MAX_MANIFEST)?;
        serde_json::from_slice(&bytes).map_err(|source| LoadError::Json {
            name: name.to_owned(),
            source,
        })
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        for member in self.files.values() {
            // Those that became blobs are gone from here; what stays behind goes when the store opens.
            let _ = std::fs::remove_file(&member.path);
        }
    }
}

fn put_aside(store: &Store, body: &mut dyn Read) -> Result<Member, LoadError> {
    let (path, mut file) = store.temporary_file().map_err(LoadError::Store)?;
    let written = (|| {
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; 256 << 10];
        let mut size = 0;
        loop {
            let count = body.read(&mut buffer)?;
            if count == 0 {
                return Ok((size, hasher.finish()));
            }
            hasher.update(&buffer[..count]);
            file.write_all(&buffer[..count])?;
            size += count as u64;
        }
    })();
    match written {
        Ok((size, digest)) => Ok(Member { path, size, digest }),
        Err(error) => {
            let _ = std::fs::remove_file(&path);
            Err(LoadError::Read(error))
        }
    }
}

/// A member's name without `.`, `..` and doubled slashes, seen from `folder`.
fn normal(name: &str, folder: &str) -> String {
    let mut parts: Vec<&str> = if name.starts_with('/') {
        Vec::new()
    } else {
        folder.split('/').collect()
    };
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.retain(|part| !part.is_empty());
    parts.join("/")
}
