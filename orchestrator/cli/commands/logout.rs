//! `hoist logout`: forgets what `login` kept.

use hoist_image::{Credentials, registry_of};

use crate::credentials;
use crate::ctx::Ctx;
use crate::error::{Exit, Result};

/// Log out from a registry
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Address of the registry (default: Docker's)
    #[arg(value_name = "SERVER", default_value = "", hide_default_value = true)]
    server: String,
}

pub(crate) fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let registry = registry_of(&args.server).map_err(anyhow::Error::new)?;
    let known = Credentials::forget(&registry).map_err(anyhow::Error::new)?;
    ctx.ui.line(format!(
        "{} {registry}",
        if known {
            "Logged out from"
        } else {
            "Not logged in to"
        }
    ))?;
    if let Some(path) = credentials::still_kept(&registry).map_err(anyhow::Error::new)? {
        ctx.ui.warn(&format!(
            "{} still has a login for {registry}, made by another program",
            path.display()
        ));
    }
    Ok(Exit::OK)
}
