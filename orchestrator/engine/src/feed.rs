//! Events for subscribers, in docker's form: those to come, and the last ones of this engine's life. All words and
//! attributes of docker's are here.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use hoist_image::Removed;
use hoist_object::{ContainerDoc, Health, MountKind, NetworkDoc, Timestamp};
use tokio::sync::broadcast;

use crate::engine::{Engine, now};
use crate::world::{Notice, Subject};

/// Docker keeps this many.
const PAST: usize = 256;
/// A subscriber that is further behind misses some.
const PENDING: usize = 1024;

/// Something that happened to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happening {
    pub at: Timestamp,
    /// `container`, `image`, `network`, `volume`, `builder`.
    pub kind: &'static str,
    pub id: String,
    pub action: String,
    pub attributes: BTreeMap<String, String>,
}

#[derive(Debug)]
pub(crate) struct Feed {
    live: broadcast::Sender<Arc<Happening>>,
    /// Oldest first. Held while an event is sent, so that a subscriber gets each event once.
    past: Mutex<VecDeque<Arc<Happening>>>,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            live: broadcast::channel(PENDING).0,
            past: Mutex::default(),
        }
    }
}

impl Feed {
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<Happening>> {
        self.live.subscribe()
    }

    /// What happened from `since` on, as far as it is remembered, and what comes next.
    pub(crate) fn since(
        &self,
        since: Timestamp,
    ) -> (Vec<Arc<Happening>>, broadcast::Receiver<Arc<Happening>>) {
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = past
            .iter()
            .filter(|event| event.at >= since)
            .cloned()
            .collect();
        (wanted, self.live.subscribe())
    }

    fn send(&self, event: Arc<Happening>) {
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        if past.len() == PAST {
            past.pop_front();
        }
        past.push_back(Arc::clone(&event));
        // It is fine to have no listener.
        let _ = self.live.send(event);
    }
}

/// What happens to containers.
#[derive(Debug, Clone)]
pub(crate) enum OfContainer {
    ArchivePath,
    Attach,
    Commit {
        comment: String,
        image: String,
        /// Empty: it has no name.
        reference: String,
    },
    Create,
    Destroy,
    Die {
        code: i32,
        /// Seconds; nothing when it did not start.
        ran: Option<u64>,
    },
    ExecCreate {
        exec: String,
        command: Vec<String>,
    },
    ExecStart {
        exec: String,
        command: Vec<String>,
    },
    ExecDie {
        exec: String,
        code: i32,
    },
    Export,
    ExtractToDir,
    Health(Health),
    Kill {
        signal: i32,
    },
    Oom,
    Pause,
    Resize {
        rows: u16,
        columns: u16,
    },
    Restart,
    Start,
    Stop,
    Top,
    Unpause,
}

/// What happens to images.
#[derive(Debug, Clone, Copy)]
pub(crate) enum OfImage {
    Create,
    Delete,
    Import,
    Load,
    Pull,
    Push,
    Save,
    Tag,
    Untag,
}

/// What happens to networks, with the container concerned.
#[derive(Debug, Clone, Copy)]
pub(crate) enum OfNetwork<'a> {
    Create,
    Destroy,
    Connect(&'a str),
    Disconnect(&'a str),
}

/// What happens to volumes, with the container concerned.
#[derive(Debug, Clone, Copy)]
pub(crate) enum OfVolume<'a> {
    Create,
    Destroy,
    Mount {
        container: &'a str,
        destination: &'a str,
        writable: bool,
    },
    Unmount {
        container: &'a str,
    },
}

/// What can be pruned.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pruned {
    Builder,
    Containers,
    Images,
    Networks,
    Volumes,
}

type Attributes = BTreeMap<String, String>;
/// Docker's word, and its attributes.
type Told = (String, Attributes);

fn told<const N: usize>(action: impl Into<String>, attributes: [(&str, String); N]) -> Told {
    (
        action.into(),
        attributes
            .map(|(key, value)| (key.to_owned(), value))
            .into(),
    )
}

