//! The key of a step: a digest of everything that decides its layer, and of nothing that only this machine knows: it
//! means the same wherever it is asked for. Secrets' values and proxies are not among it.

use hoist_image::{Digest, Hasher, Platform};

use super::Epoch;
use crate::graph::{CopyStep, Mkdir, RunStepOp};
use crate::request::BuildRequest;
use crate::source::field;

/// Changes whenever the same inputs would make another layer than before.
const VERSION: &str = "hoist step 3";

pub(super) struct Key(Hasher);

impl Key {
    pub(super) fn new(kind: &str, below: Option<Digest>, epoch: Option<Epoch>) -> Self {
        let mut key = Self(Hasher::new());
        key.text(VERSION);
        key.text(kind);
        key.text(&below.map(|chain| chain.to_string()).unwrap_or_default());
        key.text(&epoch.map(Epoch::text).unwrap_or_default());
        key
    }

    pub(super) fn text(&mut self, text: &str) {
        field(&mut self.0, text.as_bytes());
    }

    pub(super) fn digest(&mut self, digest: Digest) {
        self.text(&digest.to_string());
    }

    fn list<'a>(&mut self, items: impl ExactSizeIterator<Item = &'a String>) {
        self.text(&items.len().to_string());
        items.for_each(|item| self.text(item));
    }

    pub(super) fn copy(&mut self, copy: &CopyStep) {
        self.text(&copy.destination);
        self.text(&format!(
            "{} {} {:?} {}",
            copy.into_folder, copy.unpack, copy.chmod, copy.unpack_remote
        ));
        self.text(copy.chown.as_deref().unwrap_or_default());
    }

    /// What a copy picks, before its files are looked at.
    pub(super) fn picks(&mut self, copy: &CopyStep, paths: &[&String]) {
        self.list(paths.iter().copied());
        self.text(&copy.exclude.text());
        self.text(&format!("{} {}", copy.parents, copy.into_folder));
    }

    pub(super) fn mkdir(&mut self, mkdir: &Mkdir) {
        self.text(&mkdir.path);
        self.text(mkdir.user.as_deref().unwrap_or_default());
    }

    pub(super) fn run(&mut self, run: &RunStepOp, request: &BuildRequest) {
        self.list(run.argv.iter());
        self.list(run.env.iter());
        self.text(&run.cwd);
        self.text(run.user.as_deref().unwrap_or_default());
        self.text(&format!("{:?}", run.network));
        let hosts: Vec<String> = request
            .extra_hosts
            .iter()
            .map(|(name, address)| format!("{name}={address}"))
            .collect();
        self.list(hosts.iter());
        for secret in &run.secrets {
            self.text(&format!(
                "secret {} {:?} {:?} {:?}",
                secret.id, secret.target, secret.env, secret.owner
            ));
        }
        for agent in &run.agents {
            self.text(&format!(
                "ssh {} {} {:?}",
                agent.id, agent.target, agent.owner
            ));
        }
        let platform = run
            .platform
            .clone()
            .unwrap_or_else(|| Platform::host().to_string());
        self.text(&format!("{} {platform}", run.insecure));
        for file in &run.files {
            self.text(&file.path);
            self.digest(Digest::of(&file.content.0));
        }
    }

    pub(super) fn finish(self) -> Digest {
        self.0.finish()
    }
}
