//! `hoist oci …`: the OCI runtime's command line, for conformance suites. Needs no engine.

use std::path::PathBuf;

use hoist_runtime::oci::{Create, Oci};

use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};

/// The command line of an OCI runtime, on plain bundles and without the engine
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true)]
pub(crate) struct Args {
    /// Folder for the state of containers
    #[arg(long, value_name = "DIR", default_value = "/run/hoist/oci")]
    root: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a container from a bundle, up to but not including the start of its program
    Create {
        /// Id of the container
        id: String,
        /// Folder with config.json
        #[arg(short, long, value_name = "DIR", default_value = ".")]
        bundle: PathBuf,
        /// File that gets the process id
        #[arg(long, value_name = "FILE")]
        pid_file: Option<PathBuf>,
        /// Unix socket that gets the terminal
        #[arg(long, value_name = "SOCKET")]
        console_socket: Option<PathBuf>,
    },
    /// Start the program of a container
    Start {
        /// Id of the container
        id: String,
    },
    /// Print the state of a container as JSON
    State {
        /// Id of the container
        id: String,
    },
    /// Send a signal to a container
    Kill {
        /// Id of the container
        id: String,
        /// Signal to send, by name or number
        #[arg(default_value = "SIGTERM")]
        signal: String,
        /// Send it to every process of the container
        #[arg(short, long)]
        all: bool,
    },
    /// Remove what a stopped container has left
    Delete {
        /// Id of the container
        id: String,
        /// Kill it first when it runs
        #[arg(short, long)]
        force: bool,
    },
}

pub(crate) fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let oci = Oci {
        root: ctx.settings.working_dir.join(&args.root),
    };
    let failed = |error| Failure::from(anyhow::Error::new(error));
    match &args.command {
        Command::Create {
            id,
            bundle,
            pid_file,
            console_socket,
        } => {
            let create = Create {
                id: id.clone(),
                bundle: ctx.settings.working_dir.join(bundle),
                pid_file: pid_file.clone(),
                console_socket: console_socket.clone(),
            };
            oci.create(&create).map_err(failed)?;
        }
        Command::Start { id } => oci.start(id).map_err(failed)?,
        Command::State { id } => ctx.ui.line(oci.state(id).map_err(failed)?.trim_end())?,
        Command::Kill { id, signal, all } => oci.kill(id, signal, *all).map_err(failed)?,
        Command::Delete { id, force } => oci.delete(id, *force).map_err(failed)?,
    }
    Ok(Exit::OK)
}
