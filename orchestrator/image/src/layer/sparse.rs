//! Files with holes in a tar: the map of the parts that hold data, in each form that GNU tar writes (its old `S` entries,
//! PAX 0.0, 0.1 and 1.0; GNU tar manual, appendix D.2 "Storing Sparse Files"). A map is input like any other: one that is
//! not a plain list of parts, in order and inside of the file, is refused.

use std::fs::File;
use std::io::{self, Read};

use rustix::io::Errno;

const BLOCK: usize = 512;
/// 16 MiB of memory. A file of 4 GiB with a hole behind every page has as many.
const MAX_PARTS: usize = 1 << 20;
/// What the entry is called for readers that know nothing of sparse files.
pub(super) const ENTRY_NAME: &[u8] = b"GNUSparseFile.0";

const MALFORMED: &str = "its sparse map is malformed";
const TOO_LONG: &str = "its sparse map is too long";

/// A file of which an entry's body holds parts only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sparse {
    /// Of the whole file, in bytes.
    pub size: u64,
    /// Offset and length of each part that holds data, in bytes, as they follow one another in the body.
    pub parts: Vec<(u64, u64)>,
}

impl Sparse {
    /// Only with parts that are in order, do not overlap and end inside of the file.
    pub(super) fn new(size: u64, parts: Vec<(u64, u64)>) -> Result<Self, &'static str> {
        // The largest file offset of the kernel.
        if size > i64::MAX.unsigned_abs() {
            return Err("its size is out of range");
        }
        if parts.len() > MAX_PARTS {
            return Err(TOO_LONG);
        }
        let mut end = 0;
        for (offset, length) in &parts {
            let next = offset
                .checked_add(*length)
                .filter(|next| *offset >= end && *next <= size);
            end = next.ok_or("its sparse map is out of order or leaves the file")?;
        }
        Ok(Self { size, parts })
    }

    /// Bytes of all parts.
    pub(super) fn data(&self) -> u64 {
        self.parts.iter().map(|(_, length)| length).sum()
    }

    /// What a file on the disk has; `None` for one without holes, and where the file system does not say.
    pub(super) fn of_file(file: &File, size: u64) -> io::Result<Option<Self>> {
        let mut parts = Vec::new();
        let mut at = 0;
        while at < size {
            let start = match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(at)) {
                Ok(start) => start,
                Err(Errno::NXIO) => break,
                Err(Errno::INVAL) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            };
            let end = rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(start))?.min(size);
            if end > start {
                parts.push((start, end - start));
            }
            at = end.max(start + 1);
        }
        if parts
            .last()
            .is_none_or(|(offset, length)| offset + length < size)
        {
            // What ends with a hole ends with an empty part, or GNU tar makes the file shorter.
            parts.push((size, 0));
        }
        let sparse = Self { size, parts };
        Ok((sparse.data() < size && sparse.parts.len() <= MAX_PARTS).then_some(sparse))
    }

    /// The map as PAX 1.0 has it, in front of the data: whole blocks.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut text = format!("{}\n", self.parts.len());
        for (offset, length) in &self.parts {
            text.push_str(&format!("{offset}\n{length}\n"));
        }
        let mut bytes = text.into_bytes();
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }

    /// The records of a file whose body begins with such a map.
    pub(super) fn records(path: &[u8], size: u64) -> [(Vec<u8>, Vec<u8>); 4] {
        let record =
            |key: &str, value: &[u8]| (format!("GNU.sparse.{key}").into_bytes(), value.to_owned());
        [
            record("major", b"1"),
            record("minor", b"0"),
            record("name", path),
            record("realsize", size.to_string().as_bytes()),
        ]
    }

    /// Reads the map that [`Sparse::encode`] writes. The outer error is the reader's, the inner one the map's.
    pub(super) fn decode(body: impl Read, size: u64) -> io::Result<Result<Self, &'static str>> {
        let mut numbers = Numbers {
            body,
            block: Vec::with_capacity(BLOCK),
            at: 0,
        };
        let count = match numbers.next()? {
            Ok(count) if count <= MAX_PARTS as u64 => count,
            Ok(_) => return Ok(Err(TOO_LONG)),
            Err(reason) => return Ok(Err(reason)),
        };
        let mut parts = Vec::new();
        for _ in 0..count {
            match (numbers.next()?, numbers.next()?) {
                (Ok(offset), Ok(length)) => parts.push((offset, length)),
                (Err(reason), _) | (_, Err(reason)) => return Ok(Err(reason)),
            }
        }
        Ok(Self::new(size, parts))
    }
}

