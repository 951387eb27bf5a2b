//! `hoist logs`: what containers have written.

use std::collections::BTreeSet;

use futures_util::FutureExt;
use hoist_api::{LogOptions, StackLogLine};

use crate::containers::short_name;
use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};
use crate::render::logs::{LogStyle, LogWriter};
use crate::signals::Interrupts;
use crate::{containers, project, time};

/// Show what containers have written
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Go on with what they write from now on
    #[arg(short, long)]
    follow: bool,
    /// Lines of each container from the end, or `all`
    #[arg(short = 'n', long, value_name = "LINES", default_value = "all", value_parser = tail)]
    tail: Tail,
    /// Lines from this time on: a date, or how long ago (10m)
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    since: Option<String>,
    /// Lines before this time: a date, or how long ago (10m)
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    until: Option<String>,
    /// Write the time in front of each line
    #[arg(short, long)]
    timestamps: bool,
    /// Write without colour
    #[arg(long)]
    no_color: bool,
    /// Write without the container's name in front
    #[arg(long)]
    no_log_prefix: bool,
    /// Only the container with this number of the service
    #[arg(long, value_name = "NUMBER")]
    index: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tail(Option<usize>);

fn tail(text: &str) -> Result<Tail, String> {
    // docker counts a negative number as all.
    if text == "all"
        || text
            .strip_prefix('-')
            .is_some_and(|rest| rest.parse::<usize>().is_ok())
    {
        return Ok(Tail(None));
    }
    text.parse()
        .map(|lines| Tail(Some(lines)))
        .map_err(|_| "expected a number of lines or `all`".to_owned())
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    if args.index.is_some() && args.services.len() != 1 {
        return Err(Failure::user("--index needs exactly one service"));
    }
    let project = project::find(&ctx.settings, ctx.ui, &args.services)?;
    let client = ctx.client().await?;
    let mut found = containers::of_services(&client, &project.name, &args.services, true).await?;
    found.retain(|container| args.index.is_none_or(|index| container.number() == index));
    if let Some(index) = args.index
        && found.is_empty()
    {
        return Err(Failure::user(format!(
            "service \"{}\" has no container #{index}",
            args.services[0]
        )));
    }
    if let (true, None, Some(service)) = (found.is_empty(), &project.loaded, args.services.first())
    {
        return Err(Failure::user(format!("no such service: {service}")));
    }
    let chosen: BTreeSet<String> = found
        .iter()
        .map(|container| container.name().to_owned())
        .collect();
    let names = chosen
        .iter()
        .map(|name| short_name(&project.name, name).to_owned());
    let ui = if args.no_color {
        ctx.ui.without_color()
    } else {
        ctx.ui
    };
    let style = LogStyle {
        prefix: !args.no_log_prefix,
        timestamps: args.timestamps,
    };
    let mut writer = LogWriter::new(ui, style, names);
    let options = LogOptions {
        follow: args.follow,
        timestamps: true,
        stdout: true,
        stderr: true,
        tail: args.tail.0,
        since: args.since.clone(),
        until: args.until.clone(),
        services: args.services.clone(),
    };
    let mut interrupts = Interrupts::listen()?;
    let mut stream = match client.stack_logs(&project.name, &options).await {
        Err(error) if error.not_found() && chosen.is_empty() => return Ok(Exit::OK),
        stream => stream?,
    };
    loop {
        let line = match stream.next().now_or_never() {
            Some(line) => line?,
            None => {
                writer.flush()?;
                tokio::select! {
                    line = stream.next() => line?,
                    () = interrupts.next() => return Ok(Exit::INTERRUPTED),
                }
            }
        };
        let Some(line) = line else {
            writer.flush()?;
            return Ok(Exit::OK);
        };
        if args.index.is_none() || chosen.contains(&line.container) {
            write(&mut writer, &project.name, args.follow, &line)?;
        }
    }
}

fn write(writer: &mut LogWriter, project: &str, follow: bool, line: &StackLogLine) -> Result<()> {
    let name = short_name(project, &line.container);
    writer.add(name);
    match line.stream.as_str() {
        "status" if follow => writer.status(name, &line.text)?,
        "status" => {}
        "notice" => writer.notice(name, &line.text)?,
        _ => writer.line(name, line)?,
    }
    Ok(())
}
