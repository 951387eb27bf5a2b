//! `hoist volume …`: making volumes, a look at them, and removing them.

mod export;

use hoist_api::VolumeCreate;

use crate::commands::prune;
use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};
use crate::render::table::{Listing, Table};

/// Make volumes, look at them and remove them
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make a volume, for stacks that call it external
    Create(CreateArgs),
    /// List volumes
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    /// Print everything that is known of volumes
    Inspect(InspectArgs),
    /// Remove volumes and what is in them
    #[command(visible_alias = "remove")]
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
pub(crate) struct CreateArgs {
    /// Name; without one, one is drawn
    #[arg(value_name = "VOLUME")]
    volume: Option<String>,
    /// Driver
    #[arg(short, long, value_name = "DRIVER", default_value = "local")]
    driver: String,
    /// Option of the driver: type, device or o, as for mount(8) (can be repeated)
    #[arg(short, long = "opt", value_name = "NAME=VALUE")]
    opt: Vec<String>,
    /// Label (can be repeated)
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<String>,
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
        Command::Create(args) => create(ctx, args).await,
        Command::Ls(args) => ls(ctx, args).await,
        Command::Inspect(args) => inspect(ctx, args).await,
        Command::Rm(args) => rm(ctx, args).await,
        Command::Prune(args) => prune::volumes(ctx, args).await,
        Command::Export(args) => export::export(ctx, args).await,
        Command::Import(args) => export::import(ctx, args).await,
    }
}

async fn create(ctx: &Ctx, args: &CreateArgs) -> Result<Exit> {
    let pair = |text: &String| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        (name.to_owned(), value.to_owned())
    };
    let wanted = VolumeCreate {
        name: args.volume.clone().unwrap_or_default(),
        driver: args.driver.clone(),
        driver_opts: Some(args.opt.iter().map(pair).collect()),
        labels: Some(args.label.iter().map(pair).collect()),
    };
    let made = ctx.client().await?.create_volume(&wanted).await?;
    ctx.ui.line(&made.name)?;
    Ok(Exit::OK)
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
    let item = |volume: &hoist_api::VolumeInspect| {
        serde_json::json!({
            "Name": volume.name, "Driver": volume.driver, "Mountpoint": volume.mountpoint, "Scope": volume.scope,
        })
    };
    let items: Vec<_> = volumes.iter().map(item).collect();
    let table = || {
        let mut table = Table::new(["DRIVER", "VOLUME NAME"]);
        volumes
            .into_iter()
            .for_each(|volume| table.row([volume.driver, volume.name]));
        table.to_string()
    };
    ctx.ui
        .data(args.format.text(table, &items).map_err(Failure::user)?)?;
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
