//! What a step does to its tree. Everything is expanded: two equal steps on equal inputs make equal layers.

use super::Tree;
use crate::dockerfile::{FileOwner, Sharing};
use crate::ignore::Ignore;
use crate::request::NetworkMode;
use crate::step::RunFile;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Op {
    Run(Box<RunStepOp>),
    Copy(CopyStep),
    /// `--link`: the layer does not look at what is below it.
    Link(CopyStep),
    Mkdir(Mkdir),
}

impl Op {
    pub(crate) fn inputs(&self) -> Vec<&Tree> {
        match self {
            Self::Run(run) => run
                .mounts
                .iter()
                .filter_map(|mount| match &mount.source {
                    RunMountSource::Tree { tree, .. } => Some(tree),
                    RunMountSource::Cache { base, .. } => base.as_ref().map(|(tree, _)| tree),
                    _ => None,
                })
                .collect(),
            Self::Copy(copy) | Self::Link(copy) => copy.from.iter().collect(),
            Self::Mkdir(_) => Vec::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RunStepOp {
    pub(crate) argv: Vec<String>,
    pub(crate) env: Vec<String>,
    /// Added to `env` when it runs; no part of the key.
    pub(crate) proxies: Vec<String>,
    pub(crate) cwd: String,
    pub(crate) user: Option<String>,
    pub(crate) network: NetworkMode,
    pub(crate) mounts: Vec<RunMountStep>,
    pub(crate) secrets: Vec<SecretUse>,
    pub(crate) files: Vec<RunFile>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RunMountStep {
    pub(crate) target: String,
    pub(crate) source: RunMountSource,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RunMountSource {
    Context { path: String, writable: bool },
    Tree { tree: Tree, path: String, writable: bool },
    Cache { id: String, base: Option<(Tree, String)>, sharing: Sharing, read_only: bool, owner: FileOwner },
    Tmpfs { size: Option<u64> },
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SecretUse {
    pub(crate) id: String,
    /// A file, absolute.
    pub(crate) target: Option<String>,
    pub(crate) env: Option<String>,
    pub(crate) required: bool,
    pub(crate) owner: FileOwner,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CopyStep {
    /// Where paths are looked up; `None`: in the context.
    pub(crate) from: Option<Tree>,
    pub(crate) sources: Vec<CopyItem>,
    /// Absolute.
    pub(crate) destination: String,
    /// The destination is a folder, whether it is there or not.
    pub(crate) into_folder: bool,
    /// As written: `user[:group]`, names or numbers.
    pub(crate) chown: Option<String>,
    pub(crate) chmod: Option<u32>,
    /// ADD: archives are unpacked.
    pub(crate) unpack: bool,
    pub(crate) exclude: Ignore,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum CopyItem {
    /// Relative to the root of the context or tree; may hold wildcards.
    Path(String),
    Inline {
        name: String,
        content: String,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mkdir {
    pub(crate) path: String,
    pub(crate) user: Option<String>,
}
