//! Reads gzip streams of one or more members.
//!
//! The inflater is flate2's; the frame around it is read here, so that large pieces go straight to it and the checksum
//! is computed at the processor's full width.

use std::io::{self, BufRead, Read};

use flate2::{Decompress, FlushDecompress, Status};

const EXTRA: u8 = 1 << 2;
const NAME: u8 = 1 << 3;
const COMMENT: u8 = 1 << 4;
const HEADER_CHECKSUM: u8 = 1 << 1;
const RESERVED: u8 = 0b1110_0000;

pub(crate) struct Gzip<R> {
    input: R,
    inflate: Decompress,
    checksum: crc32fast::Hasher,
    /// Of the member so far, modulo 2³² as the trailer has it.
    length: u32,
    next: Section,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Header,
    Body,
    End,
}

impl<R: BufRead> Gzip<R> {
    pub(crate) fn new(input: R) -> Self {
        let inflate = Decompress::new(false);
        Self {
            input,
            inflate,
            checksum: crc32fast::Hasher::new(),
            length: 0,
            next: Section::Header,
        }
    }

    /// What follows the part that was read.
    pub(crate) fn into_inner(self) -> R {
        self.input
    }

    fn header(&mut self) -> io::Result<()> {
        let mut fixed = [0; 10];
        self.input.read_exact(&mut fixed)?;
        let [0x1f, 0x8b, 8, flags, ..] = fixed else {
            return Err(invalid("not a gzip header"));
        };
        if flags & RESERVED != 0 {
            return Err(invalid("a gzip header with unknown flags"));
        }
        if flags & EXTRA != 0 {
            let mut length = [0; 2];
            self.input.read_exact(&mut length)?;
            let length = u64::from(u16::from_le_bytes(length));
            if io::copy(&mut self.input.by_ref().take(length), &mut io::sink())? < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        for text in [NAME, COMMENT] {
            if flags & text != 0 {
                self.input.skip_until(0)?;
            }
        }
        if flags & HEADER_CHECKSUM != 0 {
            self.input.read_exact(&mut [0; 2])?;
        }
        Ok(())
    }

    fn trailer(&mut self) -> io::Result<()> {
        let mut trailer = [0; 8];
        self.input.read_exact(&mut trailer)?;
        let expected = std::mem::take(&mut self.checksum).finalize().to_le_bytes();
        if trailer[..4] != expected
            || trailer[4..] != std::mem::take(&mut self.length).to_le_bytes()
        {
            return Err(invalid("the checksum of the gzip stream is wrong"));
        }
        self.inflate.reset(false);
        Ok(())
    }

    /// Inflates into the buffer once; `None` at the end of the member's body.
    fn body(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            let input = self.input.fill_buf()?;
            let exhausted = input.is_empty();
            let (read, written) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self
                .inflate
                .decompress(input, buffer, FlushDecompress::None);
            let progress = |now: u64, before: u64| {
                usize::try_from(now - before).expect("at most a buffer's length")
            };
            let written = progress(self.inflate.total_out(), written);
            self.input.consume(progress(self.inflate.total_in(), read));
            let status = status.map_err(|_| invalid("a corrupt deflate stream"))?;
            self.checksum.update(&buffer[..written]);
            // The trailer's length is modulo 2³² too.
            self.length = self
                .length
                .wrapping_add(u32::try_from(written & 0xffff_ffff).expect("it is masked"));
            match status {
                _ if written > 0 => return Ok(Some(written)),
                Status::StreamEnd => return Ok(None),
                _ if exhausted => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ => {}
            }
        }
    }
}

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self.next {
                Section::Header => {
                    self.header()?;
                    self.next = Section::Body;
                }
                Section::Body => {
                    if let Some(count) = self.body(buffer)? {
                        return Ok(count);
                    }
                    self.trailer()?;
                    self.next = if self.input.fill_buf()?.is_empty() {
                        Section::End
                    } else {
                        Section::Header
                    };
                }
                Section::End => return Ok(0),
            }
        }
    }
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::io::Write;

    use flate2::{Compression, GzBuilder};

    use super::*;

    fn member(content: &[u8], builder: GzBuilder) -> Vec<u8> {
        let mut encoder = builder.write(Vec::new(), Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn decode(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut decoded = Vec::new();
        // A small buffer, so that every part of the frame is cut somewhere.
        Gzip::new(io::BufReader::with_capacity(3, bytes))
            .read_to_end(&mut decoded)
            .map(|_| decoded)
    }

    #[test]
    fn members_follow_each_other_with_every_kind_of_header() {
        let bytes = [
            member(
                b"one",
                GzBuilder::new().filename("a").comment("b").extra("c"),
            ),
            member(b"", GzBuilder::new()),
            member(&[7; 100_000], GzBuilder::new()),
        ]
        .concat();
        assert_eq!(
            decode(&bytes).unwrap(),
            [b"one".as_slice(), &[7; 100_000]].concat()
        );
    }

    #[test]
    fn damage_is_noticed_wherever_it_is() {
        let whole = member(b"some content", GzBuilder::new().filename("name"));
        for length in 0..whole.len() {
            assert!(decode(&whole[..length]).is_err(), "cut at {length}");
        }
        for at in [0, 1, 2, whole.len() - 8, whole.len() - 4] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert!(decode(&damaged).is_err(), "damaged at {at}");
        }
        assert!(decode(&[whole.as_slice(), b"more"].concat()).is_err());
    }
}
