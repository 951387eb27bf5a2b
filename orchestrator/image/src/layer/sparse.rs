//! Files with holes, as GNU tar's PAX format 1.0 writes them: a map of the parts that hold data, then these parts.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use rustix::io::Errno;

const BLOCK: usize = 512;
const MAX_PARTS: usize = 1 << 20;
/// What the entry is called for readers that know nothing of sparse files.
pub(super) const ENTRY_NAME: &[u8] = b"GNUSparseFile.0";

/// Offset and length of each part that holds data.
pub(super) type Map = Vec<(u64, u64)>;

/// The map of a file with holes; `None` for one without, and where the file system does not say.
pub(super) fn map(file: &File, size: u64) -> io::Result<Option<Map>> {
    let mut map = Map::new();
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
            map.push((start, end - start));
        }
        at = end.max(start + 1);
    }
    let data: u64 = map.iter().map(|(_, length)| length).sum();
    if map.last().is_none_or(|(offset, length)| offset + length < size) {
        // What ends with a hole ends with an empty part, or GNU tar makes the file shorter.
        map.push((size, 0));
    }
    Ok((data < size && map.len() <= MAX_PARTS).then_some(map))
}

/// The map as it stands before the data, whole blocks.
pub(super) fn encode(map: &Map) -> Vec<u8> {
    let mut text = format!("{}\n", map.len());
    for (offset, length) in map {
        text.push_str(&format!("{offset}\n{length}\n"));
    }
    let mut bytes = text.into_bytes();
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

/// Reads a map and what follows it into a fresh file of `size` bytes.
pub(super) fn restore(body: &mut dyn Read, file: &mut File, size: u64) -> io::Result<u64> {
    let bad = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, format!("a sparse file's map {reason}"));
    let mut numbers = Numbers { body, block: [0; BLOCK], at: BLOCK };
    let count = usize::try_from(numbers.next()?).ok().filter(|count| *count <= MAX_PARTS);
    let count = count.ok_or_else(|| bad("is too long"))?;
    let mut map = Map::new();
    let mut end = 0;
    for _ in 0..count {
        let (offset, length) = (numbers.next()?, numbers.next()?);
        let next = offset.checked_add(length).filter(|next| offset >= end && *next <= size);
        end = next.ok_or_else(|| bad("is out of order"))?;
        map.push((offset, length));
    }
    let body = numbers.body;
    let mut written = 0;
    for (offset, length) in map {
        file.seek(SeekFrom::Start(offset))?;
        let count = io::copy(&mut body.take(length), file)?;
        if count < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        written += count;
    }
    file.flush()?;
    file.set_len(size)?;
    Ok(written)
}

/// Decimal numbers, one a line, in blocks.
struct Numbers<'a> {
    body: &'a mut dyn Read,
    block: [u8; BLOCK],
    at: usize,
}

impl Numbers<'_> {
    fn next(&mut self) -> io::Result<u64> {
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "a sparse file's map is malformed");
        let mut number: u64 = 0;
        let mut digits = 0;
        loop {
            if self.at == BLOCK {
                self.body.read_exact(&mut self.block)?;
                self.at = 0;
            }
            let byte = self.block[self.at];
            self.at += 1;
            match byte {
                b'0'..=b'9' => {
                    number = number
                        .checked_mul(10)
                        .and_then(|number| number.checked_add(u64::from(byte - b'0')))
                        .ok_or_else(bad)?;
                    digits += 1;
                }
                b'\n' if digits > 0 => return Ok(number),
                _ => return Err(bad()),
            }
        }
    }
}