/// Decimal numbers, one a line, in blocks.
struct Numbers<R> {
    body: R,
    block: Vec<u8>,
    at: usize,
}

impl<R: Read> Numbers<R> {
    fn next(&mut self) -> io::Result<Result<u64, &'static str>> {
        let mut number: u64 = 0;
        let mut digits = 0;
        loop {
            if self.at == self.block.len() {
                self.block.clear();
                if self
                    .body
                    .by_ref()
                    .take(BLOCK as u64)
                    .read_to_end(&mut self.block)?
                    < BLOCK
                {
                    return Ok(Err(MALFORMED));
                }
                self.at = 0;
            }
            let byte = self.block[self.at];
            self.at += 1;
            match byte {
                b'0'..=b'9' => {
                    let Some(next) = number
                        .checked_mul(10)
                        .and_then(|ten| ten.checked_add(u64::from(byte - b'0')))
                    else {
                        return Ok(Err(MALFORMED));
                    };
                    number = next;
                    digits += 1;
                }
                b'\n' if digits > 0 => return Ok(Ok(number)),
                _ => return Ok(Err(MALFORMED)),
            }
        }
    }
}

/// The map in the header of GNU tar's old form, as far as it fits there.
pub(super) struct GnuMap {
    size: u64,
    parts: Vec<(u64, u64)>,
    /// Whether a block with more of it follows.
    pub more: bool,
}

impl GnuMap {
    pub(super) fn of_header(header: &tar::Header) -> Result<Self, &'static str> {
        let gnu = header.as_gnu().ok_or("a sparse entry of an unknown form")?;
        let mut old = Self {
            size: gnu.real_size().map_err(|_| MALFORMED)?,
            parts: Vec::new(),
            more: gnu.is_extended(),
        };
        old.take(&gnu.sparse)?;
        Ok(old)
    }

    pub(super) fn block(&mut self, block: &[u8; BLOCK]) -> Result<(), &'static str> {
        let mut extension = tar::GnuExtSparseHeader::new();
        extension.as_mut_bytes().copy_from_slice(block);
        self.more = extension.is_extended();
        self.take(extension.sparse())
    }

    fn take(&mut self, parts: &[tar::GnuSparseHeader]) -> Result<(), &'static str> {
        for part in parts.iter().take_while(|part| !part.is_empty()) {
            self.parts.push((
                part.offset().map_err(|_| MALFORMED)?,
                part.length().map_err(|_| MALFORMED)?,
            ));
        }
        if self.parts.len() > MAX_PARTS {
            Err(TOO_LONG)
        } else {
            Ok(())
        }
    }

    pub(super) fn finish(self) -> Result<Sparse, &'static str> {
        Sparse::new(self.size, self.parts)
    }
}

/// What the `GNU.sparse.` records of one entry say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    major: Option<u64>,
    minor: Option<u64>,
    /// The entry's real name, where the header's is a stand-in.
    pub name: Option<Vec<u8>>,
    size: Option<u64>,
    real_size: Option<u64>,
    blocks: Option<u64>,
    /// Offsets and lengths in turn.
    map: Option<Vec<u64>>,
}

/// Where an entry's map is.
#[derive(Debug)]
pub(super) enum Form {
    /// It has no holes.
    Whole,
    /// In the records.
    Known(Sparse),
    /// In front of the body; the file has this size.
    InBody(u64),
}

impl Records {
    /// Whether a key stands once for each part: only then may it stand in one header several times.
    pub(super) fn repeats(key: &[u8]) -> bool {
        matches!(key, b"GNU.sparse.offset" | b"GNU.sparse.numbytes")
    }

