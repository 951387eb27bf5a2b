//! `hoist version`.

use clap::ValueEnum;

use crate::ctx::Ctx;
use crate::error::{Exit, Result};

/// Show the version
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Form of the output
    #[arg(short, long, value_enum, default_value = "pretty")]
    format: Format,
    /// Only the number
    #[arg(long)]
    short: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Pretty,
    Json,
}

pub(crate) fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let version = env!("CARGO_PKG_VERSION");
    let text = match args.format {
        _ if args.short => version.to_owned(),
        Format::Pretty => format!("hoist version {version}"),
        Format::Json => serde_json::json!({ "version": version }).to_string(),
    };
    ctx.ui.line(text)?;
    Ok(Exit::OK)
}
