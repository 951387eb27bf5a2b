//! `hoist cp`: which side is the container; the copying itself is in `archive`.

use std::sync::Arc;

use anyhow::Context;
use hoist_api::ContainerSummary;
use hoist_client::Client;
use tokio::io::{AsyncSeekExt, AsyncWriteExt};

use crate::archive::{self, CopyPath, Fetch};
use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};
use crate::{containers, project};

/// Copy files between a container and this machine
///
/// One side is SERVICE:PATH, the other a path here or `-` for a tar archive on standard input or output. A copy to a service
/// goes to each of its containers, a copy from it comes from the first one.
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
    let (source, destination) = (
        CopyPath::parse(&args.source),
        CopyPath::parse(&args.destination),
    );
    match (source, destination) {
        (CopyPath::Container { service, path }, CopyPath::Local(local)) => {
            let (client, found) = find(ctx, args, service).await?;
            copy_out(ctx, args, &client, &found[0].id, path, local).await?;
        }
        (CopyPath::Local(local), CopyPath::Container { service, path }) => {
            let (client, found) = find(ctx, args, service).await?;
            let path = archive::absolute(path);
            if local == "-" {
                copy_stdin(&client, &found, &path).await?;
            } else {
                let source = Arc::new(archive::Source::look(
                    &ctx.settings.working_dir,
                    local,
                    args.follow_link,
                )?);
                for container in &found {
                    archive::send(
                        &client,
                        &container.id,
                        Arc::clone(&source),
                        &path,
                        args.archive,
                    )
                    .await?;
                }
            }
        }
        (CopyPath::Container { .. }, CopyPath::Container { .. }) => {
            return Err(Failure::user(
                "copying from container to container is not supported",
            ));
        }
        (CopyPath::Local(_), CopyPath::Local(_)) => {
            return Err(Failure::user(
                "one of source and destination must be SERVICE:PATH",
            ));
        }
    }
    Ok(Exit::OK)
}

async fn copy_out(
    ctx: &Ctx,
    args: &Args,
    client: &Client,
    container: &str,
    path: &str,
    local: &str,
) -> Result<()> {
    if local == "-" {
        let (mut bytes, _) = client
            .get_archive(container, &archive::absolute(path), args.follow_link)
            .await?;
        while let Some(chunk) = bytes.next().await? {
            ctx.ui.data(chunk)?;
        }
        return Ok(());
    }
    let target = ctx.settings.working_dir.join(local);
    let fetch = Fetch {
        container,
        path,
        target: &target,
        wants_folder: local.ends_with('/'),
        follow: args.follow_link,
        keep_owner: args.archive,
    };
    let copied = archive::fetch(client, &fetch).await?;
    if copied.devices > 0 {
        ctx.ui.warn(&format!(
            "device files are not copied: {} left out",
            copied.devices
        ));
    }
    Ok(())
}

/// Standard input can be read once: for several containers it is kept in a file that has no name.
async fn copy_stdin(client: &Client, containers: &[ContainerSummary], path: &str) -> Result<()> {
    if let [container] = containers {
        return Ok(client
            .put_archive(&container.id, path, tokio::io::stdin())
            .await?);
    }
    let kept = tempfile::tempfile().context("making a temporary file")?;
    let mut writer =
        tokio::fs::File::from_std(kept.try_clone().context("making a temporary file")?);
    tokio::io::copy(&mut tokio::io::stdin(), &mut writer)
        .await
        .context("reading standard input")?;
    writer.flush().await.context("writing a temporary file")?;
    for container in containers {
        let mut reader =
            tokio::fs::File::from_std(kept.try_clone().context("opening a temporary file")?);
        reader.rewind().await.context("reading a temporary file")?;
        client.put_archive(&container.id, path, reader).await?;
    }
    Ok(())
}

/// The containers that are meant, at least one; the first is the one to copy from.
async fn find(ctx: &Ctx, args: &Args, service: &str) -> Result<(Client, Vec<ContainerSummary>)> {
    let project = project::find(&ctx.settings, ctx.ui, &[service.to_owned()])?;
    let client = ctx.client().await?;
    if args.index.is_none() {
        let mut found = containers::of_project(&client, &project.name, true).await?;
        found.retain(|container| {
            container.service() == service && (args.all || !container.one_off())
        });
        // The replicas before the one-off containers.
        found.sort_by_key(ContainerSummary::one_off);
        if !found.is_empty() {
            return Ok((client, found));
        }
    }
    let container = containers::any(&client, &project.name, service, args.index).await?;
    Ok((client, vec![container]))
}
