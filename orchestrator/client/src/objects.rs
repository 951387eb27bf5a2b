//! Calls on single objects, with the paths of the Docker Engine API.

use std::collections::BTreeMap;

use hoist_api::{
    Artifact, AuthAnswer, BootstrapRequest, ContainerInspect, ContainerSummary,
    DistributionInspect, ExecConfig, ExecInspect, ExecStart, IdResponse, ImageDelete, ImageInspect,
    ImageSummary, LogOptions, NetworkConnect, NetworkCreate, NetworkCreated, NetworkDisconnect,
    NetworkInspect, PullLine, RegistryAuth, Stats, TopResponse, VolumeCreate, VolumeInspect,
    VolumeList, WaitResponse,
};
use tokio::io::AsyncRead;

use crate::stream::{ByteStream, Hijacked, JsonStream, LogFrames};
use crate::transport::{escape, filters, log_query, query, reader_body};
use crate::{Client, Result};

/// Containers.
impl Client {
    /// `all`: stopped ones too. `selectors`: docker filters, e.g. (`label`, `com.docker.compose.project=shop`).
    pub async fn containers(
        &self,
        all: bool,
        selectors: &[(&str, &str)],
    ) -> Result<Vec<ContainerSummary>> {
        let query = query(&[
            ("all", u8::from(all).to_string()),
            ("filters", filters(selectors)),
        ]);
        self.get_json(&format!("/containers/json?{query}")).await
    }

    /// By id, id prefix or name.
    pub async fn container(&self, id: &str) -> Result<ContainerInspect> {
        self.get_json(&format!("/containers/{}/json", escape(id)))
            .await
    }

    pub async fn start_container(&self, id: &str) -> Result<()> {
        self.post_unit(&format!("/containers/{}/start", escape(id)))
            .await
    }

    /// `timeout`: seconds; absent: the container's own.
    pub async fn stop_container(&self, id: &str, timeout: Option<u32>) -> Result<()> {
        self.post_unit(&format!(
            "/containers/{}/stop?{}",
            escape(id),
            timeout_query(timeout)
        ))
        .await
    }

    pub async fn restart_container(&self, id: &str, timeout: Option<u32>) -> Result<()> {
        self.post_unit(&format!(
            "/containers/{}/restart?{}",
            escape(id),
            timeout_query(timeout)
        ))
        .await
    }

    pub async fn kill_container(&self, id: &str, signal: &str) -> Result<()> {
        let query = query(&[("signal", signal.to_owned())]);
        self.post_unit(&format!("/containers/{}/kill?{query}", escape(id)))
            .await
    }

    pub async fn pause_container(&self, id: &str) -> Result<()> {
        self.post_unit(&format!("/containers/{}/pause", escape(id)))
            .await
    }

    pub async fn unpause_container(&self, id: &str) -> Result<()> {
        self.post_unit(&format!("/containers/{}/unpause", escape(id)))
            .await
    }

    pub async fn remove_container(&self, id: &str, force: bool, volumes: bool) -> Result<()> {
        let query = query(&[
            ("force", u8::from(force).to_string()),
            ("v", u8::from(volumes).to_string()),
        ]);
        self.delete_unit(&format!("/containers/{}?{query}", escape(id)))
            .await
    }

    /// `condition`: `not-running` (docker's default), `next-exit` or `removed`.
    pub async fn wait_container(&self, id: &str, condition: &str) -> Result<WaitResponse> {
        let query = query(&[("condition", condition.to_owned())]);
        self.post_empty(&format!("/containers/{}/wait?{query}", escape(id)))
            .await
    }

    pub async fn resize_container(&self, id: &str, rows: u16, columns: u16) -> Result<()> {
        let query = query(&[("h", rows.to_string()), ("w", columns.to_string())]);
        self.post_unit(&format!("/containers/{}/resize?{query}", escape(id)))
            .await
    }

    /// Attaches to the container's streams; may be called before the first start. Frames are multiplexed unless the
    /// container has a tty.
    /// `size`: rows and columns of the caller's terminal, for a container that has yet to start.
    pub async fn attach_container(
        &self,
        id: &str,
        stdin: bool,
        size: Option<(u16, u16)>,
    ) -> Result<Hijacked> {
        let flag = |on: bool| u8::from(on).to_string();
        let side = |side: Option<u16>| side.map(|side| side.to_string()).unwrap_or_default();
        let query = query(&[
            ("stream", flag(true)),
            ("stdin", flag(stdin)),
            ("stdout", flag(true)),
            ("stderr", flag(true)),
            ("h", side(size.map(|(rows, _)| rows))),
            ("w", side(size.map(|(_, columns)| columns))),
        ]);
        self.hijack(
            &format!("/containers/{}/attach?{query}", escape(id)),
            None::<&()>,
        )
        .await
    }

