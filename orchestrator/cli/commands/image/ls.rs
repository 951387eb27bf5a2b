//! `hoist image ls`.

use hoist_api::ImageSummary;
use jiff::Timestamp;

use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};
use crate::render::table::{Listing, Table};
use crate::render::{images, units};

/// List images
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only images of this repository, or repository and tag
    #[arg(value_name = "REPOSITORY")]
    repository: Option<String>,
    /// Only what fits: `dangling=BOOL`, `reference=PATTERN`, `label=KEY[=VALUE]`, `before=IMAGE`, `since=IMAGE`,
    /// `until=TIME` (can be repeated)
    #[arg(short, long = "filter", value_name = "FILTER", value_parser = filter)]
    filters: Vec<(String, String)>,
    /// Show the digests that registries know images by
    #[arg(long)]
    digests: bool,
    /// Form of the output: table, json, or a Go template such as '{{.Name}}'
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Listing,
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// Do not shorten ids
    #[arg(long)]
    no_trunc: bool,
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let filters: Vec<(&str, &str)> = args
        .filters
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    let mut list = ctx.client().await?.images(&filters).await?;
    list.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
    let rows: Vec<(&ImageSummary, &str, &str)> = list
        .iter()
        .flat_map(|image| {
            names(image)
                .into_iter()
                .map(move |(repository, tag)| (image, repository, tag))
        })
        .filter(|(_, repository, tag)| {
            args.repository.as_ref().is_none_or(|wanted| {
                wanted == repository || *wanted == format!("{repository}:{tag}")
            })
        })
        .collect();
    let id = |image: &ImageSummary| {
        if args.no_trunc {
            image.id.clone()
        } else {
            images::short(&image.id).to_owned()
        }
    };
    if args.quiet {
        let mut ids: Vec<String> = rows.iter().map(|(image, ..)| id(image)).collect();
        ids.dedup();
        for id in ids {
            ctx.ui.line(id)?;
        }
        return Ok(Exit::OK);
    }
    let now = Timestamp::now();
    let created = |image: &ImageSummary| {
        let created = Timestamp::from_second(image.created).unwrap_or(Timestamp::UNIX_EPOCH);
        units::ago(created, now)
    };
    let items = rows.iter().map(|(image, repository, tag)| {
        serde_json::json!({
            "Repository": repository, "Tag": tag, "ID": id(image), "CreatedSince": created(image),
            "Size": units::size(image.size), "Digest": digest(image), "Platform": image.platform,
        })
    });
    let items: Vec<_> = items.collect();
    let table = || {
        // docker's columns, and what tells images of one name apart where there are several platforms.
        let several = rows
            .iter()
            .any(|(image, ..)| image.platform != rows[0].0.platform);
        let platform = |text: &str| several.then(|| text.to_owned());
        let mut head = columns(args.digests, HEADINGS.map(str::to_owned));
        head.extend(platform("PLATFORM"));
        let mut table = Table::of(head);
        for (image, repository, tag) in &rows {
            let cells = [
                repository,
                tag,
                digest(image),
                &id(image),
                &created(image),
                &units::size(image.size),
            ];
            let mut row = columns(args.digests, cells.map(str::to_owned));
            row.extend(platform(&image.platform));
            table.push(row);
        }
        table.to_string()
    };
    ctx.ui
        .data(args.format.text(table, &items).map_err(Failure::user)?)?;
    Ok(Exit::OK)
}

const HEADINGS: [&str; 6] = ["REPOSITORY", "TAG", "DIGEST", "IMAGE ID", "CREATED", "SIZE"];

/// All but the digest, unless that is wanted too.
fn columns<T>(digests: bool, cells: [T; 6]) -> Vec<T> {
    cells
        .into_iter()
        .enumerate()
        .filter(|(at, _)| digests || *at != 2)
        .map(|(_, cell)| cell)
        .collect()
}

/// An image that was pulled by its digest has no tag, but it comes from somewhere.
fn names(image: &ImageSummary) -> Vec<(&str, &str)> {
    if image.repo_tags.is_empty() {
        return vec![
            image
                .repo_digests
                .first()
                .map_or(("<none>", "<none>"), |name| images::split(name)),
        ];
    }
    image
        .repo_tags
        .iter()
        .map(|tag| images::split(tag))
        .collect()
}

fn filter(text: &str) -> std::result::Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn digest(image: &ImageSummary) -> &str {
    image
        .repo_digests
        .first()
        .and_then(|text| Some(text.split_once('@')?.1))
        .unwrap_or("<none>")
}
