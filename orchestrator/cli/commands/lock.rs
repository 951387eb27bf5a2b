//! `hoist lock`: writes down which images the stack is made of.

use std::collections::BTreeMap;

use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};
use crate::lock::{self, Lock};
use crate::project::{self, LoadOptions};

/// Write the digests of the stack's images to stack.lock, for `--locked`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Look only these services' images up again, and keep what the lock says of the others
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Write nothing, and fail when the registries have other images than the lock
    #[arg(long)]
    check: bool,
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    // Every profile: which of them is active differs from machine to machine, the lock does not.
    let loaded = project::load(
        &ctx.settings,
        ctx.ui,
        LoadOptions {
            all_profiles: true,
            ..LoadOptions::default()
        },
    )?;
    if let Some(unknown) = args
        .services
        .iter()
        .find(|name| !loaded.stack.services.contains_key(*name))
    {
        return Err(Failure::user(format!("no such service: {unknown}")));
    }
    let path = lock::path(&loaded);
    let before = Lock::read(&path)?.unwrap_or_default();
    let all = lock::images(&loaded.stack, |_| true);
    let named = lock::images(&loaded.stack, |name| {
        args.services.iter().any(|service| service == name)
    });
    let asked = all.iter().filter(|image| {
        args.services.is_empty() || named.contains(*image) || !before.images.contains_key(*image)
    });
    let found = lock::digests(&ctx.client().await?, asked.cloned().collect()).await?;
    let digest = |image: &String| {
        found
            .get(image)
            .or_else(|| before.images.get(image))
            .cloned()
    };
    let images: BTreeMap<String, String> = all
        .iter()
        .filter_map(|image| Some((image.clone(), digest(image)?)))
        .collect();
    let changes = changes(&before.images, &images);
    for change in &changes {
        ctx.ui.line(change)?;
    }
    if args.check {
        return Ok(if changes.is_empty() {
            Exit::OK
        } else {
            Exit::PROBLEMS
        });
    }
    if ctx.settings.dry_run.is_none() && (!changes.is_empty() || !path.exists()) {
        Lock::new(images).write(&path)?;
    }
    Ok(Exit::OK)
}

/// One line for each image that is new, gone or another one now.
fn changes(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let mut lines = Vec::new();
    for (image, digest) in after {
        match before.get(image) {
            Some(old) if old == digest => {}
            Some(old) => lines.push(format!("~ {image} {old} -> {digest}")),
            None => lines.push(format!("+ {image} {digest}")),
        }
    }
    lines.extend(
        before
            .keys()
            .filter(|image| !after.contains_key(*image))
            .map(|image| format!("- {image}")),
    );
    lines
}
