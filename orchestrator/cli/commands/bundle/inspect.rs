//! `hoist bundle inspect`: what a bundle holds, from its head.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use hoist_api::BundleDocument;
use serde_json::Value;

use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};
use crate::render::table::Table;
use crate::render::units;

/// Show what a bundle holds
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The bundle
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Form of the output
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    /// With contents of secrets left out
    Json,
    /// The stack file
    Stack,
}

pub(crate) fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let mut document = head(&args.file)?;
    match args.format {
        Format::Stack => ctx.ui.data(&document.stack)?,
        Format::Json => {
            document.files.values_mut().for_each(String::clear);
            let value = serde_json::to_value(&document)
                .map_err(|error| Failure::from(anyhow::Error::new(error)))?;
            ctx.ui.data(format!("{value:#}\n"))?;
        }
        Format::Table => {
            let mut table = Table::new(["KIND", "NAME", "SIZE"]);
            table.row([
                "stack".to_owned(),
                document.project.clone(),
                units::size(document.stack.len() as u64),
            ]);
            for image in &document.images {
                table.row([
                    "image".to_owned(),
                    image.reference.clone(),
                    units::size(image.size),
                ]);
            }
            for volume in &document.volumes {
                table.row([
                    "volume".to_owned(),
                    volume.name.clone(),
                    units::size(volume.size),
                ]);
            }
            for file in document.files.keys() {
                table.row(["file".to_owned(), file.clone(), String::new()]);
            }
            ctx.ui.data(table.to_string())?;
        }
    }
    Ok(Exit::OK)
}

/// The tables come first in a bundle: nothing but them is read.
pub(crate) fn head(path: &Path) -> Result<BundleDocument> {
    /// Members before the first layer, and how long they may be.
    const MEMBERS: usize = 5;
    const LONGEST: u64 = 64 << 20;
    let context = |error: std::io::Error| {
        Failure::from(anyhow::Error::new(error).context(format!("cannot read {}", path.display())))
    };
    let none = || Failure::user(format!("{} is no bundle", path.display()));
    let mut tar = tar::Archive::new(BufReader::new(File::open(path).map_err(context)?));
    let (mut index, mut blobs) = (Value::Null, std::collections::BTreeMap::new());
    for entry in tar.entries().map_err(|_| none())?.take(MEMBERS) {
        let entry = entry.map_err(|_| none())?;
        let name = entry.path().map_err(context)?.display().to_string();
        let mut bytes = Vec::new();
        entry
            .take(LONGEST)
            .read_to_end(&mut bytes)
            .map_err(context)?;
        let value: Value = serde_json::from_slice(&bytes).map_err(|_| none())?;
        match name.strip_prefix("blobs/sha256/") {
            Some(hex) => drop(blobs.insert(format!("sha256:{hex}"), value)),
            None if name == "index.json" => index = value,
            None => {}
        }
    }
    let entries = index["manifests"].as_array().cloned().unwrap_or_default();
    let kind = "application/vnd.hoist.bundle.v1";
    let entry = entries
        .iter()
        .find(|entry| entry["artifactType"] == kind)
        .ok_or_else(none)?;
    let digest = |value: &Value| value["digest"].as_str().unwrap_or_default().to_owned();
    let manifest = blobs.get(&digest(entry)).ok_or_else(none)?;
    let document = blobs
        .get(&digest(&manifest["config"]))
        .cloned()
        .ok_or_else(none)?;
    serde_json::from_value(document).map_err(|_| none())
}