impl OfContainer {
    fn told(&self) -> Told {
        // As docker has it, with a space after a command without arguments.
        let exec = |action: &str, exec: &String, command: &[String]| {
            let (program, arguments) = command.split_at(command.len().min(1));
            told(
                format!("{action}: {} {}", program.concat(), arguments.join(" ")),
                [("execID", exec.clone())],
            )
        };
        match self {
            Self::ArchivePath => told("archive-path", []),
            Self::Attach => told("attach", []),
            Self::Commit {
                comment,
                image,
                reference,
            } => {
                let about = [
                    ("comment", comment),
                    ("imageID", image),
                    ("imageRef", reference),
                ];
                told("commit", about.map(|(key, value)| (key, value.clone())))
            }
            Self::Create => told("create", []),
            Self::Destroy => told("destroy", []),
            Self::Die { code, ran: None } => told("die", [("exitCode", code.to_string())]),
            Self::Die {
                code,
                ran: Some(ran),
            } => told(
                "die",
                [
                    ("exitCode", code.to_string()),
                    ("execDuration", ran.to_string()),
                ],
            ),
            Self::ExecCreate { exec: id, command } => exec("exec_create", id, command),
            Self::ExecStart { exec: id, command } => exec("exec_start", id, command),
            Self::ExecDie { exec, code } => told(
                "exec_die",
                [("execID", exec.clone()), ("exitCode", code.to_string())],
            ),
            Self::Export => told("export", []),
            Self::ExtractToDir => told("extract-to-dir", []),
            Self::Health(Health::Healthy) => told("health_status: healthy", []),
            Self::Health(Health::Unhealthy) => told("health_status: unhealthy", []),
            Self::Health(Health::Starting | Health::None) => told("health_status: starting", []),
            Self::Kill { signal } => told("kill", [("signal", signal.to_string())]),
            Self::Oom => told("oom", []),
            Self::Pause => told("pause", []),
            Self::Resize { rows, columns } => told(
                "resize",
                [("height", rows.to_string()), ("width", columns.to_string())],
            ),
            Self::Restart => told("restart", []),
            Self::Start => told("start", []),
            Self::Stop => told("stop", []),
            Self::Top => told("top", []),
            Self::Unpause => told("unpause", []),
        }
    }
}

impl OfImage {
    fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Import => "import",
            Self::Load => "load",
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Save => "save",
            Self::Tag => "tag",
            Self::Untag => "untag",
        }
    }
}

impl OfNetwork<'_> {
    fn told(self) -> Told {
        match self {
            Self::Create => told("create", []),
            Self::Destroy => told("destroy", []),
            Self::Connect(container) => told("connect", [("container", container.to_owned())]),
            Self::Disconnect(container) => {
                told("disconnect", [("container", container.to_owned())])
            }
        }
    }
}

impl OfVolume<'_> {
    fn told(self) -> Told {
        match self {
            Self::Create => told("create", []),
            Self::Destroy => told("destroy", []),
            Self::Mount {
                container,
                destination,
                writable,
            } => told(
                "mount",
                [
                    ("container", container.to_owned()),
                    ("destination", destination.to_owned()),
                    ("read/write", writable.to_string()),
                    ("propagation", String::new()),
                ],
            ),
            Self::Unmount { container } => told("unmount", [("container", container.to_owned())]),
        }
    }
}

impl Pruned {
    fn kind(self) -> &'static str {
        match self {
            Self::Builder => "builder",
            Self::Containers => "container",
            Self::Images => "image",
            Self::Networks => "network",
            Self::Volumes => "volume",
        }
    }
}

fn send(engine: &Engine, kind: &'static str, id: &str, (action, attributes): Told) {
    engine.feed.send(Arc::new(Happening {
        at: now(),
        kind,
        id: id.to_owned(),
        action,
        attributes,
    }));
}

/// What the supervisor says.
pub(crate) fn notice(engine: &Engine, notice: Notice) {
    match notice {
        Notice::Container { doc, what } => container(engine, &doc, &what.into()),
        Notice::Requested { doc, what } => container(engine, &doc, &what),
        Notice::NetworkMade(doc) => network(engine, &doc, OfNetwork::Create),
        Notice::NetworkGone(doc) => network(engine, &doc, OfNetwork::Destroy),
        Notice::Connected(doc, id) => network(engine, &doc, OfNetwork::Connect(&id)),
        Notice::Disconnected(doc, id) => network(engine, &doc, OfNetwork::Disconnect(&id)),
        Notice::VolumeMade(name) => volume(engine, &name, OfVolume::Create),
        Notice::VolumeGone(name) => volume(engine, &name, OfVolume::Destroy),
        Notice::Attachments { doc, networks, up } => attachments(engine, &networks, &doc, up),
    }
}

