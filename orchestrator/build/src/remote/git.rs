//! A git repository at one commit, checked out by the `git` program.
//!
//! The program sees no configuration of the machine, never prompts, runs no hooks, and speaks only the
//! protocols of remote repositories: a submodule cannot name a folder of the host.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use hoist_image::Digest;
use hoist_tree::{Visit, Walk};
use tokio::process::Command;

use crate::dockerfile::FileOwner;
use crate::execute::chain;
use crate::ssh::AgentSocket;

use super::{Downloads, Fetched, RemoteError, io_error};

const SETTINGS: [&str; 8] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.autocrlf=false",
    "credential.helper=",
    "protocol.file.allow=never",
    "protocol.ext.allow=never",
    "http.followRedirects=initial",
    "advice.detachedHead=false",
];

/// Sockets that git alone needs.
const OURS: FileOwner = FileOwner {
    uid: 0,
    gid: 0,
    mode: 0o600,
};

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GitSource {
    /// As written.
    pub(crate) text: String,
    url: String,
    /// A branch, a tag, or a commit.
    reference: Option<String>,
    subfolder: Option<String>,
    keep_git_dir: bool,
    commit: Option<String>,
}

impl GitSource {
    /// `https://host/x.git#ref:folder`, `git@host:x`, `ssh://…`, `git://…`, `github.com/x/y`. `None`: no repository.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (url, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (url, query) = url.split_once('?').unwrap_or((url, ""));
        let web = ["http://", "https://"]
            .iter()
            .any(|scheme| url.starts_with(scheme));
        let url = if ["git://", "ssh://", "git+ssh://"]
            .iter()
            .any(|scheme| url.starts_with(scheme))
            || web && url.ends_with(".git")
            || is_scp(url)
        {
            url.to_owned()
        } else if url.starts_with("github.com/") {
            format!("https://{url}")
        } else {
            return None;
        };
        let (reference, subfolder) = fragment.split_once(':').unwrap_or((fragment, ""));
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let mut source = Self {
            text: text.to_owned(),
            url,
            reference: given(reference),
            subfolder: given(subfolder),
            keep_git_dir: false,
            commit: None,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=')? {
                ("ref" | "branch" | "tag", value) => source.reference = given(value),
                ("subdir", value) => source.subfolder = given(value),
                ("commit" | "checksum", value) => source.commit = given(value),
                ("keep-git-dir", value) => source.keep_git_dir = matches!(value, "1" | "true"),
                _ => return None,
            }
        }
        Some(source)
    }

    pub(super) fn with_checksum(self, checksum: Option<String>) -> Result<Self, RemoteError> {
        let Some(text) = checksum else {
            return Ok(self);
        };
        let hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !hex || !(7..=64).contains(&text.len()) {
            return Err(RemoteError::Checksum(text));
        }
        Ok(Self {
            commit: Some(text),
            ..self
        })
    }

    pub(super) fn keeping_git_dir(self, keep: bool) -> Self {
        Self {
            keep_git_dir: self.keep_git_dir || keep,
            ..self
        }
    }

    pub(super) async fn fetch(&self, downloads: &Downloads<'_>) -> Result<Fetched, RemoteError> {
        let safe = |text: &str| {
            !text.starts_with('-') && !text.contains(|c: char| c.is_control() || c.is_whitespace())
        };
        if !safe(&self.url) || !self.reference.as_deref().is_none_or(safe) {
            let reason = "a repository or a reference like this is not given to git".to_owned();
            return Err(RemoteError::Refused {
                url: self.text.clone(),
                reason,
            });
        }
        std::fs::create_dir_all(downloads.folder).map_err(io_error("making", downloads.folder))?;
        let git = Git {
            source: self,
            downloads,
        };
        let commit = match &self.reference {
            Some(reference) if is_commit(reference) => reference.clone(),
            _ => git.resolve().await?,
        };
        if let Some(expected) = self
            .commit
            .as_ref()
            .filter(|expected| !commit.starts_with(expected.as_str()))
        {
            return Err(RemoteError::OtherCommit {
                url: self.text.clone(),
                found: commit,
                expected: expected.clone(),
            });
        }
        let name =
            Digest::of(format!("{} {commit} {}", self.url, self.keep_git_dir).as_bytes()).hex();
        let place = downloads.folder.join(format!("git-{name}"));
        if !place.exists() {
            git.check_out(&commit, &place).await?;
        }
        let folder = match &self.subfolder {
            None => place,
            Some(subfolder) => self.inner(&place, subfolder)?,
        };
        Ok(Fetched { folder, file: None })
    }

    /// Below the checkout, whatever its symlinks say.
    fn inner(&self, place: &Path, subfolder: &str) -> Result<PathBuf, RemoteError> {
        let refused = |reason: String| RemoteError::Refused {
            url: self.text.clone(),
            reason,
        };
        let view = crate::fs::View::of_folder(place).map_err(|error| refused(error.to_string()))?;
        let walk = view
            .walk(Path::new(subfolder), true)
            .map_err(|error| refused(error.to_string()))?;
        match walk.found {
            Some(node) if node.is_folder() => Ok(place.join(node.path)),
            _ => Err(refused(format!(
                "there is no folder {subfolder} in the repository"
            ))),
        }
    }
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// `user@host:path`
fn is_scp(url: &str) -> bool {
    let Some((host, path)) = url.split_once(':') else {
        return false;
    };
    let name = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    host.split_once('@')
        .is_some_and(|(user, host)| name(user) && name(host))
        && !path.is_empty()
        && !path.starts_with("//")
}

