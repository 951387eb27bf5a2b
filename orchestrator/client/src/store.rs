//! Calls on what is stored, and its way out of an engine and into another.

use hoist_api::{
    BundleEvent, BundleRequest, CheckReport, CheckRequest, DiskUsage, HistoryEntry, IdResponse,
    Pruned, PullLine,
};
use tokio::io::AsyncRead;

use crate::stream::{ByteStream, JsonStream, LogFrames};
use crate::transport::{escape, filters, query, reader_body};
use crate::{Client, Result};

impl Client {
    /// Looks the image store over.
    pub async fn check_store(&self, request: &CheckRequest) -> Result<CheckReport> {
        self.post_json("/hoist/v1/system/check", request).await
    }

    pub async fn disk_usage(&self) -> Result<DiskUsage> {
        self.get_json("/system/df").await
    }

    pub async fn image_history(
        &self,
        name: &str,
        platform: Option<&str>,
    ) -> Result<Vec<HistoryEntry>> {
        let platform = platform.map(|platform| ("platform", platform.to_owned()));
        self.get_json(&format!(
            "/images/{name}/history?{}",
            query(platform.as_slice())
        ))
        .await
    }

    /// `what`: `containers`, `images`, `volumes`, `networks` or `build`.
    pub async fn prune(&self, what: &str, selectors: &[(&str, &str)]) -> Result<Pruned> {
        self.post_empty(&format!(
            "/{what}/prune?{}",
            query(&[("filters", filters(selectors))])
        ))
        .await
    }

    /// The files of a container, without what is mounted over them.
    pub async fn export_container(&self, id: &str) -> Result<ByteStream> {
        Ok(self
            .get_bytes(&format!("/containers/{}/export", escape(id)))
            .await?
            .0)
    }

    /// An image of a container; `terms` are docker's: `repo`, `tag`, `comment`, `author`, `changes`, `pause`.
    pub async fn commit_container(&self, id: &str, terms: &[(&str, String)]) -> Result<IdResponse> {
        let mut pairs = vec![("container", id.to_owned())];
        pairs.extend_from_slice(terms);
        self.post_empty(&format!("/commit?{}", query(&pairs))).await
    }

    /// An image of a tar; `terms` are docker's: `repo`, `tag`, `message`, `changes`, `platform`.
    pub async fn import_image<R>(
        &self,
        terms: &[(&str, String)],
        archive: R,
    ) -> Result<JsonStream<PullLine>>
    where
        R: AsyncRead + Send + 'static,
    {
        let mut pairs = vec![("fromSrc", "-".to_owned())];
        pairs.extend_from_slice(terms);
        self.post_body_stream(
            &format!("/images/create?{}", query(&pairs)),
            reader_body(archive),
        )
        .await
    }

    /// Images as one archive that docker and podman load too.
    pub async fn save_images(&self, names: &[String]) -> Result<ByteStream> {
        let pairs: Vec<(&str, String)> = names.iter().map(|name| ("names", name.clone())).collect();
        Ok(self
            .get_bytes(&format!("/images/get?{}", query(&pairs)))
            .await?
            .0)
    }

    /// A volume as a tar, and the containers that are paused while it is read.
    pub async fn export_volume(&self, name: &str, live: bool) -> Result<(ByteStream, Vec<String>)> {
        let path = format!(
            "/hoist/v1/volumes/{}/export?live={}",
            escape(name),
            u8::from(live)
        );
        let (bytes, headers) = self.get_bytes(&path).await?;
        let paused = headers
            .get("x-hoist-paused")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        Ok((
            bytes,
            paused
                .split(',')
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect(),
        ))
    }

    /// Makes a tar the content of a volume; `replace`: of one that has content.
    pub async fn import_volume<R>(&self, name: &str, replace: bool, archive: R) -> Result<()>
    where
        R: AsyncRead + Send + 'static,
    {
        let path = format!(
            "/hoist/v1/volumes/{}/import?replace={}",
            escape(name),
            u8::from(replace)
        );
        self.post_body(&path, reader_body(archive)).await
    }

    /// The archive as frames of stdout, a [`BundleEvent`] a line as frames of stderr.
    pub async fn save_bundle(&self, request: &BundleRequest) -> Result<LogFrames> {
        Ok(LogFrames::new(
            self.post_bytes("/hoist/v1/bundles/save", request).await?,
        ))
    }

    /// `mounted`: also fills volumes that are mounted from elsewhere.
    pub async fn load_bundle<R>(&self, archive: R, mounted: bool) -> Result<JsonStream<BundleEvent>>
    where
        R: AsyncRead + Send + 'static,
    {
        self.post_body_stream(
            &format!("/hoist/v1/bundles/load?mounted={}", u8::from(mounted)),
            reader_body(archive),
        )
        .await
    }
}
