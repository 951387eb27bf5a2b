//! The bytes of netfilter's netlink messages: headers and nested attributes, written and read.

/// A message that is being written: both headers, then attributes.
#[derive(Debug)]
pub(crate) struct Attributes {
    buffer: Vec<u8>,
    start: usize,
}

impl Attributes {
    /// A message of its own; `family` is the second header.
    pub(crate) fn message(kind: u16, flags: u16, sequence: u32, family: [u8; 4]) -> Self {
        Self::after(Vec::new(), kind, flags, sequence, family)
    }

    /// A message behind others.
    pub(crate) fn after(
        mut buffer: Vec<u8>,
        kind: u16,
        flags: u16,
        sequence: u32,
        family: [u8; 4],
    ) -> Self {
        let start = buffer.len();
        buffer.extend([0; 4]);
        buffer.extend(kind.to_ne_bytes());
        buffer.extend(flags.to_ne_bytes());
        buffer.extend(sequence.to_ne_bytes());
        buffer.extend([0; 4]);
        buffer.extend(family);
        Self { buffer, start }
    }

    /// Everything written so far, with the length of the last message filled in.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.buffer.len() - self.start).unwrap_or(u32::MAX);
        self.buffer[self.start..self.start + 4].copy_from_slice(&length.to_ne_bytes());
        self.buffer
    }

    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.attribute(kind, |own| own.buffer.extend(value));
    }

    pub(crate) fn text(&mut self, kind: u16, value: &str) {
        self.attribute(kind, |own| {
            own.buffer.extend(value.bytes());
            own.buffer.push(0);
        });
    }

    /// Netfilter has its numbers in network order.
    pub(crate) fn number(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    pub(crate) fn nested(&mut self, kind: u16, inner: impl FnOnce(&mut Self)) {
        const NESTED: u16 = 0x8000;
        self.attribute(kind | NESTED, inner);
    }

    fn attribute(&mut self, kind: u16, value: impl FnOnce(&mut Self)) {
        let start = self.buffer.len();
        self.buffer.extend([0; 2]);
        self.buffer.extend(kind.to_ne_bytes());
        value(self);
        // What could be longer is split into several messages by its writer.
        let length = u16::try_from(self.buffer.len() - start).unwrap_or(u16::MAX);
        self.buffer[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.buffer.resize(self.buffer.len().next_multiple_of(4), 0);
    }
}

/// A message that came.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) sequence: u32,
    /// Netlink port of the process that caused it.
    pub(crate) writer: u32,
    /// All behind the first header.
    pub(crate) body: &'a [u8],
    /// All behind both headers.
    pub(crate) attributes: &'a [u8],
}

pub(crate) fn messages(datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    const HEADER: usize = 16;
    const SECOND_HEADER: usize = 4;
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let header: &[u8; HEADER] = rest.first_chunk()?;
        let word = |at: usize| {
            u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let length = word(0) as usize;
        let body = rest.get(HEADER..length)?;
        let message = Message {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            sequence: word(8),
            writer: word(12),
            body,
            attributes: body.get(SECOND_HEADER..).unwrap_or_default(),
        };
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

pub(crate) fn attribute(attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    const KIND: u16 = 0x3fff;
    let mut rest = attributes;
    while let Some([low, high, kind_low, kind_high]) = rest.first_chunk() {
        let length = usize::from(u16::from_ne_bytes([*low, *high]));
        let value = rest.get(4..length)?;
        if u16::from_ne_bytes([*kind_low, *kind_high]) & KIND == wanted {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let mut first = Attributes::message(7, 1, 3, [2, 0, 0, 0]);
        first.text(1, "abc");
        let mut second = Attributes::after(first.finish(), 8, 1, 4, [2, 0, 0, 0]);
        second.nested(5, |nested| nested.number(6, 42));
        let bytes = second.finish();
        let read: Vec<_> = messages(&bytes).collect();
        assert_eq!((read[0].kind, read[0].sequence, read[1].kind), (7, 3, 8));
        assert_eq!(attribute(read[0].attributes, 1), Some(&b"abc\0"[..]));
        assert_eq!(
            attribute(attribute(read[1].attributes, 5).unwrap(), 6),
            Some(&[0, 0, 0, 42][..])
        );
        assert_eq!(attribute(read[1].attributes, 9), None);
    }

    #[test]
    fn broken_bytes_end_the_reading() {
        assert_eq!(messages(&[0xff; 40]).count(), 0);
        assert_eq!(messages(&[0; 15]).count(), 0);
        assert_eq!(attribute(&[1, 0, 1, 0], 1), None);
    }
}
