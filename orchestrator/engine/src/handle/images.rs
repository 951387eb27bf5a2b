//! Images: what there is, and what brings, makes, names and removes them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::Arc;

use hoist_api::ErrorKind;
use hoist_image::{
    Access, Archive, Attachment, Described, Digest, Image, Platform, Progress, PushOptions,
    Reference, RegistryAuth, RemoveError, Removed, ResolveError, SaveError, Scope,
};

use super::{Handle, Result};
use crate::actions::{self, StepError, blocking};
use crate::error::chain;
use crate::feed::{self, OfImage};
use crate::image_news::{ImageInbox, ImageNews, ImageOutbox};
use crate::making::{self, Terms};
use crate::outbox::outbox;

/// Credentials by registry host.
pub type Credentials = BTreeMap<String, RegistryAuth>;

fn no_image(name: &str) -> StepError {
    StepError::not_found(format!("no such image: {name}"))
}

fn unresolved(error: &ResolveError) -> StepError {
    let kind = if error.is_not_found() {
        ErrorKind::NotFound
    } else {
        ErrorKind::Failed
    };
    StepError::of(kind, chain(error))
}

fn access(auth: Credentials) -> Access {
    Access {
        auth,
        ..Access::default()
    }
}

fn progress(out: &ImageOutbox) -> impl Fn(Progress) + Send + Sync + 'static + use<> {
    let out = out.clone();
    move |progress| out.send(ImageNews::Progress(progress))
}

impl Handle {
    pub fn images(&self) -> Vec<Arc<Image>> {
        self.engine.images.images()
    }

    /// By name, id or the beginning of an id. `platform`: which of several.
    pub fn image(&self, name: &str, platform: Option<&Platform>) -> Result<Arc<Image>> {
        let images = &self.engine.images;
        let Some(platform) = platform else {
            return images.resolve(name).ok_or_else(|| no_image(name));
        };
        images.resolve_for(name, platform).ok_or_else(|| {
            let here: Vec<String> = images
                .matching(name)
                .iter()
                .map(|image| image.config.platform().to_string())
                .collect();
            match here.is_empty() {
                true => no_image(name),
                false => {
                    let here = here.join(", ");
                    StepError::not_found(format!(
                        "image {name} is here for {here}, not for {platform}"
                    ))
                }
            }
        })
    }

    /// When an image was last given a name, as RFC 3339.
    pub fn image_named_at(&self, image: &Image) -> String {
        self.engine.images.named_at(image).to_string()
    }

    /// How many containers are made of each image, by its id.
    pub async fn image_users(&self) -> Result<BTreeMap<String, usize>> {
        self.look(|world| {
            let mut used: BTreeMap<String, usize> = BTreeMap::new();
            for container in world.containers.values() {
                *used.entry(container.doc.image_id.clone()).or_default() += 1;
            }
            used
        })
        .await
    }

    /// Bytes of each layer, and whether only the build cache needs it.
    pub fn layer_sizes(&self) -> BTreeMap<Digest, (u64, bool)> {
        self.engine.images.layer_sizes().into_iter().collect()
    }

    pub async fn remove_image(&self, name: &str, force: bool) -> Result<Removed> {
        let in_use = self.image_users().await?.into_keys();
        let in_use: BTreeSet<Digest> = in_use.filter_map(|id| Digest::parse(&id).ok()).collect();
        let layers = actions::layers_in_use(&self.engine).await?;
        let id = self
            .engine
            .images
            .resolve(name)
            .map(|image| image.id.to_string())
            .unwrap_or_default();
        let (images, wanted) = (Arc::clone(&self.engine.images), name.to_owned());
        let removed = blocking(move || {
            let removed = images.remove(&wanted, force, &in_use);
            if removed.is_ok() {
                images.collect(&layers, Scope::default())?;
            }
            Ok(removed)
        });
        let removed = removed.await?.map_err(|error| {
            let kind = match &error {
                RemoveError::NoSuchImage(_) => ErrorKind::NotFound,
                RemoveError::InUse { .. } | RemoveError::SeveralNames { .. } => ErrorKind::Conflict,
                RemoveError::Store { .. } => ErrorKind::Failed,
            };
            StepError::of(kind, chain(&error))
        })?;
        feed::image_removed(&self.engine, &id, &removed);
        Ok(removed)
    }

    pub async fn tag_image(&self, name: &str, target: &Reference) -> Result<()> {
        let image = self.image(name, None)?;
        if target.digest().is_some() {
            return Err(StepError::bad(format!(
                "{} names a digest; a new name is a tag",
                target.short()
            )));
        }
        let (images, source, named) = (
            Arc::clone(&self.engine.images),
            name.to_owned(),
            target.clone(),
        );
        blocking(move || Ok(images.tag(&source, &named)?)).await?;
        feed::image(
            &self.engine,
            OfImage::Tag,
            &image.id.to_string(),
            &target.short(),
        );
        Ok(())
    }

    /// `platform`: text of one, `all`, or empty for that of the machine.
    pub fn pull(
        &self,
        reference: Reference,
        name: String,
        platform: String,
        auth: Credentials,
    ) -> ImageInbox {
        let (out, news) = outbox();
        let engine = Arc::clone(&self.engine);
        tokio::spawn(async move {
            let pulled =
                actions::pull_image(&engine, &name, &platform, &auth, progress(&out)).await;
            out.send(match pulled {
                Ok(pulled) => ImageNews::Pulled {
                    reference,
                    up_to_date: pulled.up_to_date,
                },
                Err(error) => ImageNews::Failed(error),
            });
        });
        news
    }