    /// Takes the shell that an apply has offered; raw bytes.
    pub async fn attach_shell(&self, id: &str, size: Option<(u16, u16)>) -> Result<Hijacked> {
        let size = size.map_or_else(String::new, |(rows, columns)| {
            query(&[("h", rows.to_string()), ("w", columns.to_string())])
        });
        self.hijack(
            &format!("/hoist/v1/build/shells/{}/attach?{size}", escape(id)),
            None::<&()>,
        )
        .await
    }

    pub async fn resize_shell(&self, id: &str, rows: u16, columns: u16) -> Result<()> {
        let query = query(&[("h", rows.to_string()), ("w", columns.to_string())]);
        self.post_unit(&format!(
            "/hoist/v1/build/shells/{}/resize?{query}",
            escape(id)
        ))
        .await
    }

    /// Multiplexed frames (also for containers with a tty, whose frames are all stdout).
    pub async fn container_logs(&self, id: &str, options: &LogOptions) -> Result<LogFrames> {
        let path = format!(
            "/containers/{}/logs?{}&multiplexed=1",
            escape(id),
            log_query(options)
        );
        Ok(LogFrames::new(self.get_bytes(&path).await?.0))
    }

    /// `stream: false` gives one item.
    pub async fn container_stats(&self, id: &str, stream: bool) -> Result<JsonStream<Stats>> {
        let query = query(&[("stream", u8::from(stream).to_string())]);
        self.get_stream(&format!("/containers/{}/stats?{query}", escape(id)))
            .await
    }

    pub async fn container_top(&self, id: &str) -> Result<TopResponse> {
        self.get_json(&format!("/containers/{}/top", escape(id)))
            .await
    }

    /// A tar stream of `path` and what is below it; its first entry is the base name of `path`. The second value is
    /// docker's `X-Docker-Container-Path-Stat` document.
    /// `path` as a tar stream, with its stat document. `follow`: what its link leads to.
    pub async fn get_archive(
        &self,
        id: &str,
        path: &str,
        follow: bool,
    ) -> Result<(ByteStream, serde_json::Value)> {
        let query = query(&[("path", path.to_owned()), ("follow", follow.to_string())]);
        let (bytes, headers) = self
            .get_bytes(&format!("/containers/{}/archive?{query}", escape(id)))
            .await?;
        Ok((bytes, crate::transport::path_stat(&headers)))
    }

    /// Unpacks a tar stream into the directory `path`.
    pub async fn put_archive<R>(&self, id: &str, path: &str, tar: R) -> Result<()>
    where
        R: AsyncRead + Send + 'static,
    {
        let query = query(&[
            ("path", path.to_owned()),
            ("noOverwriteDirNonDir", "true".to_owned()),
        ]);
        self.put_body(
            &format!("/containers/{}/archive?{query}", escape(id)),
            reader_body(tar),
        )
        .await
    }

    /// Copies what the tar stream holds, one file or folder, to where `cp` puts it. `content`: it is a folder of which the
    /// content is meant.
    pub async fn copy_in<R>(&self, id: &str, path: &str, content: bool, tar: R) -> Result<()>
    where
        R: AsyncRead + Send + 'static,
    {
        let holds = if content { "content" } else { "entry" };
        let query = query(&[("path", path.to_owned()), ("holds", holds.to_owned())]);
        self.put_body(
            &format!("/containers/{}/archive?{query}", escape(id)),
            reader_body(tar),
        )
        .await
    }

    pub async fn create_exec(&self, container: &str, config: &ExecConfig) -> Result<IdResponse> {
        self.post_json(&format!("/containers/{}/exec", escape(container)), config)
            .await
    }

    /// Runs it; the stream ends when the process has ended. Frames are multiplexed unless it has a tty.
    pub async fn start_exec(&self, exec: &str, start: &ExecStart) -> Result<Hijacked> {
        self.hijack(&format!("/exec/{}/start", escape(exec)), Some(start))
            .await
    }

    /// Runs it in the background.
    pub async fn start_exec_detached(&self, exec: &str) -> Result<()> {
        let start = ExecStart {
            detach: true,
            refuse: true,
            ..ExecStart::default()
        };
        self.post_json_unit(&format!("/exec/{}/start", escape(exec)), &start)
            .await
    }

    pub async fn resize_exec(&self, exec: &str, rows: u16, columns: u16) -> Result<()> {
        let query = query(&[("h", rows.to_string()), ("w", columns.to_string())]);
        self.post_unit(&format!("/exec/{}/resize?{query}", escape(exec)))
            .await
    }

    pub async fn exec(&self, exec: &str) -> Result<ExecInspect> {
        self.get_json(&format!("/exec/{}/json", escape(exec))).await
    }
}

/// Images.
impl Client {
    /// Whether the registry in `server_address` lets the user in.
    pub async fn login(&self, auth: &RegistryAuth) -> Result<AuthAnswer> {
        self.post_json("/auth", auth).await
    }

    /// `selectors`: docker filters, e.g. (`dangling`, `true`).
    pub async fn images(&self, selectors: &[(&str, &str)]) -> Result<Vec<ImageSummary>> {
        self.get_json(&format!(
            "/images/json?{}",
            query(&[("filters", filters(selectors))])
        ))
        .await
    }

