//! The client: typed calls over the engine's Unix socket, starting an engine when none answers.
//!
//! Must not know: rendering, exit codes of verbs, the engine's inside.
#![forbid(unsafe_code)]

mod connection;
mod launch;
mod objects;
mod store;
mod stream;
mod transport;

pub use stream::{ByteStream, FrameReader, Hijacked, JsonStream, LogFrames};

use std::path::{Path, PathBuf};
use std::time::Duration;

use hoist_api::places::Places;
use hoist_api::{
    ApplyEvent, ApplyRequest, BuildCheck, ErrorBody, EventMessage, Info, LogOptions, PlanResponse,
    StackDetail, StackLogLine, StackSummary, Version,
};

use connection::{Connection, PATIENCE};

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("permission denied on the engine's socket {}", socket.display())]
    Permission { socket: PathBuf },
    #[error("no engine answers on {}", socket.display())]
    NoEngine {
        socket: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the engine on {} does not answer{}", socket.display(), process.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    Silent {
        socket: PathBuf,
        process: Option<i32>,
    },
    #[error("cannot start the engine: {reason}")]
    Start { reason: String },
    /// The engine refused; its message stands for itself.
    #[error("{}", .error.message)]
    Api { status: u16, error: ErrorBody },
    #[error("cannot talk to the engine: {attempt}")]
    Transport {
        attempt: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("cannot read the engine's answer to {request}")]
    Decode {
        request: String,
        #[source]
        source: serde_json::Error,
    },
}

impl ClientError {
    pub fn not_found(&self) -> bool {
        matches!(self, Self::Api { status: 404, .. })
    }
}

pub type Result<T> = std::result::Result<T, ClientError>;

/// A handle on one engine. Cheap to clone; every call has a connection of its own.
#[derive(Debug, Clone)]
pub struct Client {
    places: Places,
}

impl Client {
    /// Connects, starting an engine (`<current executable> engine`) when none answers.
    pub async fn connect(places: &Places) -> Result<Self> {
        let client = Self {
            places: places.clone(),
        };
        if client.answers().await? {
            return Ok(client);
        }
        // One that is about to die may answer the first; the next then starts another.
        const ATTEMPTS: usize = 3;
        for _ in 1..ATTEMPTS {
            launch::start(places).await?;
            if client.answers().await? {
                return Ok(client);
            }
        }
        launch::start(places).await?;
        match Connection::open(&places.socket).await {
            Ok(_) => Ok(client),
            Err(source) => Err(transport::refused(&places.socket, source)),
        }
    }

    /// Connects only to an engine that is there.
    pub async fn connect_running(places: &Places) -> Result<Option<Self>> {
        let client = Self {
            places: places.clone(),
        };
        Ok(if client.answers().await? {
            Some(client)
        } else {
            None
        })
    }

    /// A connection alone proves nothing: the kernel accepts it even for a hung engine.
    async fn answers(&self) -> Result<bool> {
        use std::io::ErrorKind::{
            ConnectionRefused, ConnectionReset, NotFound, PermissionDenied, TimedOut,
        };
        match Connection::open(&self.places.socket).await {
            Ok(connection) => self.heard(connection, PATIENCE).await,
            Err(source) if source.kind() == TimedOut => Err(ClientError::Silent {
                socket: self.places.socket.clone(),
                process: None,
            }),
            // Reset: an engine that was on its way out let it wait, and left.
            Err(source)
                if matches!(
                    source.kind(),
                    NotFound | ConnectionRefused | ConnectionReset
                ) =>
            {
                Ok(false)
            }
            Err(source) if source.kind() == PermissionDenied => Err(ClientError::Permission {
                socket: self.places.socket.clone(),
            }),
            Err(source) => Err(transport::refused(&self.places.socket, source)),
        }
    }

    /// Whether there is an answer; `false`: the connection ended without one.
    async fn heard(&self, connection: Connection, patience: Duration) -> Result<bool> {
        let process = connection.engine();
        match tokio::time::timeout(patience, transport::ping(connection)).await {
            Ok(heard) => Ok(heard),
            Err(_) => Err(ClientError::Silent {
                socket: self.places.socket.clone(),
                process,
            }),
        }
    }

    pub fn socket(&self) -> &Path {
        &self.places.socket
    }

    pub async fn ping(&self) -> Result<()> {
        self.get_unit("/_ping").await
    }

    pub async fn version(&self) -> Result<Version> {
        self.get_json("/version").await
    }

    pub async fn info(&self) -> Result<Info> {
        self.get_json("/info").await
    }

    /// What would be done.
    pub async fn plan(&self, request: &ApplyRequest) -> Result<PlanResponse> {
        self.post_json("/hoist/v1/plan", request).await
    }

    /// What the checks say about the builds of a plan.
    pub async fn check(&self, request: &ApplyRequest) -> Result<Vec<BuildCheck>> {
        self.post_json("/hoist/v1/check", request).await
    }

    /// Does it. The last item is `ApplyEvent::Result`; dropping the stream gives up builds, and does not
    /// stop other work.
    pub async fn apply(&self, request: &ApplyRequest) -> Result<JsonStream<ApplyEvent>> {
        self.post_stream("/hoist/v1/apply", request).await
    }

    pub async fn stacks(&self) -> Result<Vec<StackSummary>> {
        self.get_json("/hoist/v1/stacks").await
    }

    pub async fn stack(&self, name: &str) -> Result<StackDetail> {
        self.get_json(&format!("/hoist/v1/stacks/{}", transport::escape(name)))
            .await
    }

    /// Logs of every container of a stack, merged by time; with `follow` also of containers that appear later.
    pub async fn stack_logs(
        &self,
        name: &str,
        options: &LogOptions,
    ) -> Result<JsonStream<StackLogLine>> {
        let path = format!(
            "/hoist/v1/stacks/{}/logs?{}",
            transport::escape(name),
            transport::log_query(options)
        );
        self.get_stream(&path).await
    }

    /// `filters`: pairs such as (`label`, `com.docker.compose.project=shop`), as in docker.
    pub async fn events(
        &self,
        since: Option<&str>,
        until: Option<&str>,
        filters: &[(&str, &str)],
    ) -> Result<JsonStream<EventMessage>> {
        let mut query = vec![("filters", transport::filters(filters))];
        query.extend(since.map(|since| ("since", since.to_owned())));
        query.extend(until.map(|until| ("until", until.to_owned())));
        self.get_stream(&format!("/events?{}", transport::query(&query)))
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_engine_that_stands_still_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let places = Places {
            data_root: folder.path().into(),
            run_dir: folder.path().into(),
            socket: socket.clone(),
        };
        let client = Client { places };
        let connection = Connection::open(&socket).await.unwrap();
        let error = client
            .heard(connection, Duration::from_millis(50))
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("does not answer") && error.contains(&std::process::id().to_string()),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_full_queue_is_waited_for() {
        use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        listen(&listener, 0).unwrap();
        let _first = std::os::unix::net::UnixStream::connect(&path).unwrap();
        let mut second = std::pin::pin!(Connection::open(&path));
        let waits = tokio::time::timeout(Duration::from_millis(50), second.as_mut()).await;
        assert!(waits.is_err(), "there is no room in the queue");
        let _accepted = rustix::net::accept(&listener).unwrap();
        second.await.unwrap();
    }
}
