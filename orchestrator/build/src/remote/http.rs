//! One file of a web server. Kept with its validators, so that an unchanged file is not downloaded again.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hoist_image::{Digest, Hasher, TarFile};
use percent_encoding::percent_decode_str;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Response, StatusCode, Url, header};
use tokio::io::AsyncWriteExt;

use super::{Downloads, Fetched, RemoteError, io_error};

const REDIRECTS: usize = 10;
/// Nobody adds more than this to an image by URL, and a server must not fill the disk.
const MAX_SIZE: u64 = 16 << 30;
/// What a file is called when its URL ends in nothing.
const UNNAMED: &str = "__unnamed__";

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HttpSource {
    pub(crate) url: String,
    checksum: Option<String>,
}

/// What is known about a file that was downloaded.
#[derive(Debug, Default, Clone)]
struct Known {
    digest: String,
    etag: Option<String>,
    last_modified: Option<String>,
}

impl HttpSource {
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            checksum: None,
        }
    }

    pub(super) fn with_checksum(self, checksum: Option<String>) -> Result<Self, RemoteError> {
        if let Some(text) = &checksum
            && Digest::parse(text).is_err()
        {
            return Err(RemoteError::Checksum(text.clone()));
        }
        Ok(Self { checksum, ..self })
    }

    /// The last part of the path: what the file is called in a folder.
    fn file_name(&self, url: &Url) -> String {
        let last = url
            .path_segments()
            .and_then(|mut parts| parts.next_back())
            .unwrap_or_default();
        match percent_decode_str(last).decode_utf8() {
            Ok(name) if !matches!(&*name, "" | "." | "..") && !name.contains(['/', '\0']) => {
                name.into_owned()
            }
            _ => UNNAMED.to_owned(),
        }
    }

    pub(super) async fn fetch(&self, downloads: &Downloads<'_>) -> Result<Fetched, RemoteError> {
        let wrong = |reason: String| RemoteError::Url {
            url: self.url.clone(),
            reason,
        };
        let url = Url::parse(&self.url).map_err(|error| wrong(error.to_string()))?;
        let name = self.file_name(&url);
        let folder = downloads
            .folder
            .join(format!("http-{}", Digest::of(self.url.as_bytes()).hex()));
        std::fs::create_dir_all(&folder).map_err(io_error("making", &folder))?;
        let known = Known::read(&folder.join("known"))
            .filter(|known| folder.join(&known.digest).join(&name).is_file());
        if let (Some(known), Some(checksum)) = (&known, &self.checksum)
            && format!("sha256:{}", known.digest) == *checksum
        {
            return Ok(Fetched {
                folder: folder.join(&known.digest),
                file: Some(name),
            });
        }
        let response = self.ask(&url, known.as_ref()).await?;
        let known = match (response.status(), known) {
            (StatusCode::NOT_MODIFIED, Some(known)) => known,
            (status, _) if status.is_success() => self.keep(response, &folder, &name).await?,
            (status, _) => {
                return Err(RemoteError::Status {
                    url: self.url.clone(),
                    status: status.to_string(),
                });
            }
        };
        if let Some(expected) = &self.checksum
            && format!("sha256:{}", known.digest) != *expected
        {
            let found = format!("sha256:{}", known.digest);
            return Err(RemoteError::OtherDigest {
                url: self.url.clone(),
                found,
                expected: expected.clone(),
            });
        }
        Ok(Fetched {
            folder: folder.join(&known.digest),
            file: Some(name),
        })
    }

    /// Follows redirects itself: each hop is judged.
    async fn ask(&self, url: &Url, known: Option<&Known>) -> Result<Response, RemoteError> {
        let refused = |reason: String| RemoteError::Refused {
            url: self.url.clone(),
            reason,
        };
        let client = client(&self.url)?;
        let local = names_loopback(url);
        let mut next = url.clone();
        for _ in 0..REDIRECTS {
            judge(&next, local).map_err(refused)?;
            let mut request = client.get(next.clone());
            if let Some(known) = known {
                for (name, value) in [
                    (header::IF_NONE_MATCH, &known.etag),
                    (header::IF_MODIFIED_SINCE, &known.last_modified),
                ] {
                    request = value
                        .iter()
                        .fold(request, |request, value| request.header(&name, value));
                }
            }
            let failed = |source: reqwest::Error| RemoteError::Download {
                url: self.url.clone(),
                source: Box::new(source.without_url()),
            };
            let response = request.send().await.map_err(failed)?;
            let status = response.status();
            if !status.is_redirection() || status == StatusCode::NOT_MODIFIED {
                return Ok(response);
            }
            let location = response
                .headers()
                .get(header::LOCATION)
                .and_then(|value| value.to_str().ok());
            let location = location.ok_or_else(|| refused("it redirects to nowhere".to_owned()))?;
            let target = next
                .join(location)
                .map_err(|error| refused(format!("it redirects to {location}: {error}")))?;
            if next.scheme() == "https" && target.scheme() != "https" {
                return Err(refused(format!("it redirects from https to {target}")));
            }
            next = target;
        }
        Err(refused(format!("it redirects more than {REDIRECTS} times")))
    }

    /// Stores the body below its digest, under its name and with its time.
    async fn keep(
        &self,
        mut response: Response,
        folder: &Path,
        name: &str,
    ) -> Result<Known, RemoteError> {
        let text = |name: header::HeaderName, response: &Response| {
            response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned)
        };
        let (etag, last_modified) = (
            text(header::ETAG, &response),
            text(header::LAST_MODIFIED, &response),
        );
        let partial = hoist_tree::Scratch::with_prefix_in("partial-", folder)
            .map_err(io_error("making a folder in", folder))?;
        let path = partial.path().join(name);
        let mut file = tokio::fs::File::create(&path)
            .await
            .map_err(io_error("writing", &path))?;
        let (mut hasher, mut size) = (Hasher::new(), 0u64);
        let failed = |source: reqwest::Error| RemoteError::Download {
            url: self.url.clone(),
            source: source.into(),
        };
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            size += chunk.len() as u64;
            if size > MAX_SIZE {
                let reason = format!("it is larger than {MAX_SIZE} bytes");
                return Err(RemoteError::Refused {
                    url: self.url.clone(),
                    reason,
                });
            }
            hasher.update(&chunk);
            file.write_all(&chunk)
                .await
                .map_err(io_error("writing", &path))?;
        }
        file.flush().await.map_err(io_error("writing", &path))?;
        let file = file.into_std().await;
        let time = last_modified
            .as_deref()
            .and_then(http_date)
            .unwrap_or(SystemTime::UNIX_EPOCH);
        file.set_modified(time).map_err(io_error("dating", &path))?;
        // As BuildKit has it: what came from somewhere is for root alone until a --chmod says otherwise.
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .map_err(io_error("writing", &path))?;
        let digest = hasher.finish().hex();
        let place = folder.join(&digest);
        replace(&partial.keep(), &place).map_err(io_error("writing", &place))?;
        let known = Known {
            digest,
            etag,
            last_modified,
        };
        known
            .write(&folder.join("known"))
            .map_err(io_error("writing", folder))?;
        Ok(known)
    }
}

