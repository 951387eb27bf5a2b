//! A stack in one file: images, volumes and the stack file, as docs/bundle.md describes it.
//!
//! Saving reads all volumes while their writers are held still, and only then begins to write. Loading reads the file to
//! its end and verifies it before anything is changed, and gives all volumes their places at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hoist_api::{BundleDocument, BundleEvent, BundleImage, BundleRequest, BundleVolume};
use hoist_image::{
    Archive, Artifact, FolderError, Incoming, Received, Reference, Spool, Store, pack_folder,
    unpack_folder,
};
use hoist_object::VolumeDoc;

use crate::actions::{StepError, blocking};
use crate::driver::{self, Opened};
use crate::engine::{Engine, now};
use crate::error::chain;
use crate::refill;
use crate::staging::Staging;
use crate::still::Still;
use crate::volumes::check_name;
use crate::world::Event;

const KIND: &str = "application/vnd.hoist.bundle.v1";
const DOCUMENT: &str = "application/vnd.hoist.bundle.v1+json";
const VOLUME: &str = "application/vnd.hoist.volume.v1.tar+zstd";
const VERSION: u32 = 1;

fn note(text: String) -> BundleEvent {
    BundleEvent::Note { text }
}

fn bad(error: &dyn std::error::Error) -> StepError {
    StepError::bad(chain(error))
}

impl From<FolderError> for StepError {
    fn from(error: FolderError) -> Self {
        Self::engine(chain(&error))
    }
}

/// Where a bundle goes, and what is told while it is made.
pub trait BundleOut: Send + Sync + 'static {
    fn say(&self, event: BundleEvent) -> impl Future<Output = ()> + Send;

    /// For code that blocks.
    fn archive(&self) -> Box<dyn Write + Send>;
}

/// Writes the bundle into `out`.
pub(crate) async fn save(
    engine: &Arc<Engine>,
    request: BundleRequest,
    out: &impl BundleOut,
) -> Result<BundleDocument, StepError> {
    let images = images(engine, &request.images)?;
    let (volumes, spools) = volumes(engine, &request, out).await?;
    let document = BundleDocument {
        version: VERSION,
        project: request.project,
        stack: request.stack,
        files: request.files,
        images,
        volumes,
        live: request.live,
    };
    let artifact = Artifact {
        kind: KIND.to_owned(),
        document: serde_json::to_vec_pretty(&document).unwrap_or_default(),
        document_type: DOCUMENT.to_owned(),
        blobs: spools
            .into_iter()
            .map(|spool| (VOLUME.to_owned(), spool))
            .collect(),
    };
    let (store, mut archive) = (Arc::clone(&engine.images), out.archive());
    out.say(note(format!(
        "writing {} images and {} volumes",
        document.images.len(),
        document.volumes.len()
    )))
    .await;
    blocking(move || {
        let saved = Archive::of(&store, &request.images)
            .map_err(|error| bad(&error))?
            .with(artifact);
        let written = saved.write(&mut archive).and_then(|()| archive.flush());
        written.map_err(|error| StepError::engine(format!("writing the bundle: {error}")))
    })
    .await?;
    Ok(document)
}

fn images(engine: &Engine, references: &[String]) -> Result<Vec<BundleImage>, StepError> {
    let image = |reference: &String| {
        let found = engine.images.resolve(reference);
        let missing = || {
            StepError::not_found(format!(
                "image {reference} is not there; pull or build the stack first"
            ))
        };
        let image = found.ok_or_else(missing)?;
        Ok(BundleImage {
            reference: reference.clone(),
            id: image.id.to_string(),
            size: image.size,
        })
    };
    references.iter().map(image).collect()
}

