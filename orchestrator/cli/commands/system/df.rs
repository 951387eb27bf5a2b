//! `hoist system df`: how much of the disk is whose.

use hoist_api::DiskUsage;

use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};
use crate::render::table::{Format, Table};
use crate::render::{images, units};

/// Show how much of the disk images, containers, volumes and the build cache take
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Every object by itself
    #[arg(short, long)]
    verbose: bool,
    /// Form of the output
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

/// One line of the summary.
struct Line {
    kind: &'static str,
    total: usize,
    active: usize,
    size: u64,
    reclaimable: u64,
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let usage = ctx.client().await?.disk_usage().await?;
    match (args.format, args.verbose) {
        (Format::Table, false) => {
            let mut table = Table::new(["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]);
            for line in lines(&usage) {
                table.row([
                    line.kind.to_owned(),
                    line.total.to_string(),
                    line.active.to_string(),
                    units::size(line.size),
                    reclaimable(&line),
                ]);
            }
            ctx.ui.data(table.to_string())?;
        }
        (Format::Json, false) => {
            for line in lines(&usage) {
                let value = serde_json::json!({
                    "Type": line.kind, "TotalCount": line.total.to_string(), "Active": line.active.to_string(),
                    "Size": units::size(line.size), "Reclaimable": reclaimable(&line),
                });
                ctx.ui.line(value.to_string())?;
            }
        }
        (Format::Table, true) => verbose(ctx, &usage)?,
        (Format::Json, true) => {
            let value = serde_json::to_value(&usage)
                .map_err(|error| Failure::from(anyhow::Error::new(error)))?;
            ctx.ui.line(value.to_string())?;
        }
    }
    Ok(Exit::OK)
}

/// As docker counts: what images share is nobody's to reclaim.
fn lines(usage: &DiskUsage) -> [Line; 4] {
    let used = usage.images.iter().filter(|image| image.containers > 0);
    let own = |image: &hoist_api::ImageSummary| {
        image
            .size
            .saturating_sub(u64::try_from(image.shared_size).unwrap_or(0))
    };
    let running = usage
        .containers
        .iter()
        .filter(|container| container.summary.state == "running");
    let rest = usage
        .containers
        .iter()
        .filter(|container| container.summary.state != "running");
    let unused = usage
        .volumes
        .iter()
        .filter(|volume| volume.usage_data.ref_count == 0);
    [
        Line {
            kind: "Images",
            total: usage.images.len(),
            active: used.clone().count(),
            size: usage.layers_size,
            reclaimable: usage.layers_size.saturating_sub(used.map(own).sum()),
        },
        Line {
            kind: "Containers",
            total: usage.containers.len(),
            active: running.count(),
            size: usage
                .containers
                .iter()
                .map(|container| container.size_rw)
                .sum(),
            reclaimable: rest.map(|container| container.size_rw).sum(),
        },
        Line {
            kind: "Local Volumes",
            total: usage.volumes.len(),
            active: usage
                .volumes
                .iter()
                .filter(|volume| volume.usage_data.ref_count > 0)
                .count(),
            size: usage
                .volumes
                .iter()
                .map(|volume| volume.usage_data.size)
                .sum(),
            reclaimable: unused.map(|volume| volume.usage_data.size).sum(),
        },
        Line {
            kind: "Build Cache",
            total: usage.build_cache.len(),
            active: 0,
            size: usage.build_cache_size,
            reclaimable: usage.build_cache_size,
        },
    ]
}

fn reclaimable(line: &Line) -> String {
    match line.size {
        0 => units::size(line.reclaimable),
        size => {
            format!(
                "{} ({}%)",
                units::size(line.reclaimable),
                u128::from(line.reclaimable) * 100 / u128::from(size)
            )
        }
    }
}

fn verbose(ctx: &Ctx, usage: &DiskUsage) -> Result<()> {
    let mut table = Table::new([
        "REPOSITORY",
        "TAG",
        "IMAGE ID",
        "SIZE",
        "SHARED SIZE",
        "UNIQUE SIZE",
        "CONTAINERS",
    ]);
    for image in &usage.images {
        let shared = u64::try_from(image.shared_size).unwrap_or(0);
        let name = image.repo_tags.first().map_or("", String::as_str);
        let (repository, tag) = images::split(name);
        table.row([
            repository.to_owned(),
            tag.to_owned(),
            images::short(&image.id).to_owned(),
            units::size(image.size),
            units::size(shared),
            units::size(image.size.saturating_sub(shared)),
            image.containers.to_string(),
        ]);
    }
    ctx.ui.data(format!("Images space usage:\n\n{table}"))?;
    let mut table = Table::new(["CONTAINER ID", "IMAGE", "SIZE", "STATUS", "NAMES"]);
    for container in &usage.containers {
        let summary = &container.summary;
        table.row([
            images::short(&summary.id).to_owned(),
            summary.image.clone(),
            units::size(container.size_rw),
            summary.status.clone(),
            summary.name().to_owned(),
        ]);
    }
    ctx.ui
        .data(format!("\nContainers space usage:\n\n{table}"))?;
    let mut table = Table::new(["VOLUME NAME", "LINKS", "SIZE"]);
    for volume in &usage.volumes {
        let (links, size) = (volume.usage_data.ref_count, volume.usage_data.size);
        table.row([
            volume.inspect.name.clone(),
            links.to_string(),
            units::size(size),
        ]);
    }
    ctx.ui
        .data(format!("\nLocal Volumes space usage:\n\n{table}"))?;
    ctx.ui.line(format!(
        "\nBuild cache usage: {}",
        units::size(usage.build_cache_size)
    ))?;
    Ok(())
}
