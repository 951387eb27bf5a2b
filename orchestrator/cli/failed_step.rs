//! Owns the terminal while it is inside of a build step that failed (`build --debug`).

use hoist_client::Client;

use crate::ctx::Ctx;
use crate::error::Result;
use crate::streams::{Pump, Target};
use crate::terminal;

/// Whether a shell could be used here; says so when `--debug` asks for one in vain.
pub(crate) fn can_be_entered(ctx: &Ctx, debug: bool) -> bool {
    let interactive = terminal::is_interactive();
    if debug && !interactive {
        ctx.ui.warn("--debug opens a shell only where standard input and output are a terminal; there is none");
    }
    debug && interactive
}

/// Comes back when the shell has ended.
pub(crate) async fn enter(ctx: &Ctx, client: &Client, id: &str, words: &str) -> Result<()> {
    ctx.ui.talk(words);
    let io = client.attach_shell(id, terminal::size()).await?;
    let target = Target::Shell(id.to_owned());
    Pump {
        client,
        ui: ctx.ui,
        target,
        tty: true,
        stdin: true,
        keys: None,
        detach: None,
    }
    .run(io)
    .await?;
    Ok(())
}
