//! Owns what a person or a client can ask for: one closed enum of verbs, each with its options.
//!
//! `Request::at` makes every verb a state and not an event: what was created or started at or after it already answers
//! the request. So `restart` and `up --force-recreate` can be planned again after a crash without being done twice.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use hoist_object::Timestamp;
use serde::{Deserialize, Serialize};

use crate::names::ImageName;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// When the engine accepted the request.
    pub at: Timestamp,
    /// Images that this request has pulled or built already, so that the next round does not repeat it.
    #[serde(default)]
    pub refreshed: BTreeSet<ImageName>,
    pub verb: Verb,
}

impl Request {
    pub fn new(at: Timestamp, verb: Verb) -> Self {
        Self {
            at,
            refreshed: BTreeSet::new(),
            verb,
        }
    }
}

/// Service names; empty: all.
pub type Services = BTreeSet<String>;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    Up(Up),
    Create(Create),
    Scale(Scale),
    Down(Down),
    Start(Start),
    Stop(Stop),
    Restart(Restart),
    Kill(Kill),
    Pause(Services),
    Unpause(Services),
    Remove(Remove),
    Run(Box<Run>),
    Pull(Pull),
    Build(Build),
    /// Crash and reboot recovery: start what its restart policy wants, from the records alone.
    Supervise,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullPolicy {
    Always,
    Missing,
    Never,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Up {
    pub services: Services,
    pub build: bool,
    pub no_build: bool,
    pub pull: Option<PullPolicy>,
    pub force_recreate: bool,
    pub no_recreate: bool,
    pub always_recreate_deps: bool,
    pub no_deps: bool,
    pub no_start: bool,
    pub remove_orphans: bool,
    pub renew_anon_volumes: bool,
    pub scale: BTreeMap<String, u32>,
    /// Grace period for containers that are stopped on the way.
    pub timeout: Option<Duration>,
    /// End with one `Await` until everything is ready. How long is the engine's deadline.
    pub wait: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Create {
    pub services: Services,
    pub build: bool,
    pub no_build: bool,
    pub pull: Option<PullPolicy>,
    pub force_recreate: bool,
    pub no_recreate: bool,
    pub remove_orphans: bool,
    pub scale: BTreeMap<String, u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Scale {
    pub scale: BTreeMap<String, u32>,
    pub no_deps: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Down {
    pub services: Services,
    pub volumes: bool,
    pub images: ImageRemoval,
    pub remove_orphans: bool,
    pub timeout: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageRemoval {
    #[default]
    None,
    /// Images without a name of their own in the file (`<project>-<service>`).
    Local,
    All,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Start {
    pub services: Services,
    pub wait: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Stop {
    pub services: Services,
    pub timeout: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Restart {
    pub services: Services,
    pub timeout: Option<Duration>,
    /// Leave dependents with `restart: true` alone.
    pub no_deps: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kill {
    pub services: Services,
    pub signal: String,
    pub remove_orphans: bool,
}

impl Default for Kill {
    fn default() -> Self {
        Self {
            services: Services::new(),
            signal: "SIGKILL".to_owned(),
            remove_orphans: false,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Remove {
    pub services: Services,
    /// Stop running containers first; otherwise they are left alone.
    pub stop: bool,
    /// Anonymous volumes too.
    pub volumes: bool,
}

/// A one-off container of a service, with what the command line changes of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Run {
    pub service: String,
    /// Drawn by the client: makes the container's name.
    pub suffix: String,
    /// `--name`, instead of the derived one.
    pub name: Option<String>,
    pub command: Option<Vec<String>>,
    pub entrypoint: Option<Vec<String>>,
    /// `None` as a value: take it out.
    pub environment: BTreeMap<String, Option<String>>,
    pub labels: BTreeMap<String, String>,
    pub user: Option<String>,
    pub working_dir: Option<String>,
    pub tty: bool,
    pub stdin_open: bool,
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    /// `-p`: in addition to or instead of the service's ports.
    pub publish: Vec<RunPort>,
    /// `-v`: binds and volumes by real name.
    pub volumes: Vec<RunVolume>,
    pub service_ports: bool,
    pub use_aliases: bool,
    pub no_deps: bool,
    pub build: bool,
    pub pull: Option<PullPolicy>,
    pub remove_orphans: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunPort {
    pub target: u16,
    pub published: Option<u16>,
    pub host_ip: Option<IpAddr>,
    pub transport: hoist_object::Transport,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunVolume {
    /// Absolute path: bind; a key of the stack's volumes: that volume; empty: anonymous.
    pub source: String,
    pub target: String,
    pub read_only: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Pull {
    pub services: Services,
    pub include_deps: bool,
    pub ignore_buildable: bool,
    /// `missing` pulls only what is absent.
    pub policy: Option<PullPolicy>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Build {
    pub services: Services,
    pub with_dependencies: bool,
    pub no_cache: bool,
    pub pull: bool,
    /// `--build-arg`, over the file's.
    pub args: BTreeMap<String, Option<String>>,
    /// `--ssh`, beside the file's: agents by id; `None` is the caller's own.
    pub ssh: BTreeMap<String, Option<String>>,
    /// `--cache-from`, before the file's; `--cache-to`, beside them.
    pub cache_from: Vec<String>,
    pub cache_to: Vec<String>,
    /// `--network`, over the file's.
    pub network: Option<String>,
}
