//! `hoist login`: credentials that a registry accepts, kept where docker keeps them.

use std::io::Read;

use hoist_api::RegistryAuth;
use hoist_image::{Kept, registry_of};

use crate::credentials;
use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};
use crate::signals::Interrupts;
use crate::terminal;

/// Log in to a registry
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Address of the registry (default: Docker's)
    #[arg(value_name = "SERVER", default_value = "", hide_default_value = true)]
    server: String,
    /// Name of the user
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// Password or token; others may read it in the list of processes and in the shell's history
    #[arg(
        short,
        long,
        value_name = "PASSWORD",
        conflicts_with = "password_stdin"
    )]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long, requires = "username")]
    password_stdin: bool,
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let mut interrupts = Interrupts::listen()?;
    tokio::select! {
        done = login(ctx, args) => done,
        () = interrupts.next() => Err(Failure::interrupted()),
    }
}

async fn login(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let registry = registry_of(&args.server).map_err(anyhow::Error::new)?;
    let username = match &args.username {
        Some(name) => name.clone(),
        None => ask("Username: ", terminal::Echo::Shown).await?,
    };
    let password = match &args.password {
        Some(password) => {
            ctx.ui
                .warn("a password on the command line is seen by others; use --password-stdin");
            password.clone()
        }
        None if args.password_stdin => {
            let text = terminal::read(|stdin| {
                let mut text = String::new();
                stdin.read_to_string(&mut text).map(|_| text)
            });
            text.await?.trim_end_matches(['\r', '\n']).to_owned()
        }
        None => ask("Password: ", terminal::Echo::Hidden).await?,
    };
    if username.is_empty() || password.is_empty() {
        return Err(Failure::user("a login needs a name and a password"));
    }
    let server_address = registry.clone();
    let mut auth = RegistryAuth {
        username,
        password,
        server_address,
        ..RegistryAuth::default()
    };
    let identity_token = ctx.client().await?.login(&auth).await?.identity_token;
    if !identity_token.is_empty() {
        // It can be revoked and opens nothing else: the password need not be kept.
        auth = RegistryAuth {
            password: String::new(),
            identity_token,
            ..auth
        };
    }
    match credentials::keep(&registry, &auth).map_err(anyhow::Error::new)? {
        Kept::Helper(_) => {}
        Kept::File(path) => ctx.ui.warn(&format!(
            "the login is kept unencrypted in {}; a credential helper (credsStore there) keeps it better",
            path.display()
        )),
    }
    ctx.ui.line("Login Succeeded")?;
    Ok(Exit::OK)
}

async fn ask(question: &str, echo: terminal::Echo) -> Result<String> {
    terminal::ask(question, echo).await?.ok_or_else(|| {
        Failure::user("there is no terminal to ask for name and password on")
            .hint("hoist login --username NAME --password-stdin SERVER <FILE")
    })
}
