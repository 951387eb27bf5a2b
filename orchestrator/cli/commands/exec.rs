//! `hoist exec`: a command in a running container.

use hoist_api::{ExecConfig, ExecStart};

use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};
use crate::streams::{End, Keys, Pump, Target};
use crate::{containers, project, terminal};

/// Run a command in a running container
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Service, command and the command's own arguments
    #[arg(value_names = ["SERVICE", "COMMAND"], required = true, num_args = 2.., trailing_var_arg = true)]
    #[arg(allow_hyphen_values = true)]
    words: Vec<String>,
    /// Leave the command running in the background
    #[arg(short, long)]
    detach: bool,
    /// Set a variable (can be repeated; without a value: the caller's)
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// User to run it as
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Directory to run it in
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// The container with this number of the service
    #[arg(long, value_name = "NUMBER")]
    index: Option<u32>,
    /// Give it every privilege
    #[arg(long)]
    privileged: bool,
    /// Do not give it a terminal
    #[arg(short = 'T', long = "no-tty", alias = "no-TTY")]
    no_tty: bool,
    /// Forward standard input; it is forwarded anyway
    #[arg(short, long, hide = true)]
    interactive: bool,
    /// Give it a terminal; it has one anyway when there is one here
    #[arg(short, long, hide = true)]
    tty: bool,
}

impl Args {
    /// Service and command.
    pub(crate) fn words(&self) -> &[String] {
        &self.words
    }
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let Some((service, command)) = args.words.split_first() else {
        return Err(Failure::user("a service and a command are needed"));
    };
    let project = project::find(&ctx.settings, ctx.ui, std::slice::from_ref(service))?;
    let client = ctx.client().await?;
    let container = containers::running(&client, &project.name, service, args.index).await?;
    let tty = !args.no_tty && !args.detach && terminal::is_interactive();
    let console_size = if tty { terminal::size() } else { None };
    let config = ExecConfig {
        attach_stdin: !args.detach,
        attach_stdout: !args.detach,
        attach_stderr: !args.detach,
        tty,
        cmd: command.to_vec(),
        env: args
            .env
            .iter()
            .filter_map(|text| variable(ctx, text))
            .collect(),
        user: args.user.clone().unwrap_or_default(),
        working_dir: args.workdir.clone().unwrap_or_default(),
        privileged: args.privileged,
        detach_keys: String::new(),
        console_size,
    };
    let keys = if tty || args.detach {
        None
    } else {
        Some(Keys::read()?)
    };
    let exec = client
        .create_exec(&container.id, &config)
        .await
        .map_err(Failure::command)?
        .id;
    if args.detach {
        client
            .start_exec_detached(&exec)
            .await
            .map_err(Failure::command)?;
        return Ok(Exit::OK);
    }
    let start = ExecStart {
        detach: false,
        tty,
        console_size,
        refuse: true,
    };
    let io = client
        .start_exec(&exec, &start)
        .await
        .map_err(Failure::command)?;
    let target = Target::Exec(exec.clone());
    let pump = Pump {
        client: &client,
        ui: ctx.ui,
        target,
        tty,
        stdin: true,
        keys,
        detach: None,
    };
    match pump.run(io).await? {
        End::Detached => Ok(Exit::OK),
        End::Closed => {
            let code = client.exec(&exec).await?.exit_code;
            let code = code.ok_or_else(|| {
                Failure::user("the engine let go of the command before it ended; whether it still runs is not known")
            })?;
            Ok(Exit::of_container(code.into()))
        }
    }
}

/// `NAME=VALUE`; a bare `NAME` takes the caller's value, and stays out when there is none.
fn variable(ctx: &Ctx, text: &str) -> Option<String> {
    if text.contains('=') {
        return Some(text.to_owned());
    }
    ctx.settings
        .env
        .get(text)
        .map(|value| format!("{text}={value}"))
}
