//! Streams: history merged by time, then what comes, until there is nobody left who could write.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::inotify;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};

use super::Wanted;
use super::tail::{Line, Tail};
use crate::api::types::StackLogLine;
use crate::engine::{Engine, now, rfc3339};
use crate::readiness;
use crate::world::{Phase, Status};

/// Wakes when a log grows or is rotated.
struct Watch {
    inotify: AsyncFd<rustix::fd::OwnedFd>,
}

impl Watch {
    fn new() -> std::io::Result<Self> {
        let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        Ok(Self { inotify: readiness::watch(fd, Interest::READABLE)? })
    }

    fn add(&self, log: &Path) {
        let folder = log.parent().unwrap_or(log);
        let events = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::ONLYDIR;
        let _ = crate::store::make_folder(folder);
        if let Err(error) = inotify::add_watch(self.inotify.get_ref(), folder, events) {
            tracing::warn!(folder = %folder.display(), %error, "cannot watch a log");
        }
    }

    async fn changed(&self) {
        let Ok(mut ready) = self.inotify.readable().await else { return std::future::pending().await };
        ready.clear_ready();
        let mut buffer = [0_u8; 8192];
        while rustix::io::read(self.inotify.get_ref(), &mut buffer).is_ok_and(|count| count > 0) {}
    }
}

/// One container in a stream.
struct Source {
    id: String,
    service: String,
    name: String,
    tail: Tail,
    status: watch::Receiver<Status>,
    /// The run whose end was told.
    told: u64,
    /// Began before the stream did: its old end is history.
    queue: VecDeque<Line>,
}

impl Source {
    fn next(&mut self) -> Option<Line> {
        match self.tail.next() {
            Ok(line) => line,
            Err(error) => {
                tracing::warn!(container = self.id, %error, "cannot read a log");
                None
            }
        }
    }

    fn may_write(&self) -> bool {
        let status = self.status.borrow();
        status.phase.is_up() || matches!(status.phase, Phase::Restarting { .. })
    }
}

async fn sources(engine: &Arc<Engine>, wanted: &Wanted, select: Select) -> Vec<Source> {
    let layout = engine.store.layout.clone();
    let found = engine.look(move |world| {
        let chosen = world.containers.values().filter(|container| select.takes(&container.doc));
        let describe = |container: &crate::world::Container| {
            let record = &container.doc.record;
            (container.doc.id.clone(), record.service.clone(), record.name.clone(), container.status.subscribe())
        };
        chosen.map(describe).collect::<Vec<_>>()
    });
    let mut sources = Vec::new();
    for (id, service, name, status) in found.await.unwrap_or_default() {
        match Tail::new(&layout.log(&id), wanted) {
            Ok(tail) => {
                let told = status.borrow().run;
                sources.push(Source { id, service, name, tail, status, told, queue: VecDeque::new() });
            }
            Err(error) => tracing::warn!(container = id, %error, "cannot open a log"),
        }
    }
    sources
}

#[derive(Debug, Clone)]
enum Select {
    Container(String),
    Project { name: String, services: Vec<String> },
}

impl Select {
    fn takes(&self, doc: &crate::store::ContainerDoc) -> bool {
        match self {
            Self::Container(id) => doc.id == *id,
            Self::Project { name, services } => {
                doc.record.project == *name
                    && !doc.record.oneoff
                    && (services.is_empty() || services.contains(&doc.record.service))
            }
        }
    }
}

pub(super) async fn one(engine: &Arc<Engine>, id: &str, wanted: &Wanted, out: &mpsc::Sender<Line>) {
    let mut found = sources(engine, wanted, Select::Container(id.to_owned())).await;
    let Some(source) = found.first_mut() else { return };
    let watch = match wanted.follow.then(Watch::new).transpose() {
        Ok(watch) => watch,
        Err(error) => {
            tracing::warn!(%error, "cannot follow");
            None
        }
    };
    if let Some(watch) = &watch {
        watch.add(&engine.store.layout.log(id));
    }
    let mut only_last = wanted.tail;
    loop {
        // Asked before reading: what was written before the end is read after it was seen.
        let goes_on = source.may_write();
        let mut lines: VecDeque<Line> = VecDeque::new();
        while let Some(line) = tokio::task::block_in_place(|| source.next()) {
            lines.push_back(line);
            if only_last.is_some_and(|most| lines.len() > most) {
                lines.pop_front();
            }
            if only_last.is_none() && lines.len() >= 1024 && !send_all(out, &mut lines).await {
                return;
            }
        }
        only_last = None;
        if !send_all(out, &mut lines).await {
            return;
        }
        let Some(watch) = watch.as_ref().filter(|_| goes_on) else { return };
        tokio::select! {
            () = watch.changed() => {}
            _ = source.status.changed() => {}
            () = out.closed() => return,
        }
    }
}

async fn send_all(out: &mpsc::Sender<Line>, lines: &mut VecDeque<Line>) -> bool {
    for line in lines.drain(..) {
        if out.send(line).await.is_err() {
            return false;
        }
    }
    true
}

