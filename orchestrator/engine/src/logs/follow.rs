//! Streams: history merged by time, then what comes, until there is nobody left who could write.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hoist_api::StackLogLine;
use rustix::fs::inotify;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};

use super::Wanted;
use super::tail::{Line, Tail};
use crate::engine::{Engine, now, rfc3339};
use crate::readiness;
use crate::world::{Phase, Status};

/// Bytes that are read before they are sent on.
const BATCH: usize = 256 * 1024;

/// Wakes when a log grows or is rotated.
struct Watch {
    inotify: AsyncFd<rustix::fd::OwnedFd>,
}

impl Watch {
    fn new() -> std::io::Result<Self> {
        let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        Ok(Self {
            inotify: readiness::watch(fd, Interest::READABLE)?,
        })
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
        let Ok(mut ready) = self.inotify.readable().await else {
            return std::future::pending().await;
        };
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
    /// Does not wait: unfinished lines are shown as they are.
    last: bool,
}

impl Source {
    fn next(&mut self) -> Option<Line> {
        match self.tail.next(self.last) {
            Ok(line) => line,
            Err(error) => {
                tracing::warn!(container = self.id, %error, "cannot read a log");
                None
            }
        }
    }

    fn line(&self, line: Line) -> StackLogLine {
        let (text, bytes) = match String::from_utf8(line.text) {
            Ok(text) => (text, None),
            Err(error) => {
                let bytes = error.into_bytes();
                (
                    String::from_utf8_lossy(&bytes).into_owned(),
                    Some(BASE64_STANDARD.encode(&bytes)),
                )
            }
        };
        StackLogLine {
            time: line.time,
            stream: if line.stderr {
                "stderr".to_owned()
            } else {
                "stdout".to_owned()
            },
            text,
            bytes,
            more: !line.ends,
            ..self.about()
        }
    }

    fn lost(&self, first: &str) -> StackLogLine {
        let text = format!(
            "lines before {first} were rotated away (logging.options max-size and max-file say how much is kept)"
        );
        StackLogLine {
            time: first.to_owned(),
            stream: "notice".to_owned(),
            text,
            ..self.about()
        }
    }

