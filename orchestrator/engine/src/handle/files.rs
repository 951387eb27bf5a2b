//! Files of containers: copied in and out, exported, and made into an image.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use hoist_image::{Image, Owners, Reference, pack_folder};
use rustix::fs::OFlags;

use super::containers::no_container;
use super::{Handle, Result};
use crate::actions::{self, StepError, blocking};
use crate::archive::{self, Held, PathStat};
use crate::driver;
use crate::feed::OfContainer;
use crate::lower::{self, volume_mounts};
use crate::making::{self, Terms};
use crate::rootview::RootView;
use crate::still::Still;
use crate::world::{Phase, Summary};

/// The files of one container, as its programs see them. What is mounted for it stays so as long as this lives.
#[derive(Debug)]
pub struct ContainerFiles {
    handle: Handle,
    id: String,
    view: RootView,
}

/// A path that was found, to be written as an archive.
#[derive(Debug)]
pub struct Found {
    pub stat: PathStat,
    view: RootView,
    found: archive::Found,
}

impl Found {
    /// Blocks.
    pub fn write(self, out: &mut dyn Write) -> std::io::Result<()> {
        let packed = self.found.pack(out);
        // What is mounted for it stays so until here.
        drop(self.view);
        packed
    }
}

/// A container's files without what is mounted over them.
#[derive(Debug)]
pub struct Export {
    root: OwnedFd,
}

impl Export {
    /// Blocks.
    pub fn write(self, out: &mut dyn Write) -> std::io::Result<()> {
        pack_folder(self.root.as_fd(), out)
            .map(drop)
            .map_err(std::io::Error::other)
    }
}

impl ContainerFiles {
    /// `follow`: what the path's link leads to.
    pub async fn stat(self, path: String, follow: bool) -> Result<PathStat> {
        blocking(move || Ok(archive::find(&self.view, &path, follow)?.stat())).await
    }

    pub async fn find(self, path: String, follow: bool) -> Result<Found> {
        let Self { handle, id, view } = self;
        let found = blocking(move || {
            let found = archive::find(&view, &path, follow)?;
            Ok(Found {
                stat: found.stat(),
                view,
                found,
            })
        });
        let found = found.await?;
        actions::announce(&handle.engine, &id, OfContainer::ArchivePath);
        Ok(found)
    }

    /// Unpacks into the folder `path`. `exchange`: files and folders may take each other's place; `to_user`: everything
    /// becomes the container's user's.
    pub async fn unpack<R>(
        self,
        path: String,
        archive: R,
        exchange: bool,
        to_user: bool,
    ) -> Result<()>
    where
        R: Read + Send + 'static,
    {
        self.write(to_user, move |view, owners| {
            Ok(archive::unpack(view, &path, archive, exchange, owners)?)
        })
        .await
    }

    /// Puts what the archive holds to where `cp` does.
    pub async fn copy_in<R>(self, path: String, archive: R, held: Held, to_user: bool) -> Result<()>
    where
        R: Read + Send + 'static,
    {
        self.write(to_user, move |view, owners| {
            Ok(archive::copy_in(view, &path, archive, held, owners)?)
        })
        .await
    }

    async fn write<F>(self, to_user: bool, write: F) -> Result<()>
    where
        F: FnOnce(&RootView, Owners) -> Result<()> + Send + 'static,
    {
        let Self { handle, id, view } = self;
        let user = if to_user {
            handle.user_of(&id).await?
        } else {
            None
        };
        blocking(move || {
            let owners = user.map_or(Ok(Owners::Kept), |user| archive::owners(&view, &user))?;
            write(&view, owners)
        })
        .await?;
        actions::announce(&handle.engine, &id, OfContainer::ExtractToDir);
        Ok(())
    }
}

impl Handle {
    /// The user that a container runs as, if one is set.
    async fn user_of(&self, id: &str) -> Result<Option<String>> {
        let wanted = id.to_owned();
        self.look(move |world| {
            let container = world.containers.get(&wanted)?;
            lower::user(&container.config, &container.doc.image).filter(|user| !user.is_empty())
        })
        .await
    }