    /// `reference`: a name of an image here. It is abandoned when its events are no longer read.
    pub fn push(&self, reference: Reference, auth: Credentials) -> Result<ImageInbox> {
        if self.engine.images.find(&reference).is_none() {
            return Err(no_image(&reference.short()));
        }
        let (out, news) = outbox();
        let engine = Arc::clone(&self.engine);
        tokio::spawn(async move {
            let options = PushOptions {
                access: access(auth),
                progress: Arc::new(progress(&out)),
            };
            let pushing = hoist_image::push(&engine.images, &reference, &options);
            // What is up already is found there by the next one.
            let pushed = tokio::select! {
                pushed = pushing => pushed,
                () = out.closed() => return,
            };
            out.send(match pushed {
                Ok(pushed) => {
                    feed::image(
                        &engine,
                        OfImage::Push,
                        &reference.short(),
                        &reference.familiar_name(),
                    );
                    ImageNews::Pushed { reference, pushed }
                }
                Err(error) => ImageNews::Failed(StepError::new(chain(&error))),
            });
        });
        Ok(news)
    }

    /// Images of an archive. `quiet`: without progress.
    pub fn load_images<R>(&self, archive: R, quiet: bool) -> ImageInbox
    where
        R: Read + Send + 'static,
    {
        let (out, news) = outbox();
        let engine = Arc::clone(&self.engine);
        tokio::spawn(async move {
            let say = progress(&out);
            let say = move |progress| {
                if !quiet {
                    say(progress);
                }
            };
            match hoist_image::load(&engine.images, archive, Arc::new(say)).await {
                Ok(images) => {
                    for image in images {
                        let id = image.id.to_string();
                        feed::image(&engine, OfImage::Load, &id, &id);
                        let name = image.references.first().map_or(id, Reference::short);
                        out.send(ImageNews::Loaded { name });
                    }
                }
                Err(error) => out.send(ImageNews::Failed(StepError::new(chain(&error)))),
            }
        });
        news
    }

    /// Makes an image out of a Debian archive.
    pub fn bootstrap(&self, reference: Reference) -> ImageInbox {
        let (out, news) = outbox();
        let engine = Arc::clone(&self.engine);
        tokio::spawn(async move {
            let _busy = engine.activity.begin();
            let made =
                hoist_image::bootstrap(&engine.images, &reference, Arc::new(progress(&out))).await;
            out.send(match made {
                Ok(image) => ImageNews::Created {
                    reference,
                    id: image.id.to_string(),
                },
                Err(error) => ImageNews::Failed(StepError::new(chain(&error))),
            });
        });
        news
    }

    /// An image of one layer: the archive's files.
    pub async fn import_image<R>(
        &self,
        archive: R,
        platform: String,
        terms: Terms,
    ) -> Result<Arc<Image>>
    where
        R: Read + Send + 'static,
    {
        let (images, name) = (Arc::clone(&self.engine.images), terms.name.clone());
        let image = blocking(move || making::import(&images, archive, &platform, &terms)).await?;
        self.named(&image, name.as_ref());
        feed::image(
            &self.engine,
            OfImage::Import,
            &image.id.to_string(),
            &image.id.to_string(),
        );
        Ok(image)
    }

    /// An archive of images, to be written.
    pub async fn save_images(&self, names: Vec<String>) -> Result<Archive> {
        let (images, named) = (Arc::clone(&self.engine.images), names.clone());
        let archive = blocking(move || {
            Archive::of(&images, &names).map_err(|error| match &error {
                SaveError::NoSuchImage(_) => StepError::not_found(error.to_string()),
                SaveError::Image { .. } => StepError::engine(chain(&error)),
            })
        });
        let archive = archive.await?;
        for id in named
            .iter()
            .filter_map(|name| self.engine.images.resolve(name))
            .map(|image| image.id.to_string())
        {
            feed::image(&self.engine, OfImage::Save, &id, &id);
        }
        Ok(archive)
    }
}

/// Registries, asked on behalf of a client.
impl Handle {
    /// Whether a registry lets somebody in; the token that it gives instead of a password.
    pub async fn login(&self, auth: RegistryAuth) -> Result<Option<String>> {
        let _busy = self.begin();
        let registry = hoist_image::registry_of(&auth.server_address)
            .map_err(|error| StepError::bad(chain(&error)))?;
        let access = access([(registry.clone(), auth)].into());
        hoist_image::login(&registry, &access)
            .await
            .map_err(|error| {
                let refused = matches!(error, hoist_image::RegistryError::Unauthorized { .. });
                StepError::of(
                    if refused {
                        ErrorKind::Unauthorized
                    } else {
                        ErrorKind::Failed
                    },
                    chain(&error),
                )
            })
    }

    /// What a registry has under a name. `platforms`: which ones, too, in a request that counts as a pull.
    pub async fn describe(
        &self,
        reference: &Reference,
        auth: Credentials,
        platforms: bool,
    ) -> Result<Described> {
        let _busy = self.begin();
        let access = access(auth);
        let described = match platforms {
            true => hoist_image::describe(reference, &access).await,
            false => hoist_image::resolve(reference, &access).await,
        };
        described.map_err(|error| unresolved(&error))
    }

    /// What is attached to an image in its registry.
    pub async fn artifacts(
        &self,
        reference: &Reference,
        auth: Credentials,
    ) -> Result<Vec<Attachment>> {
        let _busy = self.begin();
        hoist_image::attachments(reference, &access(auth))
            .await
            .map_err(|error| unresolved(&error))
    }
}
