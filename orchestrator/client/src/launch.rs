//! Starts an engine: `<current executable> engine`, detached, and waits for its word on a pipe.
//!
//! The child's standard output is that pipe: the engine writes `ready` once its socket listens, or the reason why it
//! cannot, and then closes it. It leaves our session by itself, so that no `pre_exec` is needed.

use std::process::Stdio;

use hoist_api::environment::environment;
use hoist_api::places::Places;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::{ClientError, Result};

pub(super) async fn start(places: &Places) -> Result<()> {
    let failed = |reason: String| ClientError::Start { reason };
    let program = std::env::current_exe()
        .map_err(|error| failed(format!("own executable unknown: {error}")))?;
    let mut child = Command::new(&program)
        .arg("engine")
        .env_clear()
        .envs(environment(places))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| failed(format!("{}: {error}", program.display())))?;
    let mut word = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout
            .read_to_string(&mut word)
            .await
            .map_err(|error| failed(format!("its report is unreadable: {error}")))?;
    }
    match word.trim() {
        "ready" => Ok(()),
        "" => {
            let status = child
                .wait()
                .await
                .map_err(|error| failed(error.to_string()))?;
            Err(failed(format!(
                "it ended at once ({status}); see {}",
                places.data_root.join("engine.log").display()
            )))
        }
        reason => Err(failed(reason.to_owned())),
    }
}
