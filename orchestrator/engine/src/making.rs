//! Images that no Dockerfile makes: from an archive of files, and from what a container has written.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::sync::Arc;

use hoist_image::{Digest, History, Image, ImageConfig, Platform, Reference, Store};
use hoist_object::{HealthPlan, Healthcheck, ImageDefaults};

use crate::actions::StepError;
use crate::changes;
use crate::error::chain;
use crate::lower;
use crate::store::Layout;
use crate::world::Summary;

/// What the caller wants of the image.
#[derive(Debug, Default)]
pub struct Terms {
    pub name: Option<Reference>,
    pub message: String,
    pub author: String,
    pub changes: Vec<String>,
}

/// The digest of a tar without entries: nothing was written.
fn nothing() -> Digest {
    Digest::of(&[0; 1024])
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

/// An image of one layer: the archive's files.
pub(crate) fn import(
    images: &Store,
    archive: impl Read,
    platform: &str,
    terms: &Terms,
) -> Result<Arc<Image>, StepError> {
    let platform = match platform {
        "" => Platform::host(),
        text => text
            .parse()
            .map_err(|error| StepError::bad(chain(&error)))?,
    };
    let mut config = ImageConfig::new(&platform.architecture, &platform.os);
    config.variant = platform.variant;
    changes::apply(&mut config.config, &terms.changes)?;
    let mut archive = archive;
    let layer = images.add_layer(&mut archive)?;
    config.rootfs.diff_ids.push(layer.diff_id);
    let message = some(&terms.message).unwrap_or_else(|| "Imported from -".to_owned());
    finish(
        images,
        config,
        terms,
        History {
            comment: Some(message),
            ..History::default()
        },
    )
}

/// The container's image with one more layer, and its settings as the new image's.
pub(crate) fn commit(
    images: &Store,
    layout: &Layout,
    container: &Summary,
    terms: &Terms,
) -> Result<Arc<Image>, StepError> {
    let doc = &container.doc;
    let base = Digest::parse(&doc.image_id)
        .ok()
        .and_then(|id| images.image(&id));
    let mut config = match base {
        Some(image) => image.config.clone(),
        None => {
            // The image was removed; its layers are there as long as the container is.
            let host = Platform::host();
            let mut config = ImageConfig::new(&host.architecture, &host.os);
            config.rootfs.diff_ids = lower::layers(doc);
            config
        }
    };
    config.config = lower::execution(settings(container));
    changes::apply(&mut config.config, &terms.changes)?;
    let upper = layout.upper(&doc.id);
    let layer = match File::open(&upper) {
        Ok(upper) => {
            Some(images.add_upper(upper.as_fd())?).filter(|layer| layer.diff_id != nothing())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            return Err(StepError::engine(format!(
                "opening {}: {error}",
                upper.display()
            )));
        }
    };
    config
        .rootfs
        .diff_ids
        .extend(layer.iter().map(|layer| layer.diff_id));
    let history = History {
        created_by: some(
            &lower::argv(&container.config, &doc.image)
                .unwrap_or_default()
                .join(" "),
        ),
        comment: some(&terms.message),
        empty_layer: layer.is_none(),
        ..History::default()
    };
    // `layer` holds its layer until the image is there.
    finish(images, config, terms, history)
}

fn finish(
    images: &Store,
    mut config: ImageConfig,
    terms: &Terms,
    history: History,
) -> Result<Arc<Image>, StepError> {
    let now = jiff::Timestamp::now().to_string();
    let author = some(&terms.author);
    config.history.push(History {
        created: Some(now.clone()),
        author: author.clone(),
        ..history
    });
    config.created = Some(now);
    config.author = author;
    Ok(images.add_image(&config, terms.name.as_slice())?)
}

/// What a container runs with, as an image says it. Labels by which an engine knows its containers stay behind.
fn settings(container: &Summary) -> ImageDefaults {
    let (service, image) = (&container.config, &container.doc.image);
    let mut settings = image.clone();
    for (name, value) in &service.environment {
        settings
            .env
            .retain(|known| known.split_once('=').is_none_or(|(key, _)| key != name));
        settings
            .env
            .extend(value.iter().map(|value| format!("{name}={value}")));
    }
    if service.entrypoint.is_some() {
        // The image's command was meant for the image's entrypoint.
        settings.entrypoint.clone_from(&service.entrypoint);
        settings.cmd = None;
    }
    if service.command.is_some() {
        settings.cmd.clone_from(&service.command);
    }
    settings.user = lower::user(service, image).unwrap_or_default();
    if let Some(folder) = service
        .working_dir
        .as_ref()
        .filter(|folder| !folder.is_empty())
    {
        settings.working_dir.clone_from(folder);
    }
    settings
        .exposed_ports
        .extend(service.expose.iter().map(|port| match port.contains('/') {
            true => port.clone(),
            false => format!("{port}/tcp"),
        }));
    settings.labels.extend(service.labels.clone());
    if container.doc.record.stop_signal.is_some() {
        settings
            .stop_signal
            .clone_from(&container.doc.record.stop_signal);
    }
    if service.healthcheck.is_some() {
        settings.healthcheck = lower::health_plan(service, image).map(|plan| healthcheck(&plan));
    }
    settings
}

fn healthcheck(plan: &HealthPlan) -> Healthcheck {
    let nanos = |time: std::time::Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
    Healthcheck {
        test: plan.test.clone(),
        interval: nanos(plan.timing.interval),
        timeout: nanos(plan.timing.timeout),
        start_period: nanos(plan.timing.start_period),
        start_interval: nanos(plan.timing.start_interval),
        retries: i64::from(plan.timing.retries),
    }
}