    /// Takes the record with this key, of which `GNU.sparse.` was cut off.
    pub(super) fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let number = || decimal(value).ok_or(MALFORMED);
        match key {
            b"major" => self.major = Some(number()?),
            b"minor" => self.minor = Some(number()?),
            b"name" if !value.is_empty() => self.name = Some(value.to_owned()),
            b"size" => self.size = Some(number()?),
            b"realsize" => self.real_size = Some(number()?),
            b"numblocks" => self.blocks = Some(number()?),
            b"map" if self.map.is_none() => {
                let numbers = value
                    .split(|byte| *byte == b',')
                    .filter(|_| !value.is_empty());
                self.map = Some(
                    numbers
                        .map(decimal)
                        .collect::<Option<_>>()
                        .ok_or(MALFORMED)?,
                );
            }
            b"offset" | b"numbytes" => {
                let map = self.map.get_or_insert_default();
                if map.len().is_multiple_of(2) != (key == b"offset") {
                    return Err(MALFORMED);
                }
                map.push(number()?);
            }
            _ => return Err(MALFORMED),
        }
        Ok(())
    }

    /// Takes the records together; they are of no use afterwards.
    pub(super) fn form(&mut self) -> Result<Form, &'static str> {
        let map = self.map.take();
        match (self.major, self.minor, self.size, self.real_size) {
            (None, None, None, None)
                if map.is_none() && self.blocks.is_none() && self.name.is_none() =>
            {
                Ok(Form::Whole)
            }
            (Some(1), Some(0), None, Some(size)) if map.is_none() && self.blocks.is_none() => {
                Ok(Form::InBody(size))
            }
            // 0.0 and 0.1 do not say so.
            (None | Some(0), None | Some(0 | 1), Some(size), None) => {
                let numbers = map.unwrap_or_default();
                let parts: Vec<_> = numbers
                    .chunks_exact(2)
                    .map(|pair| (pair[0], pair[1]))
                    .collect();
                if numbers.len() % 2 == 1 || self.blocks != Some(parts.len() as u64) {
                    return Err(MALFORMED);
                }
                Sparse::new(size, parts).map(Form::Known)
            }
            _ => Err("a sparse entry of an unknown form"),
        }
    }
}

/// Digits and nothing else.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_out_of_order_or_out_of_the_file_are_refused() {
        let refused: [&[(u64, u64)]; 5] = [
            &[(4, 2), (0, 2)],
            &[(0, 4), (2, 4)],
            &[(8, 3)],
            &[(11, 0)],
            &[(u64::MAX, 2)],
        ];
        for parts in refused {
            assert!(Sparse::new(10, parts.to_vec()).is_err(), "{parts:?}");
        }
        assert!(Sparse::new(u64::MAX, Vec::new()).is_err());
        assert!(Sparse::new(10, vec![(0, 4), (4, 0), (4, 2), (10, 0)]).is_ok());
    }

    #[test]
    fn records_that_do_not_agree_are_refused() {
        let form = |records: &[(&[u8], &[u8])]| {
            let mut taken = Records::default();
            records
                .iter()
                .try_for_each(|(key, value)| taken.take(key, value))?;
            taken.form()
        };
        let refused: [&[(&[u8], &[u8])]; 9] = [
            &[(b"major", b"2"), (b"minor", b"0"), (b"realsize", b"1")],
            &[(b"major", b"1"), (b"minor", b"0")],
            &[
                (b"major", b"1"),
                (b"minor", b"0"),
                (b"realsize", b"9"),
                (b"map", b"0,1"),
            ],
            &[(b"size", b"9"), (b"numblocks", b"2"), (b"map", b"0,1")],
            &[(b"size", b"9"), (b"numblocks", b"1"), (b"map", b"0")],
            &[(b"size", b"9"), (b"numblocks", b"1"), (b"map", b"0,-1")],
            &[
                (b"size", b"9"),
                (b"numblocks", b"1"),
                (b"numbytes", b"1"),
                (b"offset", b"0"),
            ],
            &[(b"size", b"9"), (b"map", b"0,1")],
            &[(b"name", b"x")],
        ];
        for records in refused {
            assert!(form(records).is_err(), "{records:?}");
        }
        let pairs = form(&[
            (b"size", b"9"),
            (b"numblocks", b"1"),
            (b"offset", b"3"),
            (b"numbytes", b"1"),
        ]);
        assert!(matches!(pairs, Ok(Form::Known(sparse)) if sparse.parts == [(3, 1)]));
    }
}
