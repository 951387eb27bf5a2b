//! `hoist ls`: the stacks that the engine knows.

use crate::ctx::Ctx;
use crate::error::{Exit, Result};
use crate::render::table::{Format, Table};

/// List the stacks that the engine knows
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Stacks without a running container too
    #[arg(short, long)]
    all: bool,
    /// Form of the output
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Only names
    #[arg(short, long)]
    quiet: bool,
    /// Only stacks with this in their name, as `name=TEXT` (can be repeated)
    #[arg(long, value_name = "FILTER", value_parser = name_filter)]
    filter: Vec<String>,
}

fn name_filter(text: &str) -> Result<String, String> {
    text.strip_prefix("name=")
        .map(str::to_owned)
        .ok_or_else(|| "only `name=TEXT` is a filter here".to_owned())
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let mut stacks = ctx.client().await?.stacks().await?;
    stacks.retain(|stack| {
        (args.all || stack.running > 0)
            && (args.filter.is_empty()
                || args
                    .filter
                    .iter()
                    .any(|text| stack.name.contains(text.as_str())))
    });
    stacks.sort_by(|a, b| a.name.cmp(&b.name));
    if args.quiet {
        for stack in &stacks {
            ctx.ui.line(&stack.name)?;
        }
        return Ok(Exit::OK);
    }
    match args.format {
        Format::Table => {
            let mut table = Table::new(["NAME", "STATUS", "CONFIG FILES"]);
            stacks
                .into_iter()
                .for_each(|stack| table.row([stack.name, stack.status, stack.files.join(",")]));
            ctx.ui.data(table.to_string())?;
        }
        Format::Json => {
            let entry = |stack: &hoist_api::StackSummary| {
                serde_json::json!({
                    "Name": stack.name, "Status": stack.status, "ConfigFiles": stack.files.join(",")
                })
            };
            let list: Vec<_> = stacks.iter().map(entry).collect();
            ctx.ui.line(serde_json::Value::from(list).to_string())?;
        }
    }
    Ok(Exit::OK)
}
