//! Owns the pump between this process's standard streams and a hijacked connection: raw bytes for a terminal,
//! multiplexed frames otherwise; the way out by detach keys; the terminal's size.

use std::io::{self, PipeReader, PipeWriter, Read};

use hoist_api::frames::StreamKind;
use hoist_client::{Client, FrameReader, Hijacked};
use rustix::event::{PollFd, PollFlags};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::error::{Failure, Result};
use crate::render::Ui;
use crate::terminal::{self, RawMode};

/// How the pump ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The other side closed: the process has ended.
    Closed,
    /// The user left with the detach keys; the process goes on.
    Detached,
}

/// Whose terminal it is that gets this one's size.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    Exec(String),
    Container(String),
    Shell(String),
}

impl Target {
    pub(crate) async fn resize(&self, client: &Client) {
        let Some((rows, columns)) = terminal::size() else {
            return;
        };
        // The process may have ended already; then its terminal's size is nobody's concern.
        let _ = match self {
            Self::Exec(id) => client.resize_exec(id, rows, columns).await,
            Self::Shell(id) => client.resize_shell(id, rows, columns).await,
            Self::Container(id) => client.resize_container(id, rows, columns).await,
        };
    }
}

#[derive(Debug)]
pub(crate) struct Pump<'a> {
    pub(crate) client: &'a Client,
    pub(crate) ui: Ui,
    pub(crate) target: Target,
    pub(crate) tty: bool,
    /// Forward standard input.
    pub(crate) stdin: bool,
    /// What of it is being read already.
    pub(crate) keys: Option<Keys>,
    pub(crate) detach: Option<DetachKeys>,
}

impl Pump<'_> {
    /// Runs until the other side closes or the user detaches.
    pub(crate) async fn run(self, io: Hijacked) -> Result<End> {
        let (reader, writer) = tokio::io::split(io);
        let raw = if self.tty && self.stdin {
            RawMode::enter()?
        } else {
            None
        };
        let keys = match self.keys {
            None if self.stdin => Some(Keys::read()?),
            keys => keys.filter(|_| self.stdin),
        };
        let input = input(keys, raw.is_some(), self.detach, writer);
        let output = output(self.ui, self.tty, reader);
        let resize = resize(self.client, &self.target, self.tty);
        tokio::select! {
            end = output => end.map(|()| End::Closed),
            end = input => end,
            failure = resize => Err(failure),
        }
    }
}

async fn output(ui: Ui, tty: bool, mut reader: ReadHalf<Hijacked>) -> Result<()> {
    if tty {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            match reader.read(&mut buffer).await? {
                0 => return Ok(()),
                length => ui.data(&buffer[..length])?,
            }
        }
    }
    let mut frames = FrameReader::new(reader);
    while let Some(frame) = frames.next().await? {
        match frame.stream {
            StreamKind::Stderr => ui.stderr(&frame.data)?,
            StreamKind::Stdin | StreamKind::Stdout => ui.data(&frame.data)?,
        }
    }
    Ok(())
}

/// Comes back only when the user detaches or goes away: the end of standard input is not the end of the output. But a
/// terminal in raw mode has an end only when it was closed, which a process that ignores SIGHUP hears in no other way.
async fn input(
    keys: Option<Keys>,
    raw: bool,
    mut detach: Option<DetachKeys>,
    mut writer: WriteHalf<Hijacked>,
) -> Result<End> {
    if let Some(mut keys) = keys {
        loop {
            let Some(chunk) = keys.chunks.recv().await else {
                if raw {
                    return Err(Failure::user("the terminal was closed"));
                }
                break;
            };
            let (bytes, detached) = match &mut detach {
                None => (chunk, false),
                Some(detach) => detach.filter(&chunk),
            };
            if writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err() {
                break;
            }
            if detached {
                return Ok(End::Detached);
            }
        }
        // The other side may be gone already; its output tells.
        let _ = writer.shutdown().await;
    }
    std::future::pending().await
}

/// Standard input, read by a thread of its own: a read from a terminal cannot be taken back, so no runtime may have to
/// wait for it.
#[derive(Debug)]
pub(crate) struct Keys {
    chunks: mpsc::Receiver<Vec<u8>>,
    /// Its end tells the thread that what is typed from now on is for somebody else.
    _open: PipeWriter,
}

