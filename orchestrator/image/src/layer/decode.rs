//! Decompression by what the bytes are, not by what a media type claims.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;

use super::Limits;
use crate::{Digest, Hasher};

/// zstd frames may ask for more; 128 MiB is what `zstd --long=27` takes by default.
const ZSTD_WINDOW_LOG: u32 = 27;
const BUFFER: usize = 128 << 10;

/// Counts what goes into a decoder.
struct Counted<R> {
    inner: R,
    count: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count.set(self.count.get() + count as u64);
        Ok(count)
    }
}

enum Form<'a, R: Read> {
    Plain(BufReader<Counted<R>>),
    Gzip(Box<MultiGzDecoder<BufReader<Counted<R>>>>),
    Zstd(zstd::Decoder<'a, BufReader<Counted<R>>>),
}

/// Decodes a gzip, zstd or plain stream, computes the digest of what comes out, and stops bombs.
pub(crate) struct Decoder<'a, R: Read> {
    form: Form<'a, R>,
    hasher: Hasher,
    read: Rc<Cell<u64>>,
    produced: u64,
    limits: Limits,
}

impl<R: Read> Decoder<'_, R> {
    pub(crate) fn new(inner: R, limits: Limits) -> io::Result<Self> {
        let read = Rc::new(Cell::new(0));
        let mut input = BufReader::with_capacity(BUFFER, Counted { inner, count: Rc::clone(&read) });
        let form = match input.fill_buf()? {
            [0x1f, 0x8b, ..] => Form::Gzip(Box::new(MultiGzDecoder::new(input))),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
                let mut decoder = zstd::Decoder::with_buffer(input)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Form::Zstd(decoder)
            }
            [b'B', b'Z', b'h', ..] => return Err(unsupported("bzip2")),
            [0xfd, b'7', b'z', b'X', b'Z', ..] => return Err(unsupported("xz")),
            _ => Form::Plain(input),
        };
        Ok(Self { form, hasher: Hasher::new(), read, produced: 0, limits })
    }

    /// Reads to the end of the stream, including what follows the decoded part, and gives the digest and length of the
    /// decoded bytes.
    pub(crate) fn finish(mut self) -> io::Result<(Digest, u64)> {
        io::copy(&mut self, &mut io::sink())?;
        let mut rest = match self.form {
            Form::Plain(input) => input,
            Form::Gzip(decoder) => decoder.into_inner(),
            Form::Zstd(decoder) => decoder.finish(),
        };
        io::copy(&mut rest, &mut io::sink())?;
        Ok((self.hasher.finish(), self.produced))
    }
}

fn unsupported(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, format!("compression {name} is not supported (gzip, zstd or none)"))
}

impl<R: Read> Read for Decoder<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.form {
            Form::Plain(input) => input.read(buffer)?,
            Form::Gzip(decoder) => decoder.read(buffer)?,
            Form::Zstd(decoder) => decoder.read(buffer)?,
        };
        self.hasher.update(&buffer[..count]);
        self.produced += count as u64;
        let allowed = self.read.get().saturating_mul(self.limits.ratio).max(self.limits.free_bytes);
        if self.produced > allowed || self.produced > self.limits.bytes {
            return Err(io::Error::other(format!(
                "{} bytes unpack to more than {}: refused as a decompression bomb",
                self.read.get(),
                self.produced
            )));
        }
        Ok(count)
    }
}
