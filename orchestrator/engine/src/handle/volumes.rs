//! Volumes, and their content as archives.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use hoist_object::VolumeDoc;
use hoist_scheduler::volume_hash;
use hoist_spec::model::Volume;

use super::{Handle, Result};
use crate::actions::{self, StepError, blocking};
use crate::bundle;
use crate::driver::{self, Opened};
use crate::engine::{new_id, now};
use crate::error::chain;
use crate::refill::refill;
use crate::staging::Staging;
use crate::still::Still;
use crate::view::{VolumeView, has_volume};
use crate::volumes::check_name;
use crate::world::{Event, World};

/// A volume's content, to be written as an archive.
#[derive(Debug)]
pub struct VolumeExport {
    /// Names of the containers that stand still until then.
    pub paused: Vec<String>,
    root: OwnedFd,
    opened: Opened,
    still: Option<Still>,
}

impl VolumeExport {
    /// Blocks.
    pub fn write(self, out: &mut dyn Write) -> io::Result<()> {
        let read = bundle::read_volume(self.root.as_fd(), out)
            .map(drop)
            .map_err(io::Error::other);
        // What is mounted for it stays so until here.
        drop((self.opened, self.still));
        read
    }
}

pub(super) fn no_volume(name: &str) -> StepError {
    StepError::not_found(format!("get {name}: no such volume"))
}

/// Name of a running container that has the volume.
fn user(world: &World, volume: &str) -> Option<String> {
    let mut running = world
        .containers
        .values()
        .filter(|container| container.phase.is_up());
    let found = running.find(|container| has_volume(&container.doc, volume));
    found.map(|container| container.doc.record.name.clone())
}

impl Handle {
    pub async fn volumes(&self) -> Result<Vec<VolumeView>> {
        let layout = self.engine.store.layout.clone();
        self.look(move |world| {
            let view = |volume: &VolumeDoc| {
                VolumeView::of(world, volume, layout.volume_data(&volume.name))
            };
            world.volumes.values().map(view).collect()
        })
        .await
    }

    pub async fn volume(&self, name: &str) -> Result<VolumeView> {
        let (wanted, folder) = (name.to_owned(), self.engine.store.layout.volume_data(name));
        let found = self
            .look(move |world| Some(VolumeView::of(world, world.volumes.get(&wanted)?, folder)));
        found.await?.ok_or_else(|| no_volume(name))
    }

    /// One that is there already stays as it is. An empty name: one is drawn.
    pub async fn create_volume(
        &self,
        name: String,
        driver_opts: BTreeMap<String, String>,
        labels: BTreeMap<String, String>,
    ) -> Result<VolumeView> {
        let anonymous = name.is_empty();
        let name = if anonymous { new_id() } else { name };
        check_name(&name).map_err(|error| StepError::bad(error.to_string()))?;
        let volume = VolumeDoc {
            config_hash: volume_hash(&Volume {
                driver_opts: driver_opts.clone(),
                ..Volume::default()
            }),
            name: name.clone(),
            created: now(),
            anonymous,
            driver_opts,
            labels,
            ..VolumeDoc::default()
        };
        let wanted = name.clone();
        let known = self.look(move |world| {
            world
                .volumes
                .get(&wanted)
                .map(|volume| volume.driver_opts.clone())
        });
        match known.await? {
            Some(options) if !volume.driver_opts.is_empty() && options != volume.driver_opts => {
                return Err(StepError::conflict(format!(
                    "volume {name} exists with other options"
                )));
            }
            Some(_) => {}
            None => actions::make_volume(&self.engine, volume).await?,
        }
        self.durable().await?;
        self.volume(&name).await
    }

    /// `force`: one that is not there is no error.
    pub async fn remove_volume(&self, name: &str, force: bool) -> Result<()> {
        let wanted = name.to_owned();
        let known = self
            .look(move |world| world.volumes.contains_key(&wanted))
            .await?;
        if !known && !force {
            return Err(no_volume(name));
        }
        actions::remove_volume(&self.engine, name).await?;
        self.durable().await
    }

    /// `live`: the containers that write to it run on meanwhile.
    pub async fn export_volume(&self, name: &str, live: bool) -> Result<VolumeExport> {
        let wanted = name.to_owned();
        let volume = self
            .look(move |world| world.volumes.get(&wanted).cloned())
            .await?;
        let volume = volume.ok_or_else(|| no_volume(name))?;
        let still = if live {
            None
        } else {
            Some(Still::writers(&self.engine, &BTreeSet::from([name.to_owned()])).await?)
        };
        let paused = still.as_ref().map(Still::names).unwrap_or_default();
        let opened = bundle::opened(&self.engine, &volume).await?;
        let (root, opened) = blocking(move || Ok((opened.root(&volume.name)?, opened))).await?;
        Ok(VolumeExport {
            paused,
            root,
            opened,
            still,
        })
    }

    /// The archive becomes the volume's content, all of it or nothing. `replace`: of one that has content.
    pub async fn import_volume<R>(&self, name: &str, archive: R, replace: bool) -> Result<()>
    where
        R: Read + Send + 'static,
    {
        check_name(name).map_err(|error| StepError::bad(chain(&error)))?;
        let wanted = name.to_owned();
        let found =
            self.look(move |world| (world.volumes.get(&wanted).cloned(), user(world, &wanted)));
        let (known, user) = found.await?;
        if let Some(user) = user {
            return Err(StepError::conflict(format!(
                "volume {name} is in use by container {user}; stop it first"
            )));
        }
        let (layout, exists) = (self.engine.store.layout.clone(), known.is_some());
        let volume = known.unwrap_or_else(|| VolumeDoc {
            name: name.to_owned(),
            created: now(),
            ..VolumeDoc::default()
        });
        let made = volume.clone();
        if driver::check(&made.name, &made.driver_opts)?.is_some() {
            let opened = bundle::opened(&self.engine, &made).await?;
            return blocking(move || refill(&made.name, &opened, archive, replace)).await;
        }
        blocking(move || {
            let failed = |error: io::Error| {
                StepError::engine(format!("filling volume {}: {error}", made.name))
            };
            let data = layout.volume_data(&made.name);
            if exists && !replace && std::fs::read_dir(data).map_err(failed)?.next().is_some() {
                let text = format!(
                    "volume {} is not empty; --replace drops what it has",
                    made.name
                );
                return Err(StepError::conflict(text));
            }
            let staging = Staging::new(&layout).map_err(failed)?;
            bundle::fill_volume(&staging.volume(&made).map_err(failed)?, archive)?;
            if exists {
                staging.exchange(&made.name)
            } else {
                staging.commit()
            }
            .map_err(failed)
        })
        .await?;
        if !exists {
            self.engine.tell(Event::VolumeMade(Box::new(volume)));
        }
        Ok(())
    }
}