struct Git<'a> {
    source: &'a GitSource,
    downloads: &'a Downloads<'a>,
}

impl Git<'_> {
    /// The commit that the reference, or the repository's own head, is now.
    async fn resolve(&self) -> Result<String, RemoteError> {
        let reference = self.source.reference.as_deref().unwrap_or("HEAD");
        let peeled = format!("{reference}^{{}}");
        let listed = self
            .run(
                self.downloads.folder,
                &["ls-remote", "--", &self.source.url, reference, &peeled],
            )
            .await?;
        let lines = listed.lines().filter_map(|line| line.split_once('\t'));
        let lines: Vec<(&str, &str)> = lines.filter(|(commit, _)| is_commit(commit)).collect();
        let exact = [
            format!("refs/tags/{peeled}"),
            format!("refs/heads/{reference}"),
            format!("refs/tags/{reference}"),
            reference.to_owned(),
        ];
        let found = exact
            .iter()
            .find_map(|name| lines.iter().find(|(_, listed)| listed == name));
        found
            .map(|(commit, _)| (*commit).to_owned())
            .ok_or_else(|| RemoteError::Git {
                url: self.source.text.clone(),
                output: format!("the repository has no branch or tag {reference}"),
            })
    }

    async fn check_out(&self, commit: &str, place: &Path) -> Result<(), RemoteError> {
        let partial = hoist_tree::Scratch::with_prefix_in("partial-", self.downloads.folder)
            .map_err(io_error("making a folder in", self.downloads.folder))?;
        let folder = partial.path();
        self.fetch_commit(folder, commit).await?;
        self.run(folder, &["checkout", "--quiet", "--detach", commit])
            .await?;
        if folder.join(".gitmodules").exists() {
            self.run(
                folder,
                &[
                    "submodule",
                    "--quiet",
                    "update",
                    "--init",
                    "--recursive",
                    "--depth=1",
                ],
            )
            .await?;
        }
        if !self.source.keep_git_dir {
            remove_git_folders(folder).map_err(io_error("removing .git from", folder))?;
        }
        std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .map_err(io_error("writing", folder))?;
        let done = partial.keep();
        match std::fs::rename(&done, place) {
            // Another build of the same commit was quicker.
            Err(_) if place.exists() => {
                hoist_tree::remove(&done).map_err(io_error("removing", &done))
            }
            renamed => renamed.map_err(io_error("writing", place)),
        }
    }

    /// Makes `folder` a repository that has the commit.
    async fn fetch_commit(&self, folder: &Path, commit: &str) -> Result<(), RemoteError> {
        self.run(
            folder,
            &[
                "init",
                "--quiet",
                "--initial-branch=checkout",
                "--template=",
                ".",
            ],
        )
        .await?;
        self.run(folder, &["remote", "add", "origin", &self.source.url])
            .await?;
        let shallow = self
            .run(
                folder,
                &[
                    "fetch",
                    "--quiet",
                    "--depth=1",
                    "--no-tags",
                    "origin",
                    commit,
                ],
            )
            .await;
        if shallow.is_err() {
            // Not every server gives a commit by its digest.
            self.run(
                folder,
                &[
                    "fetch",
                    "--quiet",
                    "--tags",
                    "origin",
                    "+refs/heads/*:refs/remotes/origin/*",
                ],
            )
            .await?;
        }
        Ok(())
    }

    /// `git` in an environment of its own: see the head of this module.
    fn isolated(&self, folder: &Path) -> Command {
        let known_hosts = self.downloads.folder.join("known_hosts");
        let ssh = format!(
            "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile={}",
            known_hosts.display()
        );
        let mut command = Command::new("git");
        command
            .env_clear()
            .current_dir(folder)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        for name in [
            "PATH",
            "SSL_CERT_FILE",
            "http_proxy",
            "https_proxy",
            "no_proxy",
            "HTTPS_PROXY",
            "NO_PROXY",
        ] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command
            .env("HOME", folder)
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "/bin/false")
            .env("GIT_LFS_SKIP_SMUDGE", "1")
            .env("GIT_ALLOW_PROTOCOL", "http:https:git:ssh")
            .env("GIT_SSH_COMMAND", ssh);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        command
    }

    async fn run(&self, folder: &Path, words: &[&str]) -> Result<String, RemoteError> {
        let url = || self.source.text.clone();
        let mut command = self.isolated(folder);
        // Lives as long as the command.
        let agent = self
            .downloads
            .ssh
            .get("default")
            .map(|agent| AgentSocket::open(agent.clone(), OURS));
        let agent = agent.transpose().map_err(|error| RemoteError::Git {
            url: url(),
            output: chain(&error),
        })?;
        command.envs(agent.as_ref().map(|agent| ("SSH_AUTH_SOCK", agent.path())));
        let output = match command.args(words).output().await {
            Ok(output) => output,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(RemoteError::NoGit(url()));
            }
            Err(error) => {
                return Err(RemoteError::Git {
                    url: url(),
                    output: error.to_string(),
                });
            }
        };
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr)
            .trim()
            .replace('\n', "; ");
        Err(RemoteError::Git {
            url: url(),
            output: if said.is_empty() {
                output.status.to_string()
            } else {
                said
            },
        })
    }
}