impl Keys {
    /// Begins at once. Where input is no terminal that is before the command begins: whether a command that reads
    /// nothing leaves the rest of a pipe to others must not depend on a race.
    pub(crate) fn read() -> io::Result<Self> {
        let (closed, open) = io::pipe()?;
        let (sender, chunks) = mpsc::channel(8);
        std::thread::spawn(move || {
            let mut buffer = vec![0; 16 * 1024];
            while is_input_next(&closed) {
                match io::stdin().lock().read(&mut buffer) {
                    Ok(length) if length > 0 => {
                        if sender.blocking_send(buffer[..length].to_vec()).is_err() {
                            return;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    _ => return,
                }
            }
        });
        Ok(Self {
            chunks,
            _open: open,
        })
    }
}

/// Waits for input, or its end; `false` when nobody wants it any more.
fn is_input_next(closed: &PipeReader) -> bool {
    let stdin = io::stdin();
    let mut either = [
        PollFd::new(closed, PollFlags::IN),
        PollFd::new(&stdin, PollFlags::IN),
    ];
    loop {
        match rustix::event::poll(&mut either, None) {
            Ok(_) => return either[0].revents().is_empty(),
            Err(rustix::io::Errno::INTR) => {}
            // What cannot be waited for is read.
            Err(_) => return true,
        }
    }
}

/// Never comes back unless signals cannot be had.
async fn resize(client: &Client, target: &Target, tty: bool) -> Failure {
    if !tty {
        return std::future::pending().await;
    }
    let mut changed = match signal(SignalKind::window_change()) {
        Ok(changed) => changed,
        Err(error) => return error.into(),
    };
    loop {
        target.resize(client).await;
        changed.recv().await;
    }
}

/// The keys that leave a container's terminal without ending what runs in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DetachKeys {
    keys: Vec<u8>,
    matched: usize,
}

impl Default for DetachKeys {
    /// Ctrl-P, Ctrl-Q.
    fn default() -> Self {
        Self {
            keys: vec![16, 17],
            matched: 0,
        }
    }
}

impl std::str::FromStr for DetachKeys {
    type Err = String;

    /// `ctrl-p,ctrl-q`, `a`, `ctrl-@`.
    fn from_str(text: &str) -> Result<Self, String> {
        let key = |name: &str| -> Option<u8> {
            match name.strip_prefix("ctrl-") {
                None => name.bytes().next().filter(|_| name.len() == 1),
                Some(rest) => match rest.as_bytes() {
                    [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
                    [sign @ (b'@' | b'[' | b'\\' | b']' | b'^' | b'_')] => Some(sign - b'@'),
                    _ => None,
                },
            }
        };
        let keys = text
            .split(',')
            .map(|name| key(name).ok_or_else(|| format!("`{name}` is no key")));
        Ok(Self {
            keys: keys.collect::<Result<_, _>>()?,
            matched: 0,
        })
    }
}

impl DetachKeys {
    /// What to pass on, and whether the user has left. A sequence that was begun is held back until it is clear.
    fn filter(&mut self, input: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(input.len());
        for byte in input {
            if self.keys.get(self.matched) == Some(byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    return (passed, true);
                }
                continue;
            }
            passed.extend_from_slice(&self.keys[..self.matched]);
            self.matched = usize::from(self.keys.first() == Some(byte));
            if self.matched == 0 {
                passed.push(*byte);
            }
        }
        (passed, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detach_keys_are_held_back_until_they_are_clear() {
        let mut keys = DetachKeys::default();
        assert_eq!(keys.filter(b"ab"), (b"ab".to_vec(), false));
        assert_eq!(keys.filter(&[16]), (vec![], false));
        assert_eq!(keys.filter(b"c"), (vec![16, b'c'], false));
        assert_eq!(keys.filter(&[b'x', 16, 17, b'y']), (vec![b'x'], true));
    }

    #[test]
    fn detach_keys_have_names() {
        assert_eq!("ctrl-p,ctrl-q".parse(), Ok(DetachKeys::default()));
        assert_eq!("q".parse::<DetachKeys>().unwrap().keys, b"q");
        assert_eq!("ctrl-@".parse::<DetachKeys>().unwrap().keys, [0]);
        assert!("ctrl-".parse::<DetachKeys>().is_err());
        assert!("".parse::<DetachKeys>().is_err());
    }
}
