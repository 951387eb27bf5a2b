//! `hoist attach`: this terminal and a container that runs.

use jiff::Timestamp;

use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};
use crate::signals::Forwarded;
use crate::streams::{DetachKeys, End, Pump, Target};
use crate::{containers, foreground, project};

/// Connect this terminal to a running container's streams
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Service to attach to
    #[arg(value_name = "SERVICE")]
    service: String,
    /// The container with this number of the service
    #[arg(long, value_name = "NUMBER")]
    index: Option<u32>,
    /// Do not forward standard input
    #[arg(long)]
    no_stdin: bool,
    /// Keys that leave the container running and come back here
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: DetachKeys,
    /// Whether signals that come in here are passed on
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true")]
    #[arg(default_missing_value = "true", action = clap::ArgAction::Set)]
    sig_proxy: bool,
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let project = project::find(&ctx.settings, ctx.ui, std::slice::from_ref(&args.service))?;
    let client = ctx.client().await?;
    let began = Timestamp::now();
    let container = containers::running(&client, &project.name, &args.service, args.index).await?;
    let config = client.container(&container.id).await?.config;
    let stdin = !args.no_stdin && config.open_stdin;
    let mut ends = foreground::ends(&client, Some(began)).await?;
    let io = client.attach_container(&container.id, stdin, None).await?;
    let pump = Pump {
        client: &client,
        ui: ctx.ui,
        target: Target::Container(container.id.clone()),
        tty: config.tty,
        stdin,
        keys: None,
        detach: config.tty.then(|| args.detach_keys.clone()),
    };
    let mut signals = Forwarded::listen()?;
    let mut pump = std::pin::pin!(pump.run(io));
    loop {
        tokio::select! {
            end = &mut pump => match end? {
                End::Detached => return Ok(Exit::OK),
                End::Closed => break,
            },
            name = signals.next() => {
                if !args.sig_proxy {
                    return Err(Failure::interrupted());
                }
                foreground::signal(&client, &container.id, name).await?;
            }
        }
    }
    Ok(Exit::of_container(
        foreground::exit_code(&client, &mut ends, &container.id).await?,
    ))
}
