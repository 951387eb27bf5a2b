//! The streams of an exec on its client's upgraded connection.
//!
//! While the process runs, a client that does not read blocks it, as a pipe does, and a client that disconnects ends
//! it. After its exit, all its output is delivered, however slowly the client reads; then the stream ends, and then the
//! connection.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use futures_util::FutureExt;
use hoist_api::frames::{StreamKind, encode};
use hoist_engine::{Execution, readiness};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use super::takeover::Taken;
use crate::gone::{Gone, gone};

/// How long a client that has received everything may keep sending. Closing a connection with unread bytes is an error
/// for their sender.
const LINGER: Duration = Duration::from_secs(10);
/// What the process left behind in the background may have to say when it is gone: as long as it says something at least
/// this often,
const SILENCE: Duration = Duration::from_millis(100);
/// for so long, without the time that the client takes,
const AFTERMATH: Duration = Duration::from_secs(2);
/// and so many bytes. More than pipes hold: everything written before the exit is always delivered.
const REMAINS: usize = 16 << 20;

type Writer = Arc<Mutex<OwnedWriteHalf>>;
/// Whether the process has ended.
type Ended = watch::Receiver<bool>;

/// Relays both directions until everything is delivered.
pub(super) async fn relay(taken: Taken, mut execution: Execution) {
    let Taken { stream, early } = taken;
    let gone = match gone(&stream) {
        Ok(gone) => gone,
        Err(error) => {
            tracing::warn!(%error, "cannot watch an exec's client");
            execution.ended(execution.wait().await);
            return execution.delivered();
        }
    };
    let (reader, writer) = stream.into_split();
    let (outputs, stdin) = outputs(&mut execution);
    let (end, told) = watch::channel(false);
    let writer = Arc::new(Mutex::new(writer));
    let tasks: Vec<_> = outputs
        .into_iter()
        .map(|output| tokio::spawn(output.copy(Arc::clone(&writer), told.clone())))
        .collect();
    let input = tokio::spawn(input(reader, early, stdin, told));
    execution.ended(until_end(&execution, gone).await);
    let _ = end.send(true);
    for task in tasks {
        let _ = task.await;
    }
    let _ = writer.lock().await.shutdown().await;
    let _ = tokio::time::timeout(LINGER, forget(input)).await;
    execution.delivered();
}

/// For a client that disconnected before its connection was ready.
pub(super) async fn abandoned(execution: &Execution) {
    execution.ended(until_end(execution, async {}.boxed().shared()).await);
    execution.delivered();
}

/// The start error, where docker's clients expect it.
pub(super) async fn say(taken: Taken, tty: bool, message: String) {
    let Taken { mut stream, .. } = taken;
    let text = format!("{message}\r\n");
    let text = if tty {
        text.into_bytes()
    } else {
        encode(StreamKind::Stdout, text.as_bytes())
    };
    let _ = stream.write_all(&text).await;
    let _ = stream.shutdown().await;
    let (reader, _writer) = stream.into_split();
    let _ = tokio::time::timeout(LINGER, forget(tokio::spawn(async { reader }))).await;
}

/// A client that disconnects ends its process: first by SIGHUP, like a closed terminal, then by SIGKILL.
async fn until_end(execution: &Execution, gone: Gone) -> i32 {
    tokio::select! {
        code = execution.wait() => return code,
        () = gone => {}
    }
    execution.hang_up().await;
    if let Ok(code) = tokio::time::timeout(execution.grace, execution.wait()).await {
        return code;
    }
    execution.kill().await;
    execution.wait().await
}

/// One stream of the process; a terminal's bytes are not framed.
struct Output {
    end: Arc<AsyncFd<OwnedFd>>,
    framed: Option<StreamKind>,
}

fn outputs(execution: &mut Execution) -> (Vec<Output>, Option<Arc<AsyncFd<OwnedFd>>>) {
    let watched = |end: OwnedFd, interest| {
        let watched = rustix::io::ioctl_fionbio(&end, true).map_err(Into::into);
        match watched.and_then(|()| readiness::watch(end, interest)) {
            Ok(end) => Some(Arc::new(end)),
            Err(error) => {
                tracing::warn!(%error, "cannot use a stream of an exec");
                None
            }
        }
    };
    if let Some(terminal) = execution.terminal.take() {
        let terminal = watched(terminal, Interest::READABLE | Interest::WRITABLE);
        let output = terminal.iter().map(|end| Output {
            end: Arc::clone(end),
            framed: None,
        });
        return (output.collect(), terminal.clone());
    }
    let outputs = [
        (execution.stdout.take(), StreamKind::Stdout),
        (execution.stderr.take(), StreamKind::Stderr),
    ];
    let outputs = outputs.into_iter().filter_map(|(end, kind)| {
        Some(Output {
            end: watched(end?, Interest::READABLE)?,
            framed: Some(kind),
        })
    });
    let outputs = outputs.collect();
    (
        outputs,
        execution
            .stdin
            .take()
            .and_then(|end| watched(end, Interest::WRITABLE)),
    )
}

