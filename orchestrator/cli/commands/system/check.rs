//! `hoist system check`: whether what is stored is what it should be.

use clap::ValueEnum;
use hoist_api::{CheckReport, CheckRequest, Outcome};

use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};
use crate::render::units;

/// Check the image store: every blob against its digest, every layer's files against their diff id, every record
///
/// Exit codes: 0 all is sound (or was made so by --repair), 1 the check could not be made, 3 something is broken.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Restore what is broken, and drop what cannot be restored: the next pull fetches it again
    #[arg(long)]
    repair: bool,
    /// Look only whether everything is there, without reading it
    #[arg(long)]
    quick: bool,
    /// Form of the output
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let request = CheckRequest {
        repair: args.repair,
        quick: args.quick,
    };
    let report = ctx.client().await?.check_store(&request).await?;
    match args.format {
        Format::Text => text(ctx, &report)?,
        Format::Json => {
            let value = serde_json::to_value(&report)
                .map_err(|error| Failure::from(anyhow::Error::new(error)))?;
            ctx.ui.data(format!("{value:#}\n"))?;
        }
    }
    if report.is_sound() {
        return Ok(Exit::OK);
    }
    if !args.repair {
        ctx.ui
            .hint("`hoist system check --repair` restores what it can and drops the rest");
    }
    Ok(Exit::UNSOUND)
}

fn text(ctx: &Ctx, report: &CheckReport) -> Result<()> {
    for problem in &report.problems {
        let outcome = match problem.outcome {
            Outcome::Found => "",
            Outcome::Restored => " [restored]",
            Outcome::Dropped => " [dropped]",
        };
        ctx.ui
            .line(format!("{}: {}{outcome}", problem.object, problem.reason))?;
    }
    let verdict = match (report.problems.len(), report.is_sound()) {
        (0, _) => "sound".to_owned(),
        (count, true) => format!("sound again, {count} repaired"),
        (count, false) => format!("{count} broken"),
    };
    let CheckReport {
        images,
        layers,
        blobs,
        bytes,
        ..
    } = report;
    let size = units::size(*bytes);
    ctx.ui.line(format!(
        "{images} images, {layers} layers, {blobs} blobs ({size}): {verdict}"
    ))?;
    Ok(())
}
