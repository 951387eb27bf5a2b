//! Pulling and removing images.

use std::collections::BTreeMap;
use std::sync::Arc;

use hoist_image::{
    Access, Image, Platform, PlatformError, Platforms, Policy, Progress, PullOptions, Pulled,
    Reference, RegistryAuth, Scope,
};
use hoist_scheduler::ImageName;

use super::{StepError, blocking};
use crate::engine::Engine;
use crate::error::chain;
use crate::feed::{self, OfImage};
use crate::lower;

/// In place of a platform: every one that there is.
pub(crate) const ALL: &str = "all";

pub(crate) async fn pull_image(
    engine: &Arc<Engine>,
    reference: &str,
    platform: &str,
    auth: &BTreeMap<String, RegistryAuth>,
    progress: impl Fn(Progress) + Send + Sync + 'static,
) -> Result<Pulled, StepError> {
    let bad = |error: &dyn std::error::Error| StepError::bad(chain(error));
    let parsed = Reference::parse(reference).map_err(|error| bad(&error))?;
    let platforms = match platform {
        "" => Platforms::Host,
        ALL => Platforms::All,
        text => Platforms::One(text.parse().map_err(|error: PlatformError| bad(&error))?),
    };
    let options = PullOptions {
        platforms,
        progress: Arc::new(progress),
        ..registries(auth)?
    };
    let pulled = hoist_image::pull(&engine.images, &parsed, &options)
        .await
        .map_err(|error| StepError::new(chain(&error)))?;
    feed::image(
        engine,
        OfImage::Pull,
        &parsed.short(),
        &parsed.familiar_name(),
    );
    Ok(pulled)
}

/// How registries are spoken to with a client's credentials, and which of their images are believed.
pub(crate) fn registries(auth: &BTreeMap<String, RegistryAuth>) -> Result<PullOptions, StepError> {
    let access = Access {
        auth: auth.clone(),
        ..Access::default()
    };
    Ok(PullOptions {
        access,
        policy: policy()?.map(Arc::new),
        ..PullOptions::default()
    })
}

/// The image that a name stands for. What was never one of several is taken for what it is: nothing says otherwise.
pub(crate) fn stored_image(engine: &Engine, name: &ImageName) -> Option<Arc<Image>> {
    let images = &engine.images;
    match name.platform.parse::<Platform>() {
        Err(_) => images.resolve(&name.reference),
        Ok(platform) => images.resolve_for(&name.reference, &platform).or_else(|| {
            let listed = |image: &Image| {
                Reference::parse(&name.reference).is_ok_and(|name| image.is_listed(&name))
            };
            images
                .resolve(&name.reference)
                .filter(|image| !listed(image))
        }),
    }
}

/// Read for every pull, so that a change counts at once. The usual file may be absent, one that was named may not.
fn policy() -> Result<Option<Policy>, StepError> {
    let policy = match std::env::var_os("HOIST_POLICY").filter(|value| !value.is_empty()) {
        Some(path) => Policy::read(path.as_ref()).map(Some),
        None => Policy::find("/etc/containers/policy.json".as_ref()),
    };
    policy.map_err(|error| StepError::new(chain(&error)))
}

/// Takes the name away, and the image with its last name, unless a container needs it.
pub(crate) async fn remove_image(engine: &Arc<Engine>, reference: &str) -> Result<(), StepError> {
    use hoist_image::RemoveError;
    let in_use = engine
        .look(|world| {
            let ids = world
                .containers
                .values()
                .map(|container| container.doc.image_id.clone());
            ids.filter_map(|id| hoist_image::Digest::parse(&id).ok())
                .collect()
        })
        .await?;
    let layers = layers_in_use(engine).await?;
    let (images, name) = (Arc::clone(&engine.images), reference.to_owned());
    let id = engine
        .images
        .resolve(reference)
        .map(|image| image.id.to_string());
    let removed = blocking(move || {
        let removed = match images.remove(&name, false, &in_use) {
            Ok(removed) => removed,
            Err(RemoveError::NoSuchImage(_)) => return Ok(None),
            Err(error) => return Err(StepError::conflict(chain(&error))),
        };
        images.collect(&layers, Scope::default())?;
        Ok(Some(removed))
    });
    if let Some(removed) = removed.await? {
        feed::image_removed(engine, &id.unwrap_or_default(), &removed);
    }
    Ok(())
}

/// Layers of all containers.
pub(crate) async fn layers_in_use(
    engine: &Engine,
) -> Result<std::collections::BTreeSet<hoist_image::Digest>, StepError> {
    let layers = engine.look(|world| {
        world
            .containers
            .values()
            .flat_map(|container| lower::layers(&container.doc))
            .collect()
    });
    Ok(layers.await?)
}
