//! `hoist image history`, also as `hoist history`: what an image was made by.

use hoist_api::HistoryEntry;
use jiff::Timestamp;

use crate::ctx::Ctx;
use crate::error::{Exit, Result};
use crate::render::table::{Format, Table};
use crate::render::{images, units};

/// Show the steps that made an image, the latest first
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name or id
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Which of the images of that name: OS/ARCH[/VARIANT] (default: this machine's)
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Form of the output
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// Do not shorten anything
    #[arg(long)]
    no_trunc: bool,
}

/// docker's width of a shortened command.
const WIDTH: usize = 45;

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let history = ctx
        .client()
        .await?
        .image_history(&args.image, args.platform.as_deref())
        .await?;
    let id = |entry: &HistoryEntry| match args.no_trunc || !entry.id.starts_with("sha256:") {
        true => entry.id.clone(),
        false => images::short(&entry.id).to_owned(),
    };
    let command = |entry: &HistoryEntry| {
        let text = entry.created_by.replace('\t', " ");
        if args.no_trunc || text.chars().count() <= WIDTH {
            return text;
        }
        text.chars().take(WIDTH - 1).chain(['…']).collect()
    };
    let now = Timestamp::now();
    let created = |entry: &HistoryEntry| match Timestamp::from_second(entry.created) {
        Ok(time) if entry.created != 0 => units::ago(time, now),
        _ => "N/A".to_owned(),
    };
    if args.quiet {
        for entry in &history {
            ctx.ui.line(id(entry))?;
        }
        return Ok(Exit::OK);
    }
    match args.format {
        Format::Table => {
            let mut table = Table::new(["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"]);
            for entry in &history {
                let size = units::size(entry.size);
                table.row([
                    id(entry),
                    created(entry),
                    command(entry),
                    size,
                    entry.comment.clone(),
                ]);
            }
            ctx.ui.data(table.to_string())?;
        }
        Format::Json => {
            for entry in &history {
                let at = Timestamp::from_second(entry.created)
                    .unwrap_or(Timestamp::UNIX_EPOCH)
                    .to_string();
                let value = serde_json::json!({
                    "ID": id(entry), "CreatedAt": at, "CreatedSince": created(entry), "CreatedBy": command(entry),
                    "Size": units::size(entry.size), "Comment": entry.comment,
                });
                ctx.ui.line(value.to_string())?;
            }
        }
    }
    Ok(Exit::OK)
}