/// The same content may be there, with another time.
fn replace(fresh: &Path, place: &Path) -> std::io::Result<()> {
    hoist_tree::remove(place)?;
    std::fs::rename(fresh, place)
}

impl Known {
    fn read(path: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(path).ok()?;
        let value: serde_json::Value = serde_json::from_str(&text).ok()?;
        let field = |name: &str| {
            value
                .get(name)
                .and_then(|value| value.as_str())
                .map(str::to_owned)
        };
        let digest = field("digest").filter(|hex| Digest::from_hex(hex).is_some())?;
        Some(Self {
            digest,
            etag: field("etag"),
            last_modified: field("last_modified"),
        })
    }

    fn write(&self, path: &Path) -> std::io::Result<()> {
        let value = serde_json::json!({
            "digest": self.digest, "etag": self.etag, "last_modified": self.last_modified,
        });
        let fresh = path.with_extension(format!("new-{}", std::process::id()));
        std::fs::write(&fresh, value.to_string())?;
        std::fs::rename(fresh, path)
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn http_date(text: &str) -> Option<SystemTime> {
    let time = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    let seconds = u64::try_from(time.as_second()).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn client(url: &str) -> Result<Client, RemoteError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| RemoteError::Download {
        url: url.to_owned(),
        source,
    };
    let builder = hoist_image::web_client().map_err(|error| failed(error.into()))?;
    builder
        .dns_resolver(Arc::new(FilteredResolver))
        .build()
        .map_err(|error| failed(error.into()))
}

/// A redirect must not make the engine connect to its own machine, and no URL may reach the cloud's metadata service.
fn judge(url: &Url, local: bool) -> Result<(), String> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("it redirects to {url}"));
    }
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    if let Ok(address) = host.parse::<IpAddr>()
        && is_link_local(address)
    {
        return Err(format!("{address} is a link-local address"));
    }
    if names_loopback(url) && !local {
        return Err(format!("it redirects to this machine: {url}"));
    }
    Ok(())
}

