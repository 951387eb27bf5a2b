//! Containers that are held still while what they write to is read.
//!
//! Who is held is noted in the run dir first: when the engine dies in between, the next one lets them go.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hoist_object::{ContainerDoc, MountKind};

use crate::actions::{self, StepError};
use crate::engine::Engine;
use crate::world::Phase;

/// Paused containers; they go on when it is dropped.
#[derive(Debug)]
pub(crate) struct Still {
    engine: Arc<Engine>,
    held: Vec<(String, String)>,
    note: PathBuf,
}

fn notes(run_dir: &Path) -> PathBuf {
    run_dir.join("held")
}

/// Whether a container can write to one of the volumes.
fn writes_to(doc: &ContainerDoc, volumes: &BTreeSet<String>) -> bool {
    let mounted = doc.mounts.iter().any(|mount| match &mount.kind {
        MountKind::Volume { name, .. } => !mount.read_only && volumes.contains(name),
        _ => false,
    });
    mounted
        || doc
            .anonymous
            .values()
            .any(|volume| volumes.contains(volume))
}

impl Still {
    /// Pauses the running containers that write to these volumes.
    pub(crate) async fn writers(
        engine: &Arc<Engine>,
        volumes: &BTreeSet<String>,
    ) -> Result<Self, StepError> {
        let volumes = volumes.clone();
        let found = engine.look(move |world| {
            let running = world
                .containers
                .values()
                .filter(|container| container.phase == Phase::Running);
            let writers = running.filter(|container| writes_to(&container.doc, &volumes));
            writers
                .map(|container| (container.doc.id.clone(), container.doc.record.name.clone()))
                .collect()
        });
        Self::hold(engine, found.await?).await
    }

    /// Pauses one container, if it runs.
    pub(crate) async fn container(engine: &Arc<Engine>, id: &str) -> Result<Self, StepError> {
        let wanted = id.to_owned();
        let found = engine.look(move |world| {
            let container = world
                .containers
                .get(&wanted)
                .filter(|container| container.phase == Phase::Running);
            container.map(|container| (container.doc.id.clone(), container.doc.record.name.clone()))
        });
        Self::hold(engine, found.await?.into_iter().collect()).await
    }

    async fn hold(engine: &Arc<Engine>, wanted: Vec<(String, String)>) -> Result<Self, StepError> {
        let note = notes(&engine.config.run_dir).join(&crate::engine::new_id()[..12]);
        let mut still = Self {
            engine: Arc::clone(engine),
            held: Vec::new(),
            note,
        };
        if wanted.is_empty() {
            return Ok(still);
        }
        let ids: Vec<&str> = wanted.iter().map(|(id, _)| id.as_str()).collect();
        let folder = notes(&engine.config.run_dir);
        crate::store::make_folder(&folder)
            .and_then(|()| std::fs::write(&still.note, ids.join("\n")))
            .map_err(|error| {
                StepError::engine(format!(
                    "noting paused containers in {}: {error}",
                    folder.display()
                ))
            })?;
        for (id, name) in wanted {
            actions::pause(engine, &id)
                .await
                .map_err(|error| error.at(&format!("pausing {name}")))?;
            still.held.push((id, name));
        }
        Ok(still)
    }

    /// Names of the paused containers.
    pub(crate) fn names(&self) -> Vec<String> {
        self.held.iter().map(|(_, name)| name.clone()).collect()
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        let (engine, held, note) = (
            Arc::clone(&self.engine),
            std::mem::take(&mut self.held),
            self.note.clone(),
        );
        tokio::spawn(async move {
            release(&engine, held.into_iter().map(|(id, _)| id).collect(), &note).await
        });
    }
}

async fn release(engine: &Arc<Engine>, ids: Vec<String>, note: &Path) {
    for id in ids {
        if let Err(error) = actions::unpause(engine, &id).await {
            tracing::warn!(container = id, %error, "a container that was held still cannot go on");
        }
    }
    let _ = std::fs::remove_file(note);
}

/// Lets go on what an earlier engine held when it died.
pub(crate) fn resume_held(engine: &Arc<Engine>) {
    let Ok(entries) = std::fs::read_dir(notes(&engine.config.run_dir)) else {
        return;
    };
    for note in entries.flatten().map(|entry| entry.path()) {
        let ids = std::fs::read_to_string(&note)
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect();
        let engine = Arc::clone(engine);
        tokio::spawn(async move { release(&engine, ids, &note).await });
    }
}