impl Output {
    /// A client that stops reading does not stop the process: further output is read and discarded.
    async fn copy(self, writer: Writer, mut ended: Ended) {
        let mut buffer = vec![0; 32 * 1024];
        loop {
            let count = tokio::select! {
                biased;
                _ = ended.wait_for(|ended| *ended) => break,
                count = read(&self.end, &mut buffer) => count,
            };
            if count == 0 {
                return;
            }
            self.deliver(&buffer[..count], &writer).await;
        }
        let (mut left, mut waited) = (REMAINS, Duration::ZERO);
        while waited < AFTERMATH && left > 0 {
            let began = Instant::now();
            match tokio::time::timeout(SILENCE, read(&self.end, &mut buffer)).await {
                Err(_) | Ok(0) => return,
                Ok(count) => {
                    waited += began.elapsed();
                    left = left.saturating_sub(count);
                    self.deliver(&buffer[..count], &writer).await;
                }
            }
        }
    }

    async fn deliver(&self, bytes: &[u8], writer: &Writer) {
        let mut writer = writer.lock().await;
        let _ = match self.framed {
            Some(kind) => writer.write_all(&encode(kind, bytes)).await,
            None => writer.write_all(bytes).await,
        };
    }
}

/// 0 at the end; a terminal returns EIO once its other end is closed.
async fn read(end: &AsyncFd<OwnedFd>, buffer: &mut [u8]) -> usize {
    loop {
        let Ok(mut ready) = end.readable().await else {
            return 0;
        };
        match ready
            .try_io(|end| rustix::io::read(end.get_ref().as_fd(), &mut *buffer).map_err(Into::into))
        {
            Ok(Ok(count)) => return count,
            Ok(Err(error)) if error.raw_os_error() == Some(Errno::INTR.raw_os_error()) => {}
            Ok(Err(_)) => return 0,
            Err(_) => {}
        }
    }
}

/// Relays the client's input until it ends, its reader is gone, or the process has exited. Returns the client.
async fn input(
    mut reader: OwnedReadHalf,
    early: Bytes,
    stdin: Option<Arc<AsyncFd<OwnedFd>>>,
    mut ended: Ended,
) -> OwnedReadHalf {
    if let Some(stdin) = stdin {
        tokio::select! {
            () = feed(&mut reader, &early, &stdin) => {}
            _ = ended.wait_for(|ended| *ended) => {}
        }
    }
    reader
}

async fn feed(reader: &mut OwnedReadHalf, early: &[u8], stdin: &AsyncFd<OwnedFd>) {
    if !write(stdin, early).await {
        return;
    }
    let mut buffer = vec![0; 32 * 1024];
    while let Ok(count @ 1..) = reader.read(&mut buffer).await {
        if !write(stdin, &buffer[..count]).await {
            return;
        }
    }
}

async fn write(end: &AsyncFd<OwnedFd>, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let Ok(mut ready) = end.writable().await else {
            return false;
        };
        match ready
            .try_io(|end| rustix::io::write(end.get_ref().as_fd(), bytes).map_err(Into::into))
        {
            Ok(Ok(count)) => bytes = &bytes[count..],
            Ok(Err(error)) if error.raw_os_error() == Some(Errno::INTR.raw_os_error()) => {}
            Ok(Err(_)) => return false,
            Err(_) => {}
        }
    }
    true
}

/// Drains the client's remaining input.
async fn forget(input: JoinHandle<OwnedReadHalf>) {
    if let Ok(mut reader) = input.await {
        let _ = tokio::io::copy(&mut reader, &mut tokio::io::sink()).await;
    }
}

/// Relays between a client and the other end of a pair, when some of the client's bytes were already read.
pub(super) async fn bridge(client: Taken, ours: UnixStream) {
    let Taken { stream, early } = client;
    let gone = gone(&stream);
    let (mut from_client, mut to_client) = stream.into_split();
    let (mut from_program, mut to_program) = ours.into_split();
    let input = tokio::spawn(async move {
        if to_program.write_all(&early).await.is_ok() {
            let _ = tokio::io::copy(&mut from_client, &mut to_program).await;
        }
        let _ = to_program.shutdown().await;
        from_client
    });
    let output = async {
        let _ = tokio::io::copy(&mut from_program, &mut to_client).await;
    };
    match gone {
        Ok(gone) => tokio::select! {
            () = output => {}
            () = gone => return input.abort(),
        },
        Err(_) => output.await,
    }
    let _ = to_client.shutdown().await;
    let _ = tokio::time::timeout(LINGER, forget(input)).await;
}
