//! What a step does to its tree. Everything is expanded: two equal steps on equal inputs make equal layers.

use super::Tree;
use crate::dockerfile::{Chmod, FileOwner, Sharing};
use crate::ignore::Ignore;
use crate::remote::Remote;
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

/// Where a step takes files from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// The build context.
    Context,
    /// A context of its own name.
    Named(String),
    /// Downloaded before the steps run.
    Remote(Remote),
    Tree(Tree),
}

impl Origin {
    /// Whether it has to be fetched before the steps run.
    pub(crate) fn is_brought(&self) -> bool {
        matches!(self, Self::Named(_) | Self::Remote(_))
    }
}

impl Op {
    pub(crate) fn origins(&self) -> Vec<Origin> {
        let mounted = |source: &RunMountSource| match source {
            RunMountSource::Files { origin, .. } => Some(origin.clone()),
            RunMountSource::Cache { base, .. } => base.as_ref().map(|(origin, _)| origin.clone()),
            RunMountSource::Tmpfs { .. } => None,
        };
        match self {
            Self::Run(run) => run
                .mounts
                .iter()
                .filter_map(|mount| mounted(&mount.source))
                .collect(),
            Self::Copy(copy) | Self::Link(copy) => copy.origins(),
            Self::Mkdir(_) => Vec::new(),
        }
    }

    /// The trees that it reads.
    pub(crate) fn inputs(&self) -> Vec<Tree> {
        let trees = self.origins().into_iter();
        trees
            .filter_map(|origin| {
                if let Origin::Tree(tree) = origin {
                    Some(tree)
                } else {
                    None
                }
            })
            .collect()
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
    pub(crate) agents: Vec<AgentUse>,
    /// With the rights of the engine.
    pub(crate) insecure: bool,
    /// When it is not that of the machine.
    pub(crate) platform: Option<String>,
    pub(crate) files: Vec<RunFile>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RunMountStep {
    pub(crate) target: String,
    pub(crate) source: RunMountSource,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RunMountSource {
    Files {
        origin: Origin,
        path: String,
        writable: bool,
    },
    Cache {
        id: String,
        base: Option<(Origin, String)>,
        sharing: Sharing,
        read_only: bool,
        owner: FileOwner,
    },
    Tmpfs {
        size: Option<u64>,
        read_only: bool,
    },
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

/// The socket of an ssh agent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AgentUse {
    pub(crate) id: String,
    /// Absolute.
    pub(crate) target: String,
    pub(crate) required: bool,
    pub(crate) owner: FileOwner,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CopyStep {
    /// Where paths are looked up.
    pub(crate) from: Origin,
    pub(crate) sources: Vec<CopyItem>,
    /// Absolute.
    pub(crate) destination: String,
    /// The destination is a folder, whether it is there or not.
    pub(crate) into_folder: bool,
    /// As written: `user[:group]`, names or numbers.
    pub(crate) chown: Option<String>,
    pub(crate) chmod: Option<Chmod>,
    /// ADD: archives of the context are unpacked.
    pub(crate) unpack: bool,
    /// Downloaded ones, too.
    pub(crate) unpack_remote: bool,
    pub(crate) exclude: Ignore,
    /// Sources keep the folders that they are in.
    pub(crate) parents: bool,
}

impl CopyStep {
    fn origins(&self) -> Vec<Origin> {
        let remote = |item: &CopyItem| match item {
            CopyItem::Remote(remote) => Some(Origin::Remote(remote.clone())),
            CopyItem::Path(_) => Some(self.from.clone()),
            CopyItem::Inline { .. } => None,
        };
        self.sources.iter().filter_map(remote).collect()
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum CopyItem {
    /// Relative to the root of where it is looked up; may hold wildcards.
    Path(String),
    Remote(Remote),
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
