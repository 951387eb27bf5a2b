//! The frames in which several streams share one connection, as docker multiplexes them: the number of the stream, three
//! zeros, the length of the data as a big-endian number of four bytes, the data.

/// Length of what precedes the data.
pub const HEADER: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    Stdin,
    Stdout,
    Stderr,
}

/// One piece of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub stream: StreamKind,
    pub data: Vec<u8>,
}

/// One frame of at most 4 GiB.
pub fn encode(stream: StreamKind, data: &[u8]) -> Vec<u8> {
    let number = match stream {
        StreamKind::Stdin => 0,
        StreamKind::Stdout => 1,
        StreamKind::Stderr => 2,
    };
    let mut frame = Vec::with_capacity(HEADER + data.len());
    frame.extend_from_slice(&[number, 0, 0, 0]);
    frame.extend_from_slice(&u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend_from_slice(data);
    frame
}

/// The stream, and the length of the data that follows.
pub fn decode(header: [u8; HEADER]) -> (StreamKind, usize) {
    let stream = match header[0] {
        0 => StreamKind::Stdin,
        2 => StreamKind::Stderr,
        _ => StreamKind::Stdout,
    };
    let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    (stream, usize::try_from(length).unwrap_or(usize::MAX))
}

/// Takes frames out of bytes that come in any portions.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
}

impl Decoder {
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// `None`: the next one is not complete yet.
    pub fn next_frame(&mut self) -> Option<Frame> {
        let (header, rest) = self.buffer.split_first_chunk::<HEADER>()?;
        let (stream, length) = decode(*header);
        let data = rest.get(..length)?.to_vec();
        self.buffer.drain(..HEADER + length);
        Some(Frame { stream, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_have_dockers_header() {
        assert_eq!(
            encode(StreamKind::Stderr, b"hi"),
            [2, 0, 0, 0, 0, 0, 0, 2, b'h', b'i']
        );
    }

    #[test]
    fn what_is_encoded_is_decoded_from_any_portions() {
        let frames = [
            Frame {
                stream: StreamKind::Stdout,
                data: b"out".to_vec(),
            },
            Frame {
                stream: StreamKind::Stdin,
                data: Vec::new(),
            },
            Frame {
                stream: StreamKind::Stderr,
                data: vec![7; 300],
            },
        ];
        let bytes: Vec<u8> = frames
            .iter()
            .flat_map(|frame| encode(frame.stream, &frame.data))
            .collect();
        for portion in [1, 7, 8, 9, bytes.len()] {
            let (mut decoder, mut decoded) = (Decoder::default(), Vec::new());
            for chunk in bytes.chunks(portion) {
                decoder.push(chunk);
                decoded.extend(std::iter::from_fn(|| decoder.next_frame()));
            }
            assert_eq!(decoded, frames, "in portions of {portion}");
        }
    }
}
