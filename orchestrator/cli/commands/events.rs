//! `hoist events`: what happens, as lines or JSON.

use hoist_api::EventMessage;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::containers::PROJECT_LABEL;
use crate::ctx::Ctx;
use crate::error::{Exit, Result};
use crate::signals::Interrupts;
use crate::{project, time};

/// Show what happens to the stack's containers, as it happens
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// One JSON object for each event
    #[arg(long)]
    json: bool,
    /// Events from this time on: a date, or how long ago (10m)
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    since: Option<String>,
    /// Events before this time: a date, or how long ago (10m)
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    until: Option<String>,
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let project = project::find(&ctx.settings, ctx.ui, &args.services)?;
    let client = ctx.client().await?;
    let label = format!("{PROJECT_LABEL}={}", project.name);
    let filters = [("label", label.as_str()), ("type", "container")];
    let mut interrupts = Interrupts::listen()?;
    let mut stream = client
        .events(args.since.as_deref(), args.until.as_deref(), &filters)
        .await?;
    loop {
        let event = tokio::select! {
            event = stream.next() => event?,
            () = interrupts.next() => return Ok(Exit::INTERRUPTED),
        };
        let Some(event) = event else {
            return Ok(Exit::OK);
        };
        let service = attribute(&event, "com.docker.compose.service");
        if args.services.is_empty() || args.services.iter().any(|name| name == service) {
            ctx.ui.line(if args.json {
                json(&event).to_string()
            } else {
                text(&event)
            })?;
        }
    }
}

fn attribute<'a>(event: &'a EventMessage, name: &str) -> &'a str {
    event.actor.attributes.get(name).map_or("", String::as_str)
}

fn time(event: &EventMessage) -> Timestamp {
    Timestamp::from_nanosecond(event.time_nano.into()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Without the labels, which would fill the line.
fn attributes(event: &EventMessage) -> impl Iterator<Item = (&String, &String)> {
    event
        .actor
        .attributes
        .iter()
        .filter(|(name, _)| !name.contains('.'))
}

fn text(event: &EventMessage) -> String {
    let time = time(event)
        .to_zoned(TimeZone::system())
        .strftime("%Y-%m-%d %H:%M:%S.%6f")
        .to_string();
    let attributes: Vec<String> = attributes(event)
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    format!(
        "{time} {} {} {} ({})",
        event.kind,
        event.action,
        event.actor.id,
        attributes.join(", ")
    )
}

fn json(event: &EventMessage) -> serde_json::Value {
    let attributes: serde_json::Map<_, _> = attributes(event)
        .map(|(name, value)| (name.clone(), value.clone().into()))
        .collect();
    serde_json::json!({
        "action": event.action,
        "attributes": attributes,
        "id": event.actor.id,
        "service": attribute(event, "com.docker.compose.service"),
        "time": time(event).to_string(),
        "type": event.kind,
    })
}