/// Reads the volumes that exist, all of them at one moment unless it is to be `live`.
async fn volumes(
    engine: &Arc<Engine>,
    request: &BundleRequest,
    out: &impl BundleOut,
) -> Result<(Vec<BundleVolume>, Vec<Spool>), StepError> {
    let wanted: BTreeSet<String> = request.volumes.iter().cloned().collect();
    let names = wanted.clone();
    let docs: Vec<VolumeDoc> = engine
        .look(move |world| {
            names
                .iter()
                .filter_map(|name| world.volumes.get(name).cloned())
                .collect()
        })
        .await?;
    for name in wanted
        .iter()
        .filter(|name| !docs.iter().any(|doc| doc.name == **name))
    {
        out.say(note(format!("volume {name} does not exist yet; left out")))
            .await;
    }
    let still = if request.live {
        None
    } else {
        Some(Still::writers(engine, &wanted).await?)
    };
    let paused = still.as_ref().map(Still::names).unwrap_or_default();
    if !paused.is_empty() {
        out.say(note(format!(
            "paused {} while the volumes are read",
            paused.join(", ")
        )))
        .await;
    }
    let (mut volumes, mut spools) = (Vec::new(), Vec::new());
    for doc in docs {
        let opened = opened(engine, &doc).await?;
        let (images, name) = (Arc::clone(&engine.images), doc.name.clone());
        let (spool, size) = blocking(move || {
            images.spool(|output| read_volume(opened.root(&name)?.as_fd(), output))
        })
        .await?;
        out.say(note(format!(
            "read volume {}: {size} bytes, {} compressed",
            doc.name, spool.size
        )))
        .await;
        volumes.push(BundleVolume {
            name: doc.name,
            key: doc.key,
            config_hash: doc.config_hash,
            labels: doc.labels,
            driver_opts: doc.driver_opts,
            size,
        });
        spools.push(spool);
    }
    drop(still);
    if !paused.is_empty() {
        out.say(note(format!("{} go on", paused.join(", ")))).await;
    }
    Ok((volumes, spools))
}

/// The volume, mounted if its options say so.
pub(crate) async fn opened(engine: &Arc<Engine>, volume: &VolumeDoc) -> Result<Opened, StepError> {
    driver::open(
        engine,
        BTreeMap::from([(volume.name.clone(), volume.driver_opts.clone())]),
    )
    .await
}

/// A volume's content as a tar.
pub(crate) fn read_volume(root: BorrowedFd<'_>, output: &mut dyn Write) -> Result<u64, StepError> {
    Ok(pack_folder(root, output)?)
}

/// Fills an empty folder from a tar.
pub(crate) fn fill_volume(data: &Path, archive: impl Read) -> Result<(), StepError> {
    let root = File::open(data)
        .map_err(|error| StepError::engine(format!("opening {}: {error}", data.display())))?;
    unpack_folder(archive, root.as_fd()).map_err(|error| bad(&error))?;
    Ok(())
}

/// Takes a bundle in; `say` hears of the steps. Volumes that are mounted from elsewhere are filled when `mounted` asks for it.
pub(crate) async fn load(
    engine: &Arc<Engine>,
    archive: impl Read + Send + 'static,
    mounted: bool,
    say: impl Fn(BundleEvent) + Send + Sync + 'static,
) -> Result<BundleDocument, StepError> {
    let store = Arc::clone(&engine.images);
    let (incoming, document, received) = blocking(move || {
        let incoming = Incoming::read(&store, archive).map_err(|error| bad(&error))?;
        let (document, received) = verified(&incoming)?;
        Ok((incoming, document, received))
    })
    .await?;
    say(note(format!(
        "verified the bundle of stack {}",
        document.project
    )));
    refuse_existing(engine, &document).await?;
    let docs: Vec<VolumeDoc> = document
        .volumes
        .iter()
        .map(|volume| doc(&document.project, volume))
        .collect();
    let elsewhere = open_elsewhere(engine, &docs, &received, mounted, &say).await?;
    let (layout, images, checked) = (
        engine.store.layout.clone(),
        Arc::clone(&engine.images),
        document.clone(),
    );
    let made = docs.clone();
    let (staging, incoming, say) = blocking(move || {
        let failed =
            |error: std::io::Error| StepError::engine(format!("preparing volumes: {error}"));
        let staging = Staging::new(&layout).map_err(failed)?;
        for (volume, (_, blob)) in made.iter().zip(&received.blobs) {
            let data = staging.volume(volume).map_err(failed)?;
            if driver::check(&volume.name, &volume.driver_opts)?.is_none() {
                fill_volume(&data, File::open(blob).map_err(failed)?)?;
                say(note(format!("filled volume {}", volume.name)));
            }
        }
        load_images(&images, &incoming, &checked, &say)?;
        Ok((staging, incoming, say))
    })
    .await?;
    blocking(move || {
        staging
            .commit()
            .map_err(|error| StepError::engine(format!("placing the volumes: {error}")))
    })
    .await?;
    for doc in docs {
        engine.tell(Event::VolumeMade(Box::new(doc)));
    }
    blocking(move || {
        for (volume, blob, opened) in &elsewhere {
            say(note(fill_mounted(volume, opened, blob)?));
        }
        // The blobs are its files.
        drop(incoming);
        Ok(())
    })
    .await?;
    Ok(document)
}