impl From<Subject> for OfContainer {
    fn from(what: Subject) -> Self {
        match what {
            Subject::Created => Self::Create,
            Subject::Started => Self::Start,
            Subject::Died { code, ran } => Self::Die {
                code,
                ran: ran.map(|ran| ran.as_secs()),
            },
            Subject::Removed => Self::Destroy,
            Subject::Paused(true) => Self::Pause,
            Subject::Paused(false) => Self::Unpause,
            Subject::OutOfMemory => Self::Oom,
            Subject::Health(health) => Self::Health(health),
            Subject::ExecMade { id, command } => Self::ExecCreate { exec: id, command },
            Subject::ExecStarted { id, command } => Self::ExecStart { exec: id, command },
            Subject::ExecEnded { id, code } => Self::ExecDie { exec: id, code },
        }
    }
}

fn container(engine: &Engine, doc: &ContainerDoc, what: &OfContainer) {
    let (action, own) = what.told();
    let mut attributes = doc.labels.clone();
    attributes.insert("name".to_owned(), doc.record.name.clone());
    attributes.insert("image".to_owned(), doc.record.image.clone());
    attributes.extend(own);
    send(engine, "container", &doc.id, (action, attributes));
}

fn network(engine: &Engine, network: &NetworkDoc, what: OfNetwork<'_>) {
    let (action, mut attributes) = what.told();
    attributes.insert("name".to_owned(), network.name.clone());
    attributes.insert("type".to_owned(), "bridge".to_owned());
    send(engine, "network", &network.id, (action, attributes));
}

/// Attached at a container's start and detached at its end.
fn attachments(engine: &Engine, networks: &[NetworkDoc], doc: &ContainerDoc, up: bool) {
    let id = doc.id.as_str();
    for found in networks {
        network(
            engine,
            found,
            if up {
                OfNetwork::Connect(id)
            } else {
                OfNetwork::Disconnect(id)
            },
        );
    }
    for mount in &doc.mounts {
        let MountKind::Volume { name, .. } = &mount.kind else {
            continue;
        };
        let mounted = OfVolume::Mount {
            container: id,
            destination: &mount.target,
            writable: !mount.read_only,
        };
        volume(
            engine,
            name,
            if up {
                mounted
            } else {
                OfVolume::Unmount { container: id }
            },
        );
    }
}

fn volume(engine: &Engine, name: &str, what: OfVolume<'_>) {
    let (action, mut attributes) = what.told();
    attributes.insert("driver".to_owned(), "local".to_owned());
    send(engine, "volume", name, (action, attributes));
}

/// `name`: what docker calls it in such an event: its id, or a name.
pub(crate) fn image(engine: &Engine, what: OfImage, id: &str, name: &str) {
    let known = engine.images.resolve(id);
    let mut attributes = known
        .map(|image| image.config.config.labels.clone())
        .unwrap_or_default();
    attributes.insert("name".to_owned(), name.to_owned());
    send(engine, "image", id, (what.word().to_owned(), attributes));
}

/// What went with the removal of an image that was called `id`.
pub(crate) fn image_removed(engine: &Engine, id: &str, removed: &Removed) {
    removed
        .untagged
        .iter()
        .for_each(|_| image(engine, OfImage::Untag, id, id));
    for id in removed.deleted.iter().map(ToString::to_string) {
        image(engine, OfImage::Delete, &id, &id);
    }
}

/// Everything unused of a kind went, and so many bytes with it.
pub(crate) fn pruned(engine: &Engine, what: Pruned, bytes: u64) {
    send(
        engine,
        what.kind(),
        "",
        told("prune", [("reclaimed", bytes.to_string())]),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(at: i64) -> Arc<Happening> {
        let at = Timestamp(at);
        Arc::new(Happening {
            at,
            kind: "image",
            id: String::new(),
            action: String::new(),
            attributes: BTreeMap::new(),
        })
    }

    #[test]
    fn the_last_events_are_remembered() {
        let feed = Feed::default();
        let last = i64::try_from(PAST).unwrap() + 10;
        (0..last).for_each(|time| feed.send(event(time)));
        assert_eq!(feed.since(Timestamp(0)).0.len(), PAST);
        let (past, mut live) = feed.since(Timestamp(last - 2));
        assert_eq!(
            past.iter().map(|event| event.at.0).collect::<Vec<_>>(),
            [last - 2, last - 1]
        );
        feed.send(event(last));
        assert_eq!(live.try_recv().unwrap().at.0, last);
    }
}
