//! Owns images put together from tars, byte for byte the same everywhere, and bringing them to a registry.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::registry::Registry;
use crate::shell::{command, output};

pub(crate) struct Layer {
    pub(crate) blob: PathBuf,
    digest: String,
    diff_id: String,
    pub(crate) size: u64,
}

impl Layer {
    /// Compresses a tar; the result lies beside it.
    pub(crate) fn of(tar: &Path) -> Result<Self> {
        let diff_id = sha256(tar)?;
        let blob = tar.with_extension("tar.gz");
        let done = command("gzip")
            .args(["-n", "-6", "-c"])
            .arg(tar)
            .stdout(fs::File::create(&blob)?)
            .status()?;
        ensure!(done.success(), "gzip failed");
        let digest = sha256(&blob)?;
        let size = fs::metadata(&blob)?.len();
        Ok(Self {
            blob,
            digest,
            diff_id,
            size,
        })
    }
}

fn sha256(file: &Path) -> Result<String> {
    let text = output(
        command("sha256sum")
            .arg("-b")
            .arg(file)
            .stdin(Stdio::null()),
    )?;
    Ok(format!(
        "sha256:{}",
        text.split_whitespace()
            .next()
            .context("sha256sum prints a sum")?
    ))
}

/// Writes the configuration of an image of these layers; the digest is the image's id.
pub(crate) fn configuration(file: &Path, layers: &[Layer]) -> Result<String> {
    let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
    let text = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    fs::write(file, text.to_string())?;
    sha256(file)
}

/// Pushes an image of these layers and returns its id.
pub(crate) fn push(
    registry: &Registry,
    work: &Path,
    repository: &str,
    tag: &str,
    layers: &[Layer],
) -> Result<String> {
    let config = work.join("config");
    let id = configuration(&config, layers)?;
    let described: Vec<_> = layers
        .iter()
        .map(|layer| {
            serde_json::json!({
                "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                "digest": layer.digest, "size": layer.size,
            })
        })
        .collect();
    let media_type = "application/vnd.docker.distribution.manifest.v2+json";
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type, "layers": described,
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "digest": id, "size": fs::metadata(&config)?.len(),
        },
    });
    for layer in layers {
        registry.push_blob(repository, &layer.blob, &layer.digest)?;
    }
    registry.push_blob(repository, &config, &id)?;
    let file = work.join("manifest");
    fs::write(&file, manifest.to_string())?;
    registry.push_manifest(repository, tag, media_type, &file)?;
    Ok(id)
}