fn names_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost"
        || host.ends_with(".localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| plain(address).is_loopback())
}

fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

fn is_link_local(address: IpAddr) -> bool {
    match plain(address) {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_unspecified(),
        IpAddr::V6(v6) => {
            v6.is_unicast_link_local()
                || v6.is_unspecified()
                || v6.segments()[..2] == [0xfd00, 0x0ec2]
        }
    }
}

/// The system's resolver without the addresses that are never asked.
#[derive(Debug)]
struct FilteredResolver;

impl Resolve for FilteredResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let allowed: Vec<SocketAddr> = found
                .into_iter()
                .filter(|address| !is_link_local(address.ip()))
                .collect();
            if allowed.is_empty() {
                return Err(format!("{} has only link-local addresses", name.as_str()).into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// What a context's URL brings: a tar is unpacked into a folder, anything else is one file.
pub(crate) fn unpacked(
    fetched: &Fetched,
    downloads: &Downloads<'_>,
    url: &str,
) -> Result<PathBuf, RemoteError> {
    let Some(name) = &fetched.file else {
        return Ok(fetched.folder.clone());
    };
    let path = fetched.folder.join(name);
    let failed = |reason: String| RemoteError::Unpack {
        url: url.to_owned(),
        reason,
    };
    let file = std::fs::File::open(&path).map_err(io_error("opening", &path))?;
    let Some(archive) = TarFile::open(file) else {
        return Ok(fetched.folder.clone());
    };
    let place = fetched.folder.with_extension("unpacked");
    if !place.exists() {
        let partial = hoist_tree::Scratch::with_prefix_in("partial-", downloads.folder)
            .map_err(io_error("making a folder in", downloads.folder))?;
        let folder =
            std::fs::File::open(partial.path()).map_err(io_error("opening", partial.path()))?;
        archive
            .unpack_over(folder.as_fd(), Path::new(""))
            .map_err(|error| failed(crate::execute::chain(&error)))?;
        replace(&partial.keep(), &place).map_err(io_error("writing", &place))?;
    }
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_by_its_url() {
        let name = |text: &str| HttpSource::new(text).file_name(&Url::parse(text).unwrap());
        assert_eq!(name("https://x.test/a/b.tar.gz?token=1#part"), "b.tar.gz");
        assert_eq!(name("https://x.test/a%20b"), "a b");
        for unnamed in [
            "https://x.test",
            "https://x.test/a/",
            "https://x.test/a%2Fb",
            "https://x.test/%ff",
        ] {
            assert_eq!(name(unnamed), UNNAMED, "{unnamed}");
        }
    }

    #[test]
    fn metadata_services_and_redirects_to_this_machine_are_refused() {
        let judged = |text: &str, local| judge(&Url::parse(text).unwrap(), local);
        assert!(judged("http://169.254.169.254/latest", false).is_err());
        assert!(judged("http://[fe80::1]/", false).is_err());
        assert!(judged("http://[::ffff:169.254.169.254]/", true).is_err());
        assert!(judged("http://0.0.0.0/", true).is_err());
        assert!(judged("http://127.0.0.1/", false).is_err());
        assert!(judged("http://localhost/", false).is_err());
        assert!(judged("http://127.0.0.1/", true).is_ok());
        assert!(judged("file:///etc/passwd", true).is_err());
        assert!(judged("https://example.com/", false).is_ok());
    }
}