/// Volumes of the bundle that are mounted from elsewhere, with their blobs; without `mounted` they are only told.
async fn open_elsewhere(
    engine: &Arc<Engine>,
    docs: &[VolumeDoc],
    received: &Received,
    mounted: bool,
    say: &(impl Fn(BundleEvent) + Send + Sync),
) -> Result<Vec<(String, PathBuf, Opened)>, StepError> {
    let mut elsewhere = Vec::new();
    for (volume, (_, blob)) in docs.iter().zip(&received.blobs) {
        if driver::check(&volume.name, &volume.driver_opts)?.is_none() {
            continue;
        }
        if mounted {
            let opened = opened(engine, volume).await?;
            elsewhere.push((volume.name.clone(), blob.clone(), opened));
        } else {
            say(note(format!(
                "volume {} is mounted by its driver_opts: not filled without --mounted",
                volume.name
            )));
        }
    }
    Ok(elsewhere)
}

fn load_images(
    images: &Arc<Store>,
    incoming: &Incoming,
    document: &BundleDocument,
    say: &impl Fn(BundleEvent),
) -> Result<(), StepError> {
    let loaded = incoming
        .load(&hoist_image::silent())
        .map_err(|error| bad(&error))?;
    for image in &document.images {
        let id = loaded
            .iter()
            .map(|image| image.id)
            .find(|id| id.to_string() == image.id);
        let id = id
            .ok_or_else(|| StepError::new(format!("the bundle lacks image {}", image.reference)))?;
        let reference = Reference::parse(&image.reference).map_err(|error| bad(&error))?;
        if reference.digest().is_some() {
            images.add_digest(&id, &reference)?;
        }
        say(note(format!("loaded image {}", image.reference)));
    }
    Ok(images.sync()?)
}

/// Never over what is there: it may be what others use. Answers what was done.
fn fill_mounted(volume: &str, opened: &Opened, blob: &Path) -> Result<String, StepError> {
    let archive = File::open(blob)
        .map_err(|error| StepError::engine(format!("reading the bundle: {error}")))?;
    let root = opened.root(volume)?;
    if refill::is_empty(root.as_fd())
        .map_err(|error| StepError::engine(format!("volume {volume}: {error}")))?
    {
        refill::refill(volume, opened, archive, false)?;
        return Ok(format!("filled volume {volume}"));
    }
    Ok(format!(
        "volume {volume} has content where it is mounted from; it was left as it is"
    ))
}

/// The bundle's own description, when everything that it names is there.
fn verified(incoming: &Incoming) -> Result<(BundleDocument, Received), StepError> {
    let invalid = |message: String| StepError::bad(message);
    let received = incoming.artifact(KIND).map_err(|error| bad(&error))?;
    let received = received.ok_or_else(|| {
        invalid("this is no bundle; `hoist load` takes archives of images".into())
    })?;
    let document: BundleDocument = serde_json::from_slice(&received.document).map_err(|error| {
        invalid(format!(
            "the bundle's description is not what it should be: {error}"
        ))
    })?;
    if document.version != VERSION {
        return Err(invalid(format!(
            "the bundle is of version {}; this hoist knows {VERSION}",
            document.version
        )));
    }
    if document.volumes.len() != received.blobs.len() {
        return Err(invalid(
            "the bundle's volumes are not those of its description".into(),
        ));
    }
    let mut names = BTreeSet::new();
    for volume in &document.volumes {
        check_name(&volume.name).map_err(|error| bad(&error))?;
        if !names.insert(&volume.name) {
            return Err(invalid(format!(
                "the bundle has volume {} twice",
                volume.name
            )));
        }
    }
    Ok((document, received))
}

async fn refuse_existing(engine: &Engine, document: &BundleDocument) -> Result<(), StepError> {
    let names: Vec<String> = document
        .volumes
        .iter()
        .map(|volume| volume.name.clone())
        .collect();
    let found: Vec<String> = engine
        .look(move |world| {
            names
                .into_iter()
                .filter(|name| world.volumes.contains_key(name))
                .collect()
        })
        .await?;
    if found.is_empty() {
        return Ok(());
    }
    let list = found.join(" ");
    Err(StepError::conflict(format!(
        "volumes of the bundle exist here: {list}; `hoist volume rm {list}` removes them"
    )))
}

fn doc(project: &str, volume: &BundleVolume) -> VolumeDoc {
    VolumeDoc {
        name: volume.name.clone(),
        created: now(),
        project: project.to_owned(),
        key: volume.key.clone(),
        config_hash: volume.config_hash.clone(),
        anonymous: false,
        driver_opts: volume.driver_opts.clone(),
        labels: volume.labels.clone(),
    }
}
