//! Owns what a foreground command and its container share: forwarded signals and the exit code.

use hoist_api::EventMessage;
use hoist_client::{Client, ClientError, JsonStream};
use jiff::Timestamp;

use crate::apply;
use crate::error::{Failure, Result};

/// Container exits from now on, or since a given time. Subscribing before waiting yields the exit code even if the
/// container removes itself or is restarted.
pub(crate) async fn ends(
    client: &Client,
    since: Option<Timestamp>,
) -> Result<JsonStream<EventMessage>> {
    let since = since.map(|time| time.to_string());
    Ok(client
        .events(
            since.as_deref(),
            None,
            &[("type", "container"), ("event", "die")],
        )
        .await?)
}

/// The container's exit code. If the engine was replaced while waiting, the new one knows it from the container.
pub(crate) async fn exit_code(
    client: &Client,
    ends: &mut JsonStream<EventMessage>,
    container: &str,
) -> Result<i64> {
    while let Ok(Some(event)) = ends.next().await {
        if event.action == "die" && event.actor.id == container {
            let code = event
                .actor
                .attributes
                .get("exitCode")
                .and_then(|code| code.parse().ok());
            return code
                .ok_or_else(|| Failure::user("the engine does not say how the container ended"));
        }
    }
    match client.wait_container(container, "not-running").await {
        Ok(answer) => Ok(answer.status_code),
        Err(error) if error.not_found() => Err(apply::lost()),
        Err(error) => Err(error.into()),
    }
}

/// No signal is needed if it has already exited.
pub(crate) async fn signal(client: &Client, container: &str, name: &str) -> Result<()> {
    match client.kill_container(container, name).await {
        Ok(())
        | Err(ClientError::Api {
            status: 404 | 409, ..
        }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
