//! Removing what nothing uses: `hoist container prune`, `image prune`, `volume prune`, `network prune`,
//! `builder prune`, `system prune`.

use hoist_api::Pruned;
use hoist_client::Client;

use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};
use crate::render::units;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only what fits: `until=TIME`, `label=KEY[=VALUE]`, `label!=KEY[=VALUE]` (can be repeated)
    #[arg(long = "filter", value_name = "FILTER", value_parser = filter)]
    filters: Vec<(String, String)>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ImageArgs {
    /// Images that have a name but no container too
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    args: Args,
}

#[derive(Debug, clap::Args)]
pub(crate) struct VolumeArgs {
    /// Volumes that have a name too, not only anonymous ones
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    args: Args,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SystemArgs {
    /// Images that have a name but no container too
    #[arg(short, long)]
    all: bool,
    /// Anonymous volumes too
    #[arg(long)]
    volumes: bool,
    #[command(flatten)]
    args: Args,
}

/// `label!=x` has its key's `!` before the sign.
fn filter(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

impl Args {
    fn selectors(&self) -> Vec<(&str, &str)> {
        self.filters
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect()
    }

    fn confirmed(&self, ctx: &Ctx, what: &str) -> Result<()> {
        let question =
            format!("WARNING! This will remove {what}.\nAre you sure you want to continue?");
        if self.force || ctx.ui.confirm(&question)? {
            Ok(())
        } else {
            Err(Failure::interrupted())
        }
    }
}

pub(crate) async fn containers(ctx: &Ctx, args: &Args) -> Result<Exit> {
    args.confirmed(ctx, "all stopped containers")?;
    let pruned = ctx
        .client()
        .await?
        .prune("containers", &args.selectors())
        .await?;
    report(ctx, &[pruned])
}

pub(crate) async fn images(ctx: &Ctx, args: &ImageArgs) -> Result<Exit> {
    args.args.confirmed(ctx, of_images(args.all))?;
    let pruned = prune_images(&ctx.client().await?, &args.args, args.all).await?;
    report(ctx, &[pruned])
}

fn of_images(all: bool) -> &'static str {
    if all {
        "all images without a container"
    } else {
        "all images without a name and a container"
    }
}

async fn prune_images(client: &Client, args: &Args, all: bool) -> Result<Pruned> {
    let mut selectors = args.selectors();
    selectors.push(("dangling", if all { "false" } else { "true" }));
    Ok(client.prune("images", &selectors).await?)
}

pub(crate) async fn volumes(ctx: &Ctx, args: &VolumeArgs) -> Result<Exit> {
    let which = if args.all { "all" } else { "anonymous" };
    args.args
        .confirmed(ctx, &format!("{which} volumes without a container"))?;
    let mut selectors = args.args.selectors();
    if args.all {
        selectors.push(("all", "true"));
    }
    let pruned = ctx.client().await?.prune("volumes", &selectors).await?;
    report(ctx, &[pruned])
}

pub(crate) async fn networks(ctx: &Ctx, args: &Args) -> Result<Exit> {
    args.confirmed(ctx, "all networks without a container")?;
    let pruned = ctx
        .client()
        .await?
        .prune("networks", &args.selectors())
        .await?;
    if !pruned.networks_deleted.is_empty() {
        ctx.ui.line(format!(
            "Deleted Networks:\n{}",
            pruned.networks_deleted.join("\n")
        ))?;
    }
    Ok(Exit::OK)
}

pub(crate) async fn builder(ctx: &Ctx, args: &Args) -> Result<Exit> {
    args.confirmed(ctx, "the build cache")?;
    let pruned = ctx
        .client()
        .await?
        .prune("build", &args.selectors())
        .await?;
    report(ctx, &[pruned])
}

pub(crate) async fn system(ctx: &Ctx, args: &SystemArgs) -> Result<Exit> {
    let volumes = if args.volumes {
        ", all anonymous volumes without a container"
    } else {
        ""
    };
    let images = of_images(args.all);
    let what = format!(
        "all stopped containers, all networks without a container{volumes}, {images}, the build cache"
    );
    args.args.confirmed(ctx, &what)?;
    let (client, selectors) = (ctx.client().await?, args.args.selectors());
    // In the order in which one frees the other.
    let mut pruned = vec![
        client.prune("containers", &selectors).await?,
        client.prune("networks", &selectors).await?,
    ];
    if args.volumes {
        let known: Vec<_> = selectors
            .iter()
            .copied()
            .filter(|(key, _)| *key != "until")
            .collect();
        pruned.push(client.prune("volumes", &known).await?);
    }
    pruned.push(client.prune("build", &[]).await?);
    pruned.push(prune_images(&client, &args.args, args.all).await?);
    report(ctx, &pruned)
}

/// docker's words.
fn report(ctx: &Ctx, pruned: &[Pruned]) -> Result<Exit> {
    let mut text = String::new();
    let mut list = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            text.push_str(&format!("{title}:\n{}\n\n", lines.join("\n")));
        }
    };
    for pruned in pruned {
        list("Deleted Containers", pruned.containers_deleted.clone());
        list("Deleted Volumes", pruned.volumes_deleted.clone());
        list("Deleted Networks", pruned.networks_deleted.clone());
        list("Deleted build cache objects", pruned.caches_deleted.clone());
        let untagged = pruned.images_deleted.iter().flat_map(|entry| {
            let untagged = entry
                .untagged
                .iter()
                .map(|name| format!("untagged: {name}"));
            untagged.chain(entry.deleted.iter().map(|id| format!("deleted: {id}")))
        });
        list("Deleted Images", untagged.collect());
    }
    let total: u64 = pruned.iter().map(|pruned| pruned.space_reclaimed).sum();
    text.push_str(&format!("Total reclaimed space: {}\n", units::size(total)));
    ctx.ui.data(text)?;
    Ok(Exit::OK)
}
