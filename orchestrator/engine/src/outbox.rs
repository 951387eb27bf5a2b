//! The queue of messages from a request to its client, bounded even if the client stops reading.
//!
//! Messages that occur once per part of a request are kept; of progress, only the latest of each item is. Output blocks
//! on its reader, and is dropped and counted once the client has not read for a while.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hoist_api::{ApplyEvent, BuildEvent, BundleEvent};
use tokio::sync::{Notify, watch};

/// Bytes of output that may be queued.
const ROOM: usize = 1 << 20;
/// Memory of a piece in addition to its text.
const OVERHEAD: usize = 128;
/// After this long without a read, the work goes on without its client.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a kind of piece is bounded.
#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    /// One per part of the request, so bounded by its size.
    Kept,
    /// Only the latest of this name is kept.
    Latest(String),
    /// Output of this many bytes, unbounded in total.
    Output(usize),
}

pub trait Piece: Sized {
    fn kind(&self) -> Kind;

    /// A notice that this many pieces of output are missing here; none where there is no output.
    fn left_out(count: u64) -> Option<Self>;
}

#[derive(Debug)]
struct Shared<T> {
    queue: Mutex<Queue<T>>,
    arrived: Notify,
    read: Notify,
    closed: watch::Sender<bool>,
    patience: Duration,
}

#[derive(Debug)]
struct Queue<T> {
    pieces: VecDeque<(Kind, T)>,
    /// Queued bytes of output.
    output: usize,
    left_out: u64,
    /// The client has not read for too long.
    stands: bool,
    senders: usize,
}

