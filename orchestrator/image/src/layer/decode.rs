//! Decompression by what the bytes are, not by what a media type claims.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use bzip2::bufread::MultiBzDecoder;
use lzma_rust2::XzReader;

use super::Limits;
use super::gzip::Gzip;

/// zstd frames may ask for more; 128 MiB is what `zstd --long=27` takes by default.
const ZSTD_WINDOW_LOG: u32 = 27;
/// `xz -9` needs 65 MiB to be read.
const XZ_MEMORY_KIB: u32 = 128 << 10;
const BUFFER: usize = 256 << 10;

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

type Input<R> = BufReader<Counted<R>>;

enum Form<'a, R: Read> {
    Plain(Input<R>),
    Gzip(Box<Gzip<Input<R>>>),
    Zstd(zstd::Decoder<'a, Input<R>>),
    Bzip2(MultiBzDecoder<Input<R>>),
    Xz(Box<XzReader<Input<R>>>),
}

/// Decodes a gzip, zstd, bzip2, xz or plain stream, and stops bombs.
pub(crate) struct Decoder<'a, R: Read> {
    form: Form<'a, R>,
    read: Rc<Cell<u64>>,
    produced: u64,
    limits: Limits,
}

/// A stream as it is without its compression, whichever it has; bombs end in an error.
pub fn decompress<'a, R: Read + 'a>(inner: R) -> io::Result<impl Read + 'a> {
    Decoder::new(inner, Limits::default())
}

impl<R: Read> Decoder<'_, R> {
    pub(crate) fn new(inner: R, limits: Limits) -> io::Result<Self> {
        let read = Rc::new(Cell::new(0));
        let mut input = BufReader::with_capacity(
            BUFFER,
            Counted {
                inner,
                count: Rc::clone(&read),
            },
        );
        let form =
            match input.fill_buf()? {
                [0x1f, 0x8b, ..] => Form::Gzip(Box::new(Gzip::new(input))),
                [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
                    let mut decoder = zstd::Decoder::with_buffer(input)?;
                    decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                    Form::Zstd(decoder)
                }
                [b'B', b'Z', b'h', ..] => Form::Bzip2(MultiBzDecoder::new(input)),
                [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Form::Xz(Box::new(
                    XzReader::new_mem_limit(input, true, XZ_MEMORY_KIB),
                )),
                _ => Form::Plain(input),
            };
        Ok(Self {
            form,
            read,
            produced: 0,
            limits,
        })
    }

    /// Reads what follows the decoded part: the digest of the blob covers it.
    pub(crate) fn drain(self) -> io::Result<()> {
        let mut rest = match self.form {
            Form::Plain(input) => input,
            Form::Gzip(decoder) => decoder.into_inner(),
            Form::Zstd(decoder) => decoder.finish(),
            Form::Bzip2(decoder) => decoder.into_inner(),
            Form::Xz(decoder) => decoder.into_inner(),
        };
        io::copy(&mut rest, &mut io::sink()).map(drop)
    }
}

impl<R: Read> Read for Decoder<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.form {
            Form::Plain(input) => input.read(buffer)?,
            Form::Gzip(decoder) => decoder.read(buffer)?,
            Form::Zstd(decoder) => decoder.read(buffer)?,
            Form::Bzip2(decoder) => decoder.read(buffer)?,
            Form::Xz(decoder) => decoder.read(buffer)?,
        };
        self.produced += count as u64;
        let allowed = self
            .read
            .get()
            .saturating_mul(self.limits.ratio)
            .max(self.limits.free_bytes);
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