    fn about(&self) -> StackLogLine {
        StackLogLine {
            service: self.service.clone(),
            container: self.name.clone(),
            ..StackLogLine::default()
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
        let chosen = world
            .containers
            .values()
            .filter(|container| select.takes(&container.doc));
        let describe = |container: &crate::world::Container| {
            let record = &container.doc.record;
            let status = world.follow(&container.doc.id)?;
            Some((
                container.doc.id.clone(),
                record.service.clone(),
                record.name.clone(),
                status,
            ))
        };
        chosen.filter_map(describe).collect::<Vec<_>>()
    });
    let mut sources = Vec::new();
    for (id, service, name, status) in found.await.unwrap_or_default() {
        match Tail::new(&layout.log(&id), wanted) {
            Ok(tail) => {
                let told = status.borrow().run;
                sources.push(Source {
                    id,
                    service,
                    name,
                    tail,
                    status,
                    told,
                    last: false,
                });
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
    fn takes(&self, doc: &hoist_object::ContainerDoc) -> bool {
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
    let Some(source) = found.first_mut() else {
        return;
    };
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
    loop {
        // Asked before reading: what was written before the end is read after it was seen.
        let goes_on = source.may_write() && watch.is_some() && !wanted.is_over();
        source.last = !goes_on;
        while let Some(batch) = tokio::task::block_in_place(|| batch(source)) {
            for line in batch {
                if out.send(line).await.is_err() {
                    return;
                }
            }
        }
        let Some(watch) = watch.as_ref().filter(|_| goes_on) else {
            return;
        };
        tokio::select! {
            () = watch.changed() => {}
            _ = source.status.changed() => {}
            () = wanted.end() => {}
            () = out.closed() => return,
        }
    }
}

/// Some lines that can be read now, if there are any.
fn batch(source: &mut Source) -> Option<Vec<Line>> {
    let mut size = 0;
    let mut lines = Vec::new();
    while size < BATCH
        && let Some(line) = source.next()
    {
        size += line.text.len() + size_of::<Line>();
        lines.push(line);
    }
    (!lines.is_empty()).then_some(lines)
}

pub(super) async fn stack(
    engine: &Arc<Engine>,
    project: &str,
    wanted: &Wanted,
    services: &[String],
    out: &mpsc::Sender<StackLogLine>,
) {
    let select = Select::Project {
        name: project.to_owned(),
        services: services.to_vec(),
    };
    let Ok(mut changes) = engine.look(|world| world.changes.subscribe()).await else {
        return;
    };
    let mut sources = sources(engine, wanted, select.clone()).await;
    let watch = wanted.follow.then(Watch::new).and_then(Result::ok);
    if let Some(watch) = &watch {
        sources
            .iter()
            .for_each(|source| watch.add(&engine.store.layout.log(&source.id)));
    }
    // Whose end is to be told: those who were up when the stream began, and all that come later.
    for source in &mut sources {
        if source.may_write() {
            source.told = source.told.saturating_sub(1);
        }
    }
    loop {
        // While a request works on the project, more may come.
        let is_over = wanted.is_over();
        let goes_on =
            !is_over && (engine.turns.is_taken(project) || sources.iter().any(Source::may_write));
        sources
            .iter_mut()
            .for_each(|source| source.last = watch.is_none() || is_over || !source.may_write());
        let ends: Vec<Option<(u64, i32)>> = sources.iter().map(ended).collect();
        if !drain(&mut sources, out).await || !tell_ends(&mut sources, &ends, out).await {
            return;
        }
        let Some(watch) = watch.as_ref().filter(|_| goes_on) else {
            return;
        };
        tokio::select! {
            () = watch.changed() => {}
            _ = changes.changed() => {}
            () = any_status(&mut sources) => {}
            () = wanted.end() => {}
            () = out.closed() => return,
        }
        add_new(engine, wanted, &select, watch, &mut sources).await;
    }
}

async fn any_status(sources: &mut [Source]) {
    let waits = sources
        .iter_mut()
        .map(|source| Box::pin(source.status.changed()));
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

async fn add_new(
    engine: &Arc<Engine>,
    wanted: &Wanted,
    select: &Select,
    watch: &Watch,
    known: &mut Vec<Source>,
) {
    known.retain(|source| source.status.borrow().phase != Phase::Removed);
    let fresh = Wanted {
        tail: None,
        ..wanted.clone()
    };
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

/// Everything that can be read now, in the order of time; the pieces of a line follow each other.
async fn drain(sources: &mut [Source], out: &mpsc::Sender<StackLogLine>) -> bool {
    let mut heads: BTreeMap<(String, usize), Line> = BTreeMap::new();
    for (index, source) in sources.iter_mut().enumerate() {
        if let Some(line) = tokio::task::block_in_place(|| source.next()) {
            heads.insert((line.time.clone(), index), line);
        }
    }
    while let Some(((_, index), mut line)) = heads.pop_first() {
        let source = &mut sources[index];
        if let Some(first) = source.tail.take_lost()
            && out.send(source.lost(&first)).await.is_err()
        {
            return false;
        }
        loop {
            let ends = line.ends;
            if out.send(source.line(line)).await.is_err() {
                return false;
            }
            let Some(next) = tokio::task::block_in_place(|| source.next()) else {
                break;
            };
            if ends {
                heads.insert((next.time.clone(), index), next);
                break;
            }
            line = next;
        }
    }
    true
}

async fn tell_ends(
    sources: &mut [Source],
    ends: &[Option<(u64, i32)>],
    out: &mpsc::Sender<StackLogLine>,
) -> bool {
    for (source, end) in sources.iter_mut().zip(ends) {
        let Some((run, code)) = *end else { continue };
        source.told = run;
        let line = StackLogLine {
            time: rfc3339(now()),
            stream: "status".to_owned(),
            text: format!("exited with code {code}"),
            exit_code: Some(code),
            ..source.about()
        };
        if out.send(line).await.is_err() {
            return false;
        }
    }
    true
}
