//! `hoist commit`: an image of what a container has become.

use crate::ctx::Ctx;
use crate::error::{Exit, Result};

/// Make an image of a service's container: its image and one more layer with what it wrote
///
/// What is mounted (volumes, secrets) is not part of it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Service of the stack, or name or id of a container
    #[arg(value_name = "SERVICE")]
    container: String,
    /// Name of the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
    /// Dockerfile instruction that changes the image's settings (can be repeated)
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    changes: Vec<String>,
    /// What to write into the history
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Who made it
    #[arg(short, long, value_name = "NAME")]
    author: Option<String>,
    /// Pause the container meanwhile
    #[arg(short, long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", action = clap::ArgAction::Set)]
    pause: bool,
    /// The container with this number of the service
    #[arg(long, value_name = "NUMBER")]
    index: Option<u32>,
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let client = ctx.client().await?;
    let id = crate::containers::find_id(ctx, &client, &args.container, args.index).await?;
    let mut terms = vec![("pause", u8::from(args.pause).to_string())];
    terms.extend(args.name.iter().map(|name| ("repo", name.clone())));
    terms.extend(args.message.iter().map(|text| ("comment", text.clone())));
    terms.extend(args.author.iter().map(|text| ("author", text.clone())));
    terms.extend(
        args.changes
            .iter()
            .map(|change| ("changes", change.clone())),
    );
    ctx.ui
        .line(client.commit_container(&id, &terms).await?.id)?;
    Ok(Exit::OK)
}
