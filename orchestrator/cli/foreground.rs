//! Owns what a command in the foreground of a container shares with it: the signals that it passes on, and the code that
//! it ends with.

use hoist_engine::api::types::EventMessage;
use hoist_engine::client::{Client, ClientError, JsonStream};
use jiff::Timestamp;

use crate::apply;
use crate::error::{Failure, Result};

/// The ends of containers from here on, or from a time on. Asked for before the one is waited for, they tell its code even
/// when it removes itself or is started again.
pub(crate) async fn ends(client: &Client, since: Option<Timestamp>) -> Result<JsonStream<EventMessage>> {
    let since = since.map(|time| time.to_string());
    Ok(client.events(since.as_deref(), None, &[("type", "container"), ("event", "die")]).await?)
}

/// The code that the container exits with. An engine that came after the one which was asked knows it from the container.
pub(crate) async fn exit_code(client: &Client, ends: &mut JsonStream<EventMessage>, container: &str) -> Result<i64> {
    while let Ok(Some(event)) = ends.next().await {
        if event.action == "die" && event.actor.id == container {
            let code = event.actor.attributes.get("exitCode").and_then(|code| code.parse().ok());
            return code.ok_or_else(|| Failure::user("the engine does not say how the container ended"));
        }
    }
    match client.wait_container(container, "not-running").await {
        Ok(answer) => Ok(answer.status_code),
        Err(error) if error.not_found() => Err(apply::lost()),
        Err(error) => Err(error.into()),
    }
}

/// One that has ended meanwhile needs no signal.
pub(crate) async fn signal(client: &Client, container: &str, name: &str) -> Result<()> {
    match client.kill_container(container, name).await {
        Ok(()) | Err(ClientError::Api { status: 404 | 409, .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
