//! An entry's header as bytes: ustar, with a PAX extended header (POSIX.1-2017, pax, "pax Extended Header") for what does not
//! fit. Plain data in, the same bytes out for the same entry; knows no files.

use std::io;

use rustix::fs::Stat;

use super::Form;
use super::sparse::{self, Sparse};

pub(super) const BLOCK: usize = 512;
/// The largest numbers of ustar's octal fields: owners in seven digits, sizes and times in eleven.
const MAX_OWNER: u32 = 0o777_7777;
const MAX_LONG: u64 = 0o777_7777_7777;

/// An entry but for its path.
#[derive(Clone, Copy)]
pub(super) struct Meta<'a> {
    pub link: Option<&'a [u8]>,
    /// The type flag.
    pub kind: u8,
    pub stat: &'a Stat,
    /// Bytes of the body.
    pub size: u64,
    /// Bytes of the whole file, when only parts of it are in the body.
    pub sparse: Option<u64>,
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

/// Key and value of a PAX record.
type Record = (Vec<u8>, Vec<u8>);

/// An empty file that belongs to root.
pub(super) fn marker(path: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_mode(0);
    header.set_size(0);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    encode(path, None, header, Vec::new())
}

/// Times have whole seconds in layers, as in those of every other builder, and their fraction in a folder's archive. An error
/// is about the number of a device.
pub(super) fn entry(path: &[u8], meta: &Meta<'_>, form: Form) -> io::Result<Vec<u8>> {
    let mut records: Vec<Record> = Vec::new();
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::new(meta.kind));
    header.set_mode(meta.stat.st_mode & 0o7777);
    for (key, id) in [("uid", meta.stat.st_uid), ("gid", meta.stat.st_gid)] {
        if id > MAX_OWNER {
            records.push((key.as_bytes().to_vec(), id.to_string().into_bytes()));
        }
    }
    header.set_uid(u64::from(if meta.stat.st_uid > MAX_OWNER {
        0
    } else {
        meta.stat.st_uid
    }));
    header.set_gid(u64::from(if meta.stat.st_gid > MAX_OWNER {
        0
    } else {
        meta.stat.st_gid
    }));
    records.extend(time(&mut header, meta.stat, form));
    if meta.size > MAX_LONG {
        records.push((b"size".to_vec(), meta.size.to_string().into_bytes()));
    }
    header.set_size(if meta.size > MAX_LONG { 0 } else { meta.size });
    if matches!(meta.kind, b'3' | b'4') {
        header.set_device_major(rustix::fs::major(meta.stat.st_rdev))?;
        header.set_device_minor(rustix::fs::minor(meta.stat.st_rdev))?;
    }
    if let Some(size) = meta.sparse {
        records.extend(Sparse::records(path, size));
    }
    let path = if meta.sparse.is_some() {
        sparse::ENTRY_NAME
    } else {
        path
    };
    for (name, value) in meta.xattrs {
        records.push(([b"SCHILY.xattr.", name.as_slice()].concat(), value.clone()));
    }
    Ok(encode(path, meta.link, header, records))
}

/// Sets the modification time, and gives the record for what the field does not hold.
fn time(header: &mut tar::Header, stat: &Stat, form: Form) -> Option<Record> {
    let record = |text: String| Some((b"mtime".to_vec(), text.into_bytes()));
    let fits = u64::try_from(stat.st_mtime)
        .ok()
        .filter(|seconds| *seconds <= MAX_LONG);
    header.set_mtime(fits.unwrap_or(0));
    let nanoseconds = i32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    if form == Form::Folder
        && nanoseconds > 0
        && let Ok(time) = jiff::Timestamp::new(stat.st_mtime, nanoseconds)
    {
        // PAX counts back from a negative second as it counts on from others.
        let (seconds, fraction) = (
            time.as_second().unsigned_abs(),
            time.subsec_nanosecond().unsigned_abs(),
        );
        let sign = if time < jiff::Timestamp::UNIX_EPOCH {
            "-"
        } else {
            ""
        };
        return record(format!("{sign}{seconds}.{fraction:09}"));
    }
    if fits.is_none() {
        record(stat.st_mtime.to_string())
    } else {
        None
    }
}

fn encode(
    path: &[u8],
    link: Option<&[u8]>,
    mut header: tar::Header,
    mut records: Vec<Record>,
) -> Vec<u8> {
    const FIELD: usize = 100;
    let fits = |name: &[u8]| name.len() <= FIELD && name.is_ascii();
    if !fits(path) {
        records.push((b"path".to_vec(), path.to_owned()));
    }
    put(&mut header.as_old_mut().name, path);
    if let Some(link) = link {
        if !fits(link) {
            records.push((b"linkpath".to_vec(), link.to_owned()));
        }
        put(&mut header.as_old_mut().linkname, link);
    }
    header.set_cksum();
    let mut bytes = Vec::new();
    if !records.is_empty() {
        records.sort();
        let body: Vec<u8> = records
            .iter()
            .flat_map(|(key, value)| pax_record(key, value))
            .collect();
        let mut extension = tar::Header::new_ustar();
        extension.set_entry_type(tar::EntryType::XHeader);
        put(&mut extension.as_old_mut().name, b"PaxHeaders");
        extension.set_mode(0o644);
        extension.set_uid(0);
        extension.set_gid(0);
        extension.set_mtime(0);
        extension.set_size(body.len() as u64);
        extension.set_cksum();
        bytes.extend_from_slice(extension.as_bytes());
        bytes.extend_from_slice(&body);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    }
    bytes.extend_from_slice(header.as_bytes());
    bytes
}

fn put(field: &mut [u8; 100], value: &[u8]) {
    let length = value.len().min(field.len());
    field[..length].copy_from_slice(&value[..length]);
}

/// `<length> <key>=<value>\n`, the length counting itself.
fn pax_record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}
