//! `hoist cp`: which side is the container; the copying itself is in `archive`.

use hoist_engine::api::types::ContainerSummary;
use hoist_engine::client::Client;

use crate::archive::{self, Destination, Fetch, Place};
use crate::commands::Ctx;
use crate::error::{Exit, Failure, Result};
use crate::{containers, project};

/// Copy files between a container and this machine
///
/// One side is SERVICE:PATH, the other a path here or `-` for a tar archive on standard input or output.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to copy
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Where to
    #[arg(value_name = "DESTINATION")]
    destination: String,
    /// Copy to every container of the service, one-off ones too
    #[arg(long, conflicts_with = "index")]
    all: bool,
    /// Keep user and group of the files
    #[arg(short, long)]
    archive: bool,
    /// Copy what the source's symbolic link points to
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// The container with this number of the service
    #[arg(long, value_name = "NUMBER")]
    index: Option<u32>,
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let (source, destination) = (Place::parse(&args.source), Place::parse(&args.destination));
    match (source, destination) {
        (Place::Container { service, path }, Place::Local(local)) => {
            let (client, found) = find(ctx, args, service).await?;
            let container = &found[0];
            if local == "-" {
                let (mut bytes, _) = client.get_archive(&container.id, path).await?;
                while let Some(chunk) = bytes.next().await? {
                    ctx.ui.data(chunk)?;
                }
            } else {
                let target = ctx.settings.working_dir.join(local);
                let fetch = Fetch {
                    container: &container.id,
                    path,
                    target: &target,
                    wants_folder: local.ends_with('/'),
                    follow: args.follow_link,
                    keep_owner: args.archive,
                };
                archive::fetch(&client, &fetch).await?;
            }
        }
        (Place::Local(local), Place::Container { service, path }) => {
            let (client, found) = find(ctx, args, service).await?;
            for container in &found {
                let destination = Destination::look(&client, &container.id, path).await?;
                if local == "-" {
                    client.put_archive(&container.id, destination.folder()?, tokio::io::stdin()).await?;
                    continue;
                }
                let source = archive::Source::look(&ctx.settings.working_dir, local, args.follow_link)?;
                archive::send(&client, &container.id, &source, &destination, args.archive).await?;
            }
        }
        (Place::Container { .. }, Place::Container { .. }) => {
            return Err(Failure::user("copying from container to container is not supported"));
        }
        (Place::Local(_), Place::Local(_)) => {
            return Err(Failure::user("one of source and destination must be SERVICE:PATH"));
        }
    }
    Ok(Exit::OK)
}

/// The containers that are meant, at least one.
async fn find(ctx: &Ctx, args: &Args, service: &str) -> Result<(Client, Vec<ContainerSummary>)> {
    let project = project::find(&ctx.settings, ctx.ui, &[service.to_owned()])?;
    let client = ctx.client().await?;
    if args.all {
        let mut found = containers::of_project(&client, &project.name, true).await?;
        found.retain(|container| container.service() == service);
        if !found.is_empty() {
            return Ok((client, found));
        }
    }
    let container = containers::any(&client, &project.name, service, args.index).await?;
    Ok((client, vec![container]))
}
