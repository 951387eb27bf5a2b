//! `hoist images`: what the stack's containers run.

use std::collections::BTreeMap;

use hoist_api::ImageSummary;
use jiff::Timestamp;

use crate::ctx::Ctx;
use crate::error::{Exit, Result};
use crate::render::table::{Format, Table};
use crate::render::{images, units};
use crate::{containers, project};

/// List the images that the stack's containers use
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Form of the output
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
}

fn print_ids(ctx: &Ctx, containers: &[hoist_api::ContainerSummary]) -> Result<Exit> {
    let mut ids: Vec<&str> = containers
        .iter()
        .map(|container| images::bare(&container.image_id))
        .collect();
    ids.sort_unstable();
    ids.dedup();
    for id in ids {
        ctx.ui.line(id)?;
    }
    Ok(Exit::OK)
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let project = project::find(&ctx.settings, ctx.ui, &args.services)?;
    let client = ctx.client().await?;
    let found = containers::of_services(&client, &project.name, &args.services, true).await?;
    let known: BTreeMap<String, ImageSummary> = client
        .images(&[])
        .await?
        .into_iter()
        .map(|image| (image.id.clone(), image))
        .collect();
    if args.quiet {
        return print_ids(ctx, &found);
    }
    let size = |id: &str| known.get(id).map_or(0, |image| image.size);
    let platform = |id: &str| known.get(id).map_or("", |image| image.platform.as_str());
    let mut tagged: BTreeMap<&str, Timestamp> = BTreeMap::new();
    for container in &found {
        let id = container.image_id.as_str();
        if known.contains_key(id) && !tagged.contains_key(id) {
            let time = client.image(id, None).await?.metadata.last_tag_time.parse();
            tagged.extend(
                time.ok()
                    .filter(|time: &Timestamp| time.as_second() > 0)
                    .map(|time| (id, time)),
            );
        }
    }
    match args.format {
        Format::Table => {
            let mut table = Table::new([
                "CONTAINER",
                "REPOSITORY",
                "TAG",
                "PLATFORM",
                "IMAGE ID",
                "SIZE",
                "CREATED",
            ]);
            for container in &found {
                let (repository, tag) = images::split(&container.image);
                table.row([
                    container.name().to_owned(),
                    repository.to_owned(),
                    tag.to_owned(),
                    platform(&container.image_id).to_owned(),
                    images::short(&container.image_id).to_owned(),
                    units::size(size(&container.image_id)),
                    tagged.get(container.image_id.as_str()).map_or_else(
                        || "N/A".to_owned(),
                        |time| units::ago(*time, Timestamp::now()),
                    ),
                ]);
            }
            ctx.ui.data(table.to_string())?;
        }
        Format::Json => {
            let entry = |container: &hoist_api::ContainerSummary| {
                let (repository, tag) = images::split(&container.image);
                serde_json::json!({
                    "ID": container.image_id, "ContainerName": container.name(), "Repository": repository,
                    "Tag": tag, "Platform": platform(&container.image_id), "Size": size(&container.image_id),
                    "LastTagTime": tagged.get(container.image_id.as_str()).map(ToString::to_string),
                })
            };
            let list: Vec<_> = found.iter().map(entry).collect();
            ctx.ui.line(serde_json::Value::from(list).to_string())?;
        }
    }
    Ok(Exit::OK)
}
