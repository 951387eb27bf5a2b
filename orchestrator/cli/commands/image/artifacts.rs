//! `hoist image artifacts`: what a registry has attached to an image.

use crate::credentials;
use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};
use crate::render::table::{Format, Table};
use crate::render::units;

/// List the signatures, attestations and other artifacts that a registry has for an image
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Form of the output
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Only digests
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let auth = credentials::of_images([args.image.as_str()])
        .map_err(|error| Failure::from(anyhow::Error::new(error)))?;
    let artifacts = ctx.client().await?.artifacts(&args.image, &auth).await?;
    if args.quiet {
        for artifact in &artifacts {
            ctx.ui.line(&artifact.digest)?;
        }
        return Ok(Exit::OK);
    }
    match args.format {
        Format::Table => {
            let mut table = Table::new(["DIGEST", "TYPE", "SIZE", "ATTACHED"]);
            for artifact in artifacts {
                let kind = if artifact.artifact_type.is_empty() {
                    "<none>".to_owned()
                } else {
                    artifact.artifact_type
                };
                table.row([
                    artifact.digest,
                    kind,
                    units::size(artifact.size),
                    artifact.attached,
                ]);
            }
            ctx.ui.data(table.to_string())?;
        }
        Format::Json => {
            for artifact in artifacts {
                ctx.ui.line(serde_json::json!(artifact).to_string())?;
            }
        }
    }
    Ok(Exit::OK)
}
