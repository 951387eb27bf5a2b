//! Owns Debian's registry server on loopback, as the place that images are pulled from.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::peers::Peers;
use crate::shell::{command, output, run, say};

pub(crate) struct Registry {
    child: Child,
    pub(crate) port: u16,
    log: PathBuf,
}

impl Registry {
    /// Over `folder/storage`; on the loopback of the peers' network namespace where one is given.
    pub(crate) fn start(folder: &Path, of: Option<&Peers>) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = folder.join(format!("registry-{port}.yml"));
        fs::write(
            &config,
            format!(
                "version: 0.1\nlog: {{level: info}}\nstorage:\n  filesystem: {{rootdirectory: {}/storage}}\n  \
                 maintenance: {{uploadpurging: {{enabled: false}}}}\nhttp:\n  addr: 127.0.0.1:{port}\n",
                folder.display()
            ),
        )?;
        let log = config.with_extension("log");
        let mut serve = of.map_or_else(
            || command("docker-registry"),
            |peers| peers.beside("docker-registry"),
        );
        let child = serve
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .context("run docker-registry")?;
        let registry = Self { child, port, log };
        let mut ask = of.map_or_else(|| command("curl"), |peers| peers.beside("curl"));
        ask.args([
            "-s",
            "-o",
            "/dev/null",
            "--retry",
            "50",
            "--retry-connrefused",
            "--retry-delay",
            "1",
        ]);
        run(ask.arg(format!("http://127.0.0.1:{port}/v2/")))?;
        Ok(registry)
    }

    pub(crate) fn push_blob(&self, repository: &str, file: &Path, digest: &str) -> Result<()> {
        let base = format!("http://127.0.0.1:{}/v2/{repository}/blobs", self.port);
        let format = ["-s", "-o", "/dev/null", "-w", "%header{location}"];
        let location = output(
            curl()
                .args(["-X", "POST"])
                .args(format)
                .arg(format!("{base}/uploads/")),
        )?;
        let joiner = if location.contains('?') { '&' } else { '?' };
        let octets = ["-H", "Content-Type: application/octet-stream"];
        put(
            file,
            &octets,
            &format!("{}{joiner}digest={digest}", location.trim()),
        )
    }

    pub(crate) fn push_manifest(
        &self,
        repository: &str,
        tag: &str,
        media_type: &str,
        file: &Path,
    ) -> Result<()> {
        let url = format!(
            "http://127.0.0.1:{}/v2/{repository}/manifests/{tag}",
            self.port
        );
        put(file, &["-H", &format!("Content-Type: {media_type}")], &url)
    }

    /// Bytes of blobs that went out since the log had this length; with the length that it has now.
    pub(crate) fn sent_since(&self, length: usize) -> Result<(u64, usize)> {
        let log = fs::read_to_string(&self.log)?;
        let written = log[length..]
            .lines()
            .filter(|line| line.contains("response completed") && line.contains("/blobs/"))
            .filter_map(|line| {
                line.split("http.response.written=")
                    .nth(1)?
                    .split_whitespace()
                    .next()?
                    .parse::<u64>()
                    .ok()
            })
            .sum();
        Ok((written, log.len()))
    }
}

fn curl() -> Command {
    command("curl")
}

fn put(file: &Path, headers: &[&str], url: &str) -> Result<()> {
    let code = output(
        curl()
            .args([
                "-s",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                "-X",
                "PUT",
                "-T",
            ])
            .arg(file)
            .args(headers)
            .arg(url),
    )?;
    ensure!(
        code == "201",
        "the registry answered {code} for {}",
        file.display()
    );
    Ok(())
}

impl Drop for Registry {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(drop)) {
            say(&format!("xtask: end the registry: {error}"));
        }
        for file in [self.log.clone(), self.log.with_extension("yml")] {
            // In the cache's folder; one that is gone is fine.
            let _ = fs::remove_file(file);
        }
    }
}