/// The repository's own, and those of its submodules.
fn remove_git_folders(folder: &Path) -> std::io::Result<()> {
    let folder = std::fs::File::open(folder)?;
    let mut walk = Walk::new(folder.as_fd())?;
    while let Some(visit) = walk.step()? {
        let Visit::Entry { name, stat } = visit else {
            continue;
        };
        if name.as_c_str() == c".git" {
            hoist_tree::remove_at(walk.folder(), &name)?;
        } else if Visit::is_folder(&stat) {
            walk.enter(&name)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_told_from_files() {
        let shown = |text: &str| {
            GitSource::parse(text).map(|git| {
                (
                    git.url,
                    git.reference.unwrap_or_default(),
                    git.subfolder.unwrap_or_default(),
                )
            })
        };
        let git = |url: &str, reference: &str, folder: &str| {
            Some((url.to_owned(), reference.to_owned(), folder.to_owned()))
        };
        assert_eq!(
            shown("https://x.test/a.git"),
            git("https://x.test/a.git", "", "")
        );
        assert_eq!(
            shown("https://x.test/a.git#v1:sub/x"),
            git("https://x.test/a.git", "v1", "sub/x")
        );
        assert_eq!(
            shown("https://x.test/a.git#:sub"),
            git("https://x.test/a.git", "", "sub")
        );
        assert_eq!(
            shown("https://x.test/a.git?branch=b&subdir=s"),
            git("https://x.test/a.git", "b", "s")
        );
        assert_eq!(
            shown("git@x.test:a/b.git"),
            git("git@x.test:a/b.git", "", "")
        );
        assert_eq!(
            shown("ssh://git@x.test/a"),
            git("ssh://git@x.test/a", "", "")
        );
        assert_eq!(
            shown("github.com/a/b"),
            git("https://github.com/a/b", "", "")
        );
        assert_eq!(shown("https://x.test/a.tar.gz"), None);
        assert_eq!(shown("a.git"), None);
        assert_eq!(shown("dir/file:x"), None);
    }
}