    /// Through its init while it runs, else its layers, volumes and binds mounted for the moment.
    pub async fn files(&self, name: &str) -> Result<ContainerFiles> {
        let id = self.container_id(name).await?;
        let wanted = id.clone();
        let found = self.look(move |world| {
            let container = world.containers.get(&wanted)?;
            let (doc, first) = (
                Arc::clone(&container.doc),
                container.state.started.is_none(),
            );
            let driver_opts = world.driver_opts(&doc);
            Some((
                container.phase.clone(),
                container.pid,
                doc,
                container.config.read_only,
                first,
                driver_opts,
            ))
        });
        let (phase, pid, doc, read_only, first, driver_opts) =
            found.await?.ok_or_else(|| no_container(name))?;
        if phase == Phase::Starting {
            return Err(StepError::conflict(format!(
                "container {name} is being started"
            )));
        }
        // A running container has its volumes mounted.
        let volumes = driver::open(
            &self.engine,
            if pid.is_some() {
                BTreeMap::new()
            } else {
                driver_opts
            },
        )
        .await?;
        let worker = Arc::clone(&self.engine);
        let view = blocking(move || {
            let failed = |error: std::io::Error| {
                StepError::engine(format!("opening the container's files: {error}"))
            };
            if let Some(pid) = pid {
                return RootView::of_process(pid).map_err(failed);
            }
            let layout = &worker.store.layout;
            let lowers = lower::lowers(&worker.images, &doc)?;
            let (upper, work) = (layout.upper(&doc.id), layout.work(&doc.id));
            for folder in [&upper, &work] {
                crate::store::make_folder(folder).map_err(failed)?;
            }
            // A volume that is still to be filled from the image would not be, with a first file in it.
            for (volume, target, copies) in volume_mounts(&doc).filter(|_| first) {
                match volumes.options(volume) {
                    None if copies => worker.volumes.fill(layout, volume, target, &lowers)?,
                    Some(local) if copies && !local.is_read_only() => {
                        let data = volumes.root(volume)?;
                        worker
                            .volumes
                            .fill_elsewhere(volume, data.as_fd(), target, &lowers)?;
                    }
                    _ => {}
                }
            }
            for (volume, ..) in volume_mounts(&doc) {
                crate::volumes::make(layout, volume)?;
            }
            let root = RootView::of_container(&lowers, &upper, &work).map_err(failed)?;
            root.with_mounts(&doc, &volumes, layout, read_only)
                .map_err(failed)
        });
        Ok(ContainerFiles {
            handle: self.clone(),
            id,
            view: view.await?,
        })
    }

    async fn summary(&self, id: &str) -> Result<Summary> {
        let wanted = id.to_owned();
        let found = self.look(move |world| Some(world.containers.get(&wanted)?.summary()));
        found.await?.ok_or_else(|| no_container(id))
    }

    /// The files of image and container, without what is mounted over them.
    pub async fn export(&self, name: &str) -> Result<Export> {
        let id = self.container_id(name).await?;
        let doc = self.summary(&id).await?.doc;
        let (images, upper) = (
            Arc::clone(&self.engine.images),
            self.engine.store.layout.upper(&id),
        );
        let root = blocking(move || {
            let mut lowers = lower::lowers(&images, &doc)?;
            // Read as one more lower directory, so that a running container's own mount of it is not disturbed.
            if upper.exists() {
                lowers.insert(0, upper);
            }
            let opened = RootView::of_layers(&lowers)
                .and_then(|view| view.open(Path::new("/"), OFlags::RDONLY | OFlags::DIRECTORY));
            opened.map_err(|error| {
                StepError::engine(format!("opening the container's files: {error}"))
            })
        });
        let root = root.await?;
        actions::announce(&self.engine, &id, OfContainer::Export);
        Ok(Export { root })
    }

    /// An image of a container. `pause`: the container stands still meanwhile.
    pub async fn commit(&self, name: &str, terms: Terms, pause: bool) -> Result<Arc<Image>> {
        let id = self.container_id(name).await?;
        let summary = self.summary(&id).await?;
        let still = if pause {
            Some(Still::container(&self.engine, &id).await?)
        } else {
            None
        };
        let (images, layout) = (
            Arc::clone(&self.engine.images),
            self.engine.store.layout.clone(),
        );
        let (name, comment) = (terms.name.clone(), terms.message.clone());
        let image = blocking(move || making::commit(&images, &layout, &summary, &terms)).await;
        if let Ok(image) = &image {
            let reference = self.named(image, name.as_ref());
            let image = image.id.to_string();
            actions::announce(
                &self.engine,
                &id,
                OfContainer::Commit {
                    comment,
                    image,
                    reference,
                },
            );
        }
        drop(still);
        image
    }

    /// Tells that a new image has a name, and which; empty without one.
    pub(super) fn named(&self, image: &Image, name: Option<&Reference>) -> String {
        let name = name.map(Reference::short).unwrap_or_default();
        if !name.is_empty() {
            crate::feed::image(
                &self.engine,
                crate::feed::OfImage::Tag,
                &image.id.to_string(),
                &name,
            );
        }
        name
    }
}