    /// `platform`: which of several images; that for this machine otherwise.
    pub async fn image(&self, name: &str, platform: Option<&str>) -> Result<ImageInspect> {
        let platform = platform.map(|platform| ("platform", platform.to_owned()));
        self.get_json(&format!(
            "/images/{name}/json?{}",
            query(platform.as_slice())
        ))
        .await
    }

    pub async fn remove_image(&self, name: &str, force: bool) -> Result<Vec<ImageDelete>> {
        self.delete_json(&format!("/images/{name}?force={}", u8::from(force)))
            .await
    }

    pub async fn pull_image(
        &self,
        reference: &str,
        platform: Option<&str>,
        auth: &BTreeMap<String, RegistryAuth>,
    ) -> Result<JsonStream<PullLine>> {
        let mut pairs = vec![("fromImage", reference.to_owned())];
        pairs.extend(platform.map(|platform| ("platform", platform.to_owned())));
        self.pull(&format!("/images/create?{}", query(&pairs)), auth)
            .await
    }

    /// `reference`: a name of the image with a tag.
    pub async fn push_image(
        &self,
        reference: &str,
        auth: &BTreeMap<String, RegistryAuth>,
    ) -> Result<JsonStream<PullLine>> {
        self.pull(&format!("/images/{reference}/push"), auth).await
    }

    /// Gives an image one more name.
    pub async fn tag_image(&self, image: &str, name: &str) -> Result<()> {
        self.post_unit(&format!(
            "/images/{image}/tag?{}",
            query(&[("repo", name.to_owned())])
        ))
        .await
    }

    /// What the registry has for a reference now: the digest, without bringing anything here. `auth`: the caller's
    /// credentials.
    pub async fn resolve_image(
        &self,
        reference: &str,
        auth: &BTreeMap<String, RegistryAuth>,
    ) -> Result<DistributionInspect> {
        self.get_with_auth(&format!("/distribution/{reference}/json?platforms=0"), auth)
            .await
    }

    /// What is attached to an image in its registry.
    pub async fn artifacts(
        &self,
        reference: &str,
        auth: &BTreeMap<String, RegistryAuth>,
    ) -> Result<Vec<Artifact>> {
        self.get_with_auth(&format!("/hoist/v1/artifacts/{reference}"), auth)
            .await
    }

    /// A docker or OCI archive.
    pub async fn load_image<R>(&self, archive: R) -> Result<JsonStream<PullLine>>
    where
        R: AsyncRead + Send + 'static,
    {
        self.post_body_stream("/images/load", reader_body(archive))
            .await
    }

    pub async fn bootstrap_image(&self, reference: &str) -> Result<JsonStream<PullLine>> {
        let request = BootstrapRequest {
            reference: reference.to_owned(),
        };
        self.post_stream("/hoist/v1/images/bootstrap", &request)
            .await
    }
}

/// Networks and volumes.
impl Client {
    pub async fn networks(&self, selectors: &[(&str, &str)]) -> Result<Vec<NetworkInspect>> {
        self.get_json(&format!(
            "/networks?{}",
            query(&[("filters", filters(selectors))])
        ))
        .await
    }

    pub async fn network(&self, id: &str) -> Result<NetworkInspect> {
        self.get_json(&format!("/networks/{}", escape(id))).await
    }

    pub async fn create_network(&self, network: &NetworkCreate) -> Result<NetworkCreated> {
        self.post_json("/networks/create", network).await
    }

    pub async fn connect_network(&self, id: &str, connect: &NetworkConnect) -> Result<()> {
        self.post_json_unit(&format!("/networks/{}/connect", escape(id)), connect)
            .await
    }

    pub async fn disconnect_network(&self, id: &str, disconnect: &NetworkDisconnect) -> Result<()> {
        self.post_json_unit(&format!("/networks/{}/disconnect", escape(id)), disconnect)
            .await
    }

    pub async fn remove_network(&self, id: &str) -> Result<()> {
        self.delete_unit(&format!("/networks/{}", escape(id))).await
    }

    pub async fn volumes(&self, selectors: &[(&str, &str)]) -> Result<VolumeList> {
        self.get_json(&format!(
            "/volumes?{}",
            query(&[("filters", filters(selectors))])
        ))
        .await
    }

    pub async fn volume(&self, name: &str) -> Result<VolumeInspect> {
        self.get_json(&format!("/volumes/{}", escape(name))).await
    }

    pub async fn create_volume(&self, volume: &VolumeCreate) -> Result<VolumeInspect> {
        self.post_json("/volumes/create", volume).await
    }

    pub async fn remove_volume(&self, name: &str, force: bool) -> Result<()> {
        self.delete_unit(&format!(
            "/volumes/{}?force={}",
            escape(name),
            u8::from(force)
        ))
        .await
    }
}

fn timeout_query(timeout: Option<u32>) -> String {
    timeout
        .map(|seconds| query(&[("t", seconds.to_string())]))
        .unwrap_or_default()
}
