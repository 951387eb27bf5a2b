//! Calls on what is stored, and its way out of an engine and into another.

use tokio::io::AsyncRead;

use super::stream::{ByteStream, JsonStream, LogFrames};
use super::transport::{escape, query, reader_body};
use super::{Client, Result};
use crate::api::types::{BundleEvent, BundleRequest, CheckReport, CheckRequest};

impl Client {
    /// Looks the image store over.
    pub async fn check_store(&self, request: &CheckRequest) -> Result<CheckReport> {
        self.post_json("/hoist/v1/system/check", request).await
    }

    /// Images as one archive that docker and podman load too.
    pub async fn save_images(&self, names: &[String]) -> Result<ByteStream> {
        let pairs: Vec<(&str, String)> = names.iter().map(|name| ("names", name.clone())).collect();
        Ok(self.get_bytes(&format!("/images/get?{}", query(&pairs))).await?.0)
    }

    /// A volume as a tar, and the containers that are paused while it is read.
    pub async fn export_volume(&self, name: &str, live: bool) -> Result<(ByteStream, Vec<String>)> {
        let path = format!("/hoist/v1/volumes/{}/export?live={}", escape(name), u8::from(live));
        let (bytes, headers) = self.get_bytes(&path).await?;
        let paused = headers.get("x-hoist-paused").and_then(|value| value.to_str().ok()).unwrap_or_default();
        Ok((bytes, paused.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()))
    }

    /// Makes a tar the content of a volume; `replace`: of one that has content.
    pub async fn import_volume<R>(&self, name: &str, replace: bool, archive: R) -> Result<()>
    where
        R: AsyncRead + Send + 'static,
    {
        let path = format!("/hoist/v1/volumes/{}/import?replace={}", escape(name), u8::from(replace));
        self.post_body(&path, reader_body(archive)).await
    }

    /// The archive as frames of stdout, a [`BundleEvent`] a line as frames of stderr.
    pub async fn save_bundle(&self, request: &BundleRequest) -> Result<LogFrames> {
        Ok(LogFrames::new(self.post_bytes("/hoist/v1/bundles/save", request).await?))
    }

    pub async fn load_bundle<R>(&self, archive: R) -> Result<JsonStream<BundleEvent>>
    where
        R: AsyncRead + Send + 'static,
    {
        self.post_body_stream("/hoist/v1/bundles/load", reader_body(archive)).await
    }
}
