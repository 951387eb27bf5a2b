//! The engine's socket inside of containers.
//!
//! A container that mounts the socket file has that of the engine at its start; the next engine's socket is another
//! file. So every engine, once it listens, replaces these mounts with its own socket.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hoist_object::MountKind;

use crate::engine::Engine;
use crate::error::chain;
use crate::world::World;

/// A bind mount of a running container.
struct Bind {
    id: String,
    pid: i32,
    source: PathBuf,
    target: String,
}

pub(crate) async fn renew(engine: &Arc<Engine>) {
    let Ok(binds) = engine.look(binds).await else {
        return;
    };
    for bind in binds {
        let engine = Arc::clone(engine);
        // Concurrently: one slow container must not delay the others.
        tokio::task::spawn_blocking(move || {
            let (
                socket,
                Bind {
                    id,
                    pid,
                    source,
                    target,
                },
            ) = (&engine.config.socket, bind);
            if is_same(&source, socket)
                && let Err(error) = engine.runtime.renew_mount(&id, pid, socket, &target)
            {
                tracing::warn!(
                    container = id,
                    target,
                    error = chain(&error),
                    "its socket of the engine is dead"
                );
            }
        });
    }
}

/// Also under another name: /var/run/docker.sock may be a link to it.
fn is_same(source: &Path, socket: &Path) -> bool {
    source == socket
        || source
            .canonicalize()
            .is_ok_and(|source| socket.canonicalize().is_ok_and(|it| it == source))
}

fn binds(world: &World) -> Vec<Bind> {
    let mut found = Vec::new();
    for container in world.containers.values() {
        let Some(pid) = container.pid.filter(|_| container.phase.has_processes()) else {
            continue;
        };
        for mount in &container.doc.mounts {
            if let MountKind::Bind { path, .. } = &mount.kind {
                let (id, source, target) =
                    (container.doc.id.clone(), path.clone(), mount.target.clone());
                found.push(Bind {
                    id,
                    pid,
                    source,
                    target,
                });
            }
        }
    }
    found
}