impl<T> Shared<T> {
    fn queue(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub(crate) struct Outbox<T>(Arc<Shared<T>>);

#[derive(Debug)]
pub struct Inbox<T>(Arc<Shared<T>>);

pub(crate) fn outbox<T: Piece>() -> (Outbox<T>, Inbox<T>) {
    with_patience(PATIENCE)
}

fn with_patience<T: Piece>(patience: Duration) -> (Outbox<T>, Inbox<T>) {
    let queue = Queue {
        pieces: VecDeque::new(),
        output: 0,
        left_out: 0,
        stands: false,
        senders: 1,
    };
    let shared = Arc::new(Shared {
        queue: Mutex::new(queue),
        arrived: Notify::new(),
        read: Notify::new(),
        closed: watch::Sender::new(false),
        patience,
    });
    (Outbox(Arc::clone(&shared)), Inbox(shared))
}

impl<T: Piece> Outbox<T> {
    /// Never waits. Does nothing once the client has disconnected.
    pub(crate) fn send(&self, piece: T) {
        if self.is_closed() {
            return;
        }
        let mut queue = self.0.queue();
        let kind = piece.kind();
        match &kind {
            Kind::Kept => {}
            Kind::Latest(_) => {
                if let Some(place) = queue.pieces.iter_mut().find(|(other, _)| *other == kind) {
                    place.1 = piece;
                    return;
                }
            }
            Kind::Output(bytes) => {
                // Senders that do not reserve room first may exceed it slightly.
                if queue.output >= if queue.stands { ROOM } else { 2 * ROOM } {
                    queue.left_out += 1;
                    return;
                }
                queue.output += bytes;
            }
        }
        // In place of the dropped pieces, and always before a possible last piece.
        if queue.left_out > 0 && (!queue.stands || !matches!(kind, Kind::Output(_))) {
            let missing = T::left_out(std::mem::take(&mut queue.left_out));
            queue
                .pieces
                .extend(missing.map(|missing| (Kind::Kept, missing)));
        }
        queue.pieces.push_back((kind, piece));
        drop(queue);
        self.0.arrived.notify_one();
    }

    /// Resolves when there is room for more output, or when the client has not read for so long that its output is
    /// dropped.
    pub(crate) async fn room(&self) {
        loop {
            let mut read = std::pin::pin!(self.0.read.notified());
            read.as_mut().enable();
            if self.has_room() {
                return;
            }
            tokio::select! {
                () = read => {}
                () = self.closed() => return,
                () = tokio::time::sleep(self.0.patience) => {
                    self.0.queue().stands = true;
                    return;
                }
            }
        }
    }

    fn has_room(&self) -> bool {
        let queue = self.0.queue();
        queue.output < ROOM || queue.stands
    }

    pub(crate) fn is_closed(&self) -> bool {
        *self.0.closed.borrow()
    }

    /// Resolves when the client has disconnected.
    pub(crate) async fn closed(&self) {
        let mut closed = self.0.closed.subscribe();
        // We hold the sender.
        let _ = closed.wait_for(|closed| *closed).await;
    }
}

impl<T> Clone for Outbox<T> {
    fn clone(&self) -> Self {
        self.0.queue().senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Outbox<T> {
    fn drop(&mut self) {
        self.0.queue().senders -= 1;
        self.0.arrived.notify_one();
    }
}

impl<T: Piece> Inbox<T> {
    /// `None`: the queue has ended.
    pub async fn recv(&mut self) -> Option<T> {
        loop {
            {
                let mut queue = self.0.queue();
                if let Some((kind, piece)) = queue.pieces.pop_front() {
                    if let Kind::Output(bytes) = kind {
                        queue.output -= bytes;
                    }
                    queue.stands = false;
                    drop(queue);
                    self.0.read.notify_waiters();
                    return Some(piece);
                }
                if queue.left_out > 0 {
                    let missing = T::left_out(std::mem::take(&mut queue.left_out));
                    if missing.is_some() {
                        return missing;
                    }
                }
                if queue.senders == 0 {
                    return None;
                }
            }
            self.0.arrived.notified().await;
        }
    }
}

impl<T> Drop for Inbox<T> {
    fn drop(&mut self) {
        self.0.closed.send_replace(true);
        self.0.queue().pieces.clear();
    }
}

impl Piece for ApplyEvent {
    fn kind(&self) -> Kind {
        match self {
            Self::Pull { step, layer, .. } => Kind::Latest(format!("{step} {layer}")),
            Self::Build {
                step,
                event:
                    BuildEvent::Transfer {
                        step: part, item, ..
                    },
                ..
            } => Kind::Latest(format!("{step} {part} {item}")),
            Self::Build {
                event: BuildEvent::Output { line, .. },
                ..
            } => Kind::Output(line.len() + OVERHEAD),
            Self::Build { .. }
            | Self::Plan { .. }
            | Self::Step { .. }
            | Self::Shell { .. }
            | Self::Attach { .. }
            | Self::Warning { .. }
            | Self::Result(_) => Kind::Kept,
        }
    }

    fn left_out(count: u64) -> Option<Self> {
        Some(Self::Warning {
            text: format!("{count} lines of output are left out: nobody read them for a while"),
        })
    }
}

impl Piece for BundleEvent {
    fn kind(&self) -> Kind {
        match self {
            Self::Note { text } => Kind::Output(text.len() + OVERHEAD),
            Self::Failed { .. } | Self::Done { .. } => Kind::Kept,
        }
    }

    fn left_out(count: u64) -> Option<Self> {
        Some(Self::Note {
            text: format!("{count} notes are left out: nobody read them for a while"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    enum Told {
        Step(u32),
        Layer(&'static str, u32),
        Line(usize),
        Missing(u64),
    }

    impl Piece for Told {
        fn kind(&self) -> Kind {
            match self {
                Self::Step(_) | Self::Missing(_) => Kind::Kept,
                Self::Layer(name, _) => Kind::Latest((*name).to_owned()),
                Self::Line(bytes) => Kind::Output(*bytes),
            }
        }

        fn left_out(count: u64) -> Option<Self> {
            Some(Self::Missing(count))
        }
    }

    #[tokio::test]
    async fn of_progress_the_latest_is_left_in_its_place() {
        let (out, mut lines) = outbox();
        for told in [
            Told::Step(1),
            Told::Layer("a", 1),
            Told::Layer("b", 1),
            Told::Layer("a", 2),
            Told::Step(2),
        ] {
            out.send(told);
        }
        drop(out);
        let mut seen = Vec::new();
        while let Some(told) = lines.recv().await {
            seen.push(told);
        }
        assert_eq!(
            seen,
            [
                Told::Step(1),
                Told::Layer("a", 2),
                Told::Layer("b", 1),
                Told::Step(2)
            ]
        );
    }

    #[tokio::test]
    async fn output_waits_for_a_slow_reader_and_is_whole() {
        let (out, mut lines) = outbox();
        let writer = tokio::spawn(async move {
            for _ in 0..100 {
                out.room().await;
                out.send(Told::Line(ROOM / 4));
            }
        });
        let mut count = 0;
        while let Some(told) = lines.recv().await {
            assert!(matches!(told, Told::Line(_)), "{told:?}");
            count += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        writer.await.unwrap();
        assert_eq!(count, 100);
    }

    #[tokio::test]
    async fn a_reader_that_stands_still_holds_neither_memory_nor_work() {
        let (out, mut lines) = with_patience(Duration::from_millis(20));
        for _ in 0..100_000 {
            out.room().await;
            out.send(Told::Line(4096));
        }
        assert!(out.0.queue().output <= ROOM + 4096);
        out.send(Told::Step(7));
        drop(out);
        let (mut kept, mut missing, mut last) = (0, 0, None);
        while let Some(told) = lines.recv().await {
            match told {
                Told::Line(_) => kept += 1,
                Told::Missing(count) => {
                    assert_eq!(last, None, "what is missing is said where it is missing");
                    missing += count;
                }
                other => last = Some(other),
            }
        }
        assert_eq!((kept + missing, last), (100_000, Some(Told::Step(7))));
    }

    #[tokio::test]
    async fn a_client_that_left_is_told_nothing() {
        let (out, lines) = outbox();
        drop(lines);
        out.closed().await;
        out.send(Told::Line(1));
        out.room().await;
        assert!(out.0.queue().pieces.is_empty());
    }
}
