//! `hoist image push`.

use hoist_api::PushResult;
use hoist_client::Client;

use crate::credentials;
use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};
use crate::options::ProgressMode;

/// Push an image to the registry in its name
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the image, with its registry unless that is Docker's
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Push every tag of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Print the name with its digest only
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let client = ctx.client().await?;
    let names = if args.all_tags {
        tags(&client, &args.image).await?
    } else {
        vec![args.image.clone()]
    };
    let quiet = ctx.with_ui(ctx.ui.with_progress(ProgressMode::Quiet));
    let shown = if args.quiet { &quiet } else { ctx };
    for name in names {
        let pushed = one(shown, &client, &name).await?;
        ctx.ui
            .line(format!("{}@{}", repository(&name), pushed.digest))?;
    }
    Ok(Exit::OK)
}

/// Pushes under one name and shows how it goes.
pub(crate) async fn one(ctx: &Ctx, client: &Client, name: &str) -> Result<PushResult> {
    let auth =
        credentials::of_images([name]).map_err(|error| Failure::from(anyhow::Error::new(error)))?;
    let stream = client.push_image(name, &auth).await?;
    Ok(super::show(ctx, name, stream).await?.unwrap_or_default())
}

async fn tags(client: &Client, image: &str) -> Result<Vec<String>> {
    if repository(image) != image {
        return Err(Failure::user(format!(
            "{image} has a tag, but --all-tags pushes all of them"
        )));
    }
    let images = client.images(&[]).await?;
    let tags = images.into_iter().flat_map(|image| image.repo_tags);
    let mut tags: Vec<String> = tags.filter(|tag| repository(tag) == image).collect();
    tags.sort();
    if tags.is_empty() {
        Err(Failure::user(format!("no such image: {image}")))
    } else {
        Ok(tags)
    }
}

/// The name without its tag.
fn repository(name: &str) -> &str {
    name.rsplit_once(':')
        .filter(|(_, tag)| !tag.contains('/'))
        .map_or(name, |(repository, _)| repository)
}
