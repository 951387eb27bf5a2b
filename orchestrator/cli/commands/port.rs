//! `hoist port`: where a container's port is on the host.

use clap::ValueEnum;

use crate::ctx::Ctx;
use crate::error::{Exit, Result};
use crate::{containers, project};

/// Print the host's address and port that a container port is published on
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Service
    #[arg(value_name = "SERVICE")]
    service: String,
    /// Port in the container
    #[arg(value_name = "PRIVATE_PORT")]
    port: u16,
    /// Protocol
    #[arg(long, value_enum, default_value = "tcp")]
    protocol: Protocol,
    /// The container with this number of the service
    #[arg(long, value_name = "NUMBER")]
    index: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let project = project::find(&ctx.settings, ctx.ui, std::slice::from_ref(&args.service))?;
    let client = ctx.client().await?;
    let container = containers::running(&client, &project.name, &args.service, args.index).await?;
    let mut published: Vec<_> = container.ports.iter().collect();
    published
        .retain(|port| port.private_port == args.port && port.protocol == args.protocol.name());
    match published
        .iter()
        .find_map(|port| Some((port.ip.as_str(), port.public_port?)))
    {
        Some((ip, port)) if ip.contains(':') => ctx.ui.line(format!("[{ip}]:{port}"))?,
        Some((ip, port)) => ctx.ui.line(format!("{ip}:{port}"))?,
        None => {
            let (port, protocol) = (args.port, args.protocol.name());
            // An answer, as with grep: no error, but not the code of success.
            ctx.ui.talk(&format!(
                "port {port}/{protocol} of service \"{}\" is not published",
                args.service
            ));
            return Ok(Exit::NOT_PUBLISHED);
        }
    }
    Ok(Exit::OK)
}
