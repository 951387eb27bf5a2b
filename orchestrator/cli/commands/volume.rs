//! `hoist volume …`: a look at volumes, and removing them.

mod export;

use crate::commands::{Ctx, prune};
use crate::error::{Exit, Failure, Result};
use crate::render::table::{Listing, Table};

/// Look at volumes and remove them
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List volumes
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    /// Print everything that is known of volumes
    Inspect(InspectArgs),
    /// Remove volumes and what is in them
    Rm(RmArgs),
    /// Remove volumes that no container has
    Prune(prune::VolumeArgs),
    /// Write what is in a volume into a tar archive
    ///
    /// Containers that write to it are paused meanwhile.
    Export(export::ExportArgs),
    /// Fill a volume from a tar archive, wholly or not at all
    Import(export::ImportArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct LsArgs {
    /// Form of the output: table, json, or a Go template such as '{{.Name}}'
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Listing,
    /// Only names
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// Names
    #[arg(value_name = "VOLUME", required = true)]
    volumes: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RmArgs {
    /// Names
    #[arg(value_name = "VOLUME", required = true)]
    volumes: Vec<String>,
    /// Do not complain about volumes that do not exist
    #[arg(short, long)]
    force: bool,
}

pub(crate) async fn run(ctx: &Ctx, command: &Command) -> Result<Exit> {
    match command {
        Command::Ls(args) => ls(ctx, args).await,
        Command::Inspect(args) => inspect(ctx, args).await,
        Command::Rm(args) => rm(ctx, args).await,
        Command::Prune(args) => prune::volumes(ctx, args).await,
        Command::Export(args) => export::export(ctx, args).await,
        Command::Import(args) => export::import(ctx, args).await,
    }
}

async fn ls(ctx: &Ctx, args: &LsArgs) -> Result<Exit> {
    let mut volumes = ctx.client().await?.volumes(&[]).await?.volumes;
    volumes.sort_by(|a, b| a.name.cmp(&b.name));
    if args.quiet {
        for volume in &volumes {
            ctx.ui.line(&volume.name)?;
        }
        return Ok(Exit::OK);
    }
    let item = |volume: &hoist_engine::api::types::VolumeInspect| {
        serde_json::json!({
            "Name": volume.name, "Driver": volume.driver, "Mountpoint": volume.mountpoint, "Scope": volume.scope,
        })
    };
    let items: Vec<_> = volumes.iter().map(item).collect();
    let table = || {
        let mut table = Table::new(["DRIVER", "VOLUME NAME"]);
        volumes.into_iter().for_each(|volume| table.row([volume.driver, volume.name]));
        table.to_string()
    };
    ctx.ui.data(args.format.text(table, &items).map_err(Failure::user)?)?;
    Ok(Exit::OK)
}

async fn inspect(ctx: &Ctx, args: &InspectArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    let mut found = Vec::new();
    for volume in &args.volumes {
        found.push(client.volume(volume).await?);
    }
    ctx.ui.documents(&found)?;
    Ok(Exit::OK)
}

/// All of them are tried; the first failure is the command's.
async fn rm(ctx: &Ctx, args: &RmArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    let mut failure = None;
    for volume in &args.volumes {
        match client.remove_volume(volume, args.force).await {
            Ok(()) => ctx.ui.line(volume)?,
            Err(error) if failure.is_none() => failure = Some(error),
            Err(error) => Failure::from(error).report(ctx.ui),
        }
    }
    match failure {
        None => Ok(Exit::OK),
        Some(error) => Err(error.into()),
    }
}
