//! `hoist bundle save`.

use std::path::PathBuf;

use base64::Engine;
use hoist_api::frames::StreamKind;
use hoist_api::{BundleEvent, BundleRequest};
use hoist_client::Client;
use hoist_spec::canonical;

use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};
use crate::portable::{self, Portable};
use crate::project::{self, LoadOptions};
use crate::target::Target;

/// Write a stack with its images and volumes into one file
///
/// Containers that write to the stack's volumes are paused while these are read.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of a stack that was applied (default: the stack of the files)
    #[arg(value_name = "STACK")]
    stack: Option<String>,
    /// File to write (default: standard output)
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Let containers go on while volumes are read: what they write meanwhile may be torn
    #[arg(long)]
    live: bool,
    /// Put the contents of secrets into the file
    #[arg(long)]
    with_secrets: bool,
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let client = ctx.client().await?;
    let portable = stack(ctx, args, &client).await?;
    for left in &portable.left {
        ctx.ui.warn(&format!("not in the bundle: {left}"));
    }
    let encode = |bytes: &Vec<u8>| base64::engine::general_purpose::STANDARD.encode(bytes);
    let request = BundleRequest {
        project: portable.stack.name.clone(),
        stack: canonical::to_yaml(&portable.stack),
        files: portable
            .files
            .iter()
            .map(|(name, bytes)| (name.clone(), encode(bytes)))
            .collect(),
        images: portable.images,
        volumes: portable.volumes,
        live: args.live,
    };
    let mut target = Target::open(ctx.ui, args.output.as_deref())?;
    let mut frames = client.save_bundle(&request).await?;
    let (mut talk, mut done) = (Vec::new(), false);
    while let Some(frame) = frames.next().await? {
        if frame.stream == StreamKind::Stdout {
            target.write(&frame.data)?;
            continue;
        }
        talk.extend(frame.data);
        while let Some(end) = talk.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = talk.drain(..=end).collect();
            match serde_json::from_slice(&line)
                .map_err(|error| Failure::from(anyhow::Error::new(error)))?
            {
                BundleEvent::Note { text } => ctx.ui.note(&text),
                BundleEvent::Failed { error } => return Err(Failure::user(error)),
                BundleEvent::Done { .. } => done = true,
            }
        }
    }
    if !done {
        return Err(Failure::user(
            "the engine ended before the bundle was whole",
        ));
    }
    target.finish()?;
    Ok(Exit::OK)
}

/// The stack of the files, or the one that was applied under this name.
async fn stack(ctx: &Ctx, args: &Args, client: &Client) -> Result<Portable> {
    let read = || {
        project::load(
            &ctx.settings,
            ctx.ui,
            LoadOptions {
                all_profiles: true,
                ..LoadOptions::default()
            },
        )
    };
    let wanted = args.stack.as_deref();
    let loaded = match (wanted, read()) {
        (None, loaded) => Some(loaded?),
        (Some(name), Ok(loaded)) if loaded.stack.name == name => Some(loaded),
        _ => None,
    };
    if let Some(loaded) = loaded {
        return portable::of(
            loaded.stack,
            &loaded.project_dir,
            &loaded.variables,
            args.with_secrets,
        );
    }
    let name = wanted.unwrap_or_default();
    let detail = client.stack(name).await?;
    let stack = canonical::from_json(&detail.stack).map_err(Failure::spec)?;
    portable::of(
        stack,
        std::path::Path::new(&detail.project_dir),
        &ctx.settings.env.0,
        args.with_secrets,
    )
}