pub(super) async fn stack(
    engine: &Arc<Engine>,
    project: &str,
    wanted: &Wanted,
    services: &[String],
    out: &mpsc::Sender<StackLogLine>,
) {
    let select = Select::Project { name: project.to_owned(), services: services.to_vec() };
    let Ok(mut changes) = engine.look(|world| world.changes.subscribe()).await else { return };
    let mut sources = sources(engine, wanted, select.clone()).await;
    let watch = wanted.follow.then(Watch::new).and_then(Result::ok);
    if let Some(watch) = &watch {
        sources.iter().for_each(|source| watch.add(&engine.store.layout.log(&source.id)));
    }
    if let Some(most) = wanted.tail {
        tokio::task::block_in_place(|| sources.iter_mut().for_each(|source| keep_last(source, most)));
    }
    // Whose end is to be told: those who were up when the stream began, and all that come later.
    for source in &mut sources {
        if source.may_write() {
            source.told = source.told.saturating_sub(1);
        }
    }
    loop {
        // While a request works on the project, more may come.
        let goes_on = engine.turns.is_taken(project) || sources.iter().any(Source::may_write);
        let ends: Vec<Option<(u64, i32)>> = sources.iter().map(ended).collect();
        if !drain(&mut sources, out).await || !tell_ends(&mut sources, &ends, out).await {
            return;
        }
        let Some(watch) = watch.as_ref().filter(|_| goes_on) else { return };
        tokio::select! {
            () = watch.changed() => {}
            _ = changes.changed() => {}
            () = any_status(&mut sources) => {}
            () = out.closed() => return,
        }
        add_new(engine, wanted, &select, watch, &mut sources).await;
    }
}

fn keep_last(source: &mut Source, most: usize) {
    while let Some(line) = source.next() {
        source.queue.push_back(line);
        if source.queue.len() > most {
            source.queue.pop_front();
        }
    }
}

async fn any_status(sources: &mut [Source]) {
    let waits = sources.iter_mut().map(|source| Box::pin(source.status.changed()));
    let waits: Vec<_> = waits.collect();
    if waits.is_empty() {
        std::future::pending::<()>().await;
    }
    let (result, ..) = futures_util::future::select_all(waits).await;
    if result.is_err() {
        // A container that was removed: its watch says so for ever.
        tokio::task::yield_now().await;
    }
}

async fn add_new(engine: &Arc<Engine>, wanted: &Wanted, select: &Select, watch: &Watch, known: &mut Vec<Source>) {
    known.retain(|source| source.status.borrow().phase != Phase::Removed);
    let fresh = Wanted { tail: None, ..wanted.clone() };
    for mut source in sources(engine, &fresh, select.clone()).await {
        if known.iter().all(|other| other.id != source.id) {
            watch.add(&engine.store.layout.log(&source.id));
            source.told = 0;
            known.push(source);
        }
    }
}

/// The run that has ended, and its exit code.
fn ended(source: &Source) -> Option<(u64, i32)> {
    let status = source.status.borrow();
    let exit = status.phase.exit()?;
    (status.run > source.told).then_some((status.run, exit.code))
}

/// Everything that can be read now, in the order of time.
async fn drain(sources: &mut [Source], out: &mpsc::Sender<StackLogLine>) -> bool {
    let mut heads: BTreeMap<(String, usize), Line> = BTreeMap::new();
    let pull = |sources: &mut [Source], heads: &mut BTreeMap<(String, usize), Line>, index: usize| {
        let source = &mut sources[index];
        let line = source.queue.pop_front().or_else(|| source.next());
        if let Some(line) = line {
            heads.insert((line.time.clone(), index), line);
        }
    };
    tokio::task::block_in_place(|| (0..sources.len()).for_each(|index| pull(sources, &mut heads, index)));
    let mut unfinished: BTreeMap<(usize, bool), StackLogLine> = BTreeMap::new();
    while let Some(((_, index), line)) = heads.pop_first() {
        let key = (index, line.stderr);
        let more = line.partial;
        let text = String::from_utf8_lossy(&line.text);
        let whole = unfinished.entry(key).or_insert_with(|| StackLogLine {
            service: sources[index].service.clone(),
            container: sources[index].name.clone(),
            time: line.time.clone(),
            stream: if line.stderr { "stderr".to_owned() } else { "stdout".to_owned() },
            text: String::new(),
            exit_code: None,
        });
        whole.text.push_str(&text);
        if !more
            && let Some(whole) = unfinished.remove(&key)
            && out.send(whole).await.is_err()
        {
            return false;
        }
        tokio::task::block_in_place(|| pull(sources, &mut heads, index));
    }
    for line in unfinished.into_values() {
        if out.send(line).await.is_err() {
            return false;
        }
    }
    true
}

async fn tell_ends(sources: &mut [Source], ends: &[Option<(u64, i32)>], out: &mpsc::Sender<StackLogLine>) -> bool {
    for (source, end) in sources.iter_mut().zip(ends) {
        let Some((run, code)) = *end else { continue };
        source.told = run;
        let line = StackLogLine {
            service: source.service.clone(),
            container: source.name.clone(),
            time: rfc3339(now()),
            stream: "status".to_owned(),
            text: format!("exited with code {code}"),
            exit_code: Some(code),
        };
        if out.send(line).await.is_err() {
            return false;
        }
    }
    true
}
