//! The canonical Compose model: what a stack means once files, variables, merges and defaults are out of the way.
//!
//! Code behind the model sees no YAML, no unset default, no two ways to say one thing. The types are plain data with
//! public fields, sorted maps, and no serde: `canonical` owns their JSON and YAML form, which is what `hoist config`
//! prints and what the client sends to the engine. Field names are those of the Compose specification.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// One resolved stack (a Compose "project"). Keys of the maps are the names used in the file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Stack {
    /// Project name, `[a-z0-9][a-z0-9_-]*`.
    pub name: String,
    /// Services that are active under the chosen profiles.
    pub services: BTreeMap<String, Service>,
    pub networks: BTreeMap<String, Network>,
    pub volumes: BTreeMap<String, Volume>,
    pub secrets: BTreeMap<String, FileObject>,
    pub configs: BTreeMap<String, FileObject>,
    /// Names of services that exist in the files but are inactive under the chosen profiles; they are not orphans.
    pub inactive: Vec<String>,
    /// Top-level `x-` extensions, kept verbatim for `config`.
    pub extensions: BTreeMap<String, serde_json::Value>,
    /// What was written, is printed by `config`, and nothing acts on; sorted by path.
    pub inert: Vec<Inert>,
}

/// An attribute that is only carried: hoist cannot act on it yet, or nothing on one machine can.
#[derive(Debug, Clone, PartialEq)]
pub struct Inert {
    /// Keys and list indices from the top of the canonical form.
    pub path: Vec<String>,
    /// Its canonical form.
    pub value: serde_json::Value,
}

/// A service: the template of one or more containers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Service {
    /// At least one of `image` and `build` is set.
    pub image: Option<String>,
    pub build: Option<Build>,
    pub pull_policy: Option<PullPolicy>,
    /// `os[/arch[/variant]]`.
    pub platform: Option<String>,

    /// `None`: the image's. `Some(vec![])`: cleared.
    pub command: Option<Vec<String>>,
    /// `None`: the image's. When set, the image's CMD is dropped.
    pub entrypoint: Option<Vec<String>>,
    /// Resolved variables, env_file folded in. `None` as a value: unset in the caller, so not passed.
    pub environment: BTreeMap<String, Option<String>>,
    pub working_dir: Option<String>,
    /// `user[:group]`, names or numbers; looked up inside the container's root.
    pub user: Option<String>,
    pub group_add: Vec<String>,
    pub hostname: Option<String>,
    pub domainname: Option<String>,
    pub container_name: Option<String>,
    pub init: Option<bool>,
    pub tty: bool,
    pub stdin_open: bool,
    pub stop_signal: Option<String>,
    pub stop_grace_period: Option<Duration>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// `attach: false` keeps the service's logs out of an attached `up`.
    pub attach: bool,

    pub depends_on: BTreeMap<String, Dependency>,
    pub healthcheck: Option<Healthcheck>,
    pub restart: Option<RestartPolicy>,
    /// Number of containers; from `scale` or `deploy.replicas`, 1 by default.
    pub replicas: u32,
    /// `deploy.restart_policy`, which wins over `restart` when set.
    pub deploy_restart: Option<DeployRestart>,
    pub profiles: Vec<String>,

    pub network_mode: Option<NetworkMode>,
    /// Empty when `network_mode` is set. The key is the file's network name.
    pub networks: BTreeMap<String, Attachment>,
    pub ports: Vec<Port>,
    pub expose: Vec<String>,
    pub dns: Vec<IpAddr>,
    pub dns_search: Vec<String>,
    pub dns_opt: Vec<String>,
    /// Host name to addresses; the address may be the word `host-gateway`.
    pub extra_hosts: BTreeMap<String, Vec<String>>,
    pub mac_address: Option<String>,

    pub mounts: Vec<Mount>,
    pub secrets: Vec<FileMount>,
    pub configs: Vec<FileMount>,
    pub read_only: bool,
    /// Bytes.
    pub shm_size: Option<u64>,

    pub resources: Resources,
    pub ulimits: BTreeMap<String, Ulimit>,
    pub sysctls: BTreeMap<String, String>,
    pub oom_score_adj: Option<i32>,

    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub security_opt: Vec<String>,
    pub privileged: bool,
    pub devices: Vec<Device>,
    pub pid: Option<NamespaceMode>,
    pub ipc: Option<NamespaceMode>,
    pub uts: Option<NamespaceMode>,

    pub logging: Option<Logging>,

    /// `service` or `service:alias`; the dependency is in `depends_on` as well.
    pub links: Vec<String>,
    /// As written; see [`VolumesFrom`]. The dependency is in `depends_on` as well.
    pub volumes_from: Vec<String>,
    /// The `tmpfs` attribute as written; each entry is among `mounts` as well.
    pub tmpfs: Vec<String>,
    /// Targets of mounts whose section (`bind`, `volume`, `tmpfs`) was not written; only matters for printing.
    pub bare_mounts: Vec<String>,
    /// What was written in the `deploy` section, so that `config` prints it there. What is to be done is in `replicas`,
    /// `resources` and `deploy_restart`.
    pub deploy: Option<Deploy>,
    /// `x-` extensions, kept verbatim for `config`.
    pub extensions: BTreeMap<String, serde_json::Value>,
}

/// Which values stand in the `deploy` section rather than at the service.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Deploy {
    pub mode: Option<String>,
    /// As written; a `global` service has one container whatever it says.
    pub replicas: Option<u32>,
    pub cpus: bool,
    pub memory: bool,
    pub pids: bool,
    pub memory_reservation: bool,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Build {
    /// Absolute path of the build context, or a URL.
    pub context: String,
    /// Relative to the context, or absolute.
    pub dockerfile: String,
    pub dockerfile_inline: Option<String>,
    pub args: BTreeMap<String, Option<String>>,
    pub target: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub tags: Vec<String>,
    pub network: Option<String>,
    pub no_cache: bool,
    pub pull: bool,
    pub shm_size: Option<u64>,
    pub extra_hosts: BTreeMap<String, Vec<String>>,
    pub platforms: Vec<String>,
    pub ulimits: BTreeMap<String, Ulimit>,
    pub privileged: bool,
    /// Such as `network.host` and `security.insecure`.
    pub entitlements: Vec<String>,
    /// Name to a folder (absolute), a URL, `docker-image://REFERENCE` or `service:NAME`.
    pub additional_contexts: BTreeMap<String, String>,
    /// What [`crate::cache::CacheSource::parse`] takes; folders are absolute.
    pub cache_from: Vec<String>,
    /// What [`crate::cache::CacheTarget::parse`] takes; folders are absolute.
    pub cache_to: Vec<String>,
    /// Stages that are built again, whatever the cache knows.
    pub no_cache_filter: Vec<String>,
    pub secrets: Vec<BuildSecret>,
    pub ssh: Vec<BuildSsh>,
    /// `true`, `false` or `KEY=VALUE,…`.
    pub provenance: Option<String>,
    pub sbom: Option<String>,
}

/// A secret that RUN steps may mount.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BuildSecret {
    /// Key of `Stack::secrets`.
    pub source: String,
    /// The id by which the Dockerfile asks for it; `source` when it is not set.
    pub target: Option<String>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// Permission bits.
    pub mode: Option<u32>,
}

/// An SSH agent or key that RUN steps may use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BuildSsh {
    /// `default`, or the id by which the Dockerfile asks for it.
    pub id: String,
    /// A key or an agent's socket; `None`: the caller's agent.
    pub path: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    Always,
    Never,
    Missing,
    Build,
    /// Pull when the last pull is older than this.
    Every(Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dependency {
    pub condition: Condition,
    /// Restart the dependent when the dependency is restarted or replaced by a verb (never after a crash).
    pub restart: bool,
    /// `false`: an absent or failed dependency is only a warning.
    pub required: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    Started,
    Healthy,
    CompletedSuccessfully,
}

/// Unset fields come from the image's HEALTHCHECK, then from docker's defaults (30 s, 30 s, 3, 0 s, 5 s).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Healthcheck {
    pub test: HealthTest,
    pub interval: Option<Duration>,
    pub timeout: Option<Duration>,
    pub retries: Option<u32>,
    pub start_period: Option<Duration>,
    pub start_interval: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum HealthTest {
    /// The image's test.
    #[default]
    Inherit,
    /// `NONE` or `disable: true`.
    Disabled,
    Exec(Vec<String>),
    Shell(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    No,
    Always,
    UnlessStopped,
    /// `on-failure[:max-retries]`.
    OnFailure {
        max_retries: Option<u32>,
    },
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct DeployRestart {
    /// `none`, `on-failure` or `any`.
    pub condition: Option<String>,
    pub delay: Option<Duration>,
    pub max_attempts: Option<u32>,
    pub window: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkMode {
    None,
    Host,
    Service(String),
    Container(String),
    /// By its real name; `bridge` and `default` are the engine's own.
    Network(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamespaceMode {
    Private,
    Shareable,
    Host,
    None,
    Service(String),
    Container(String),
}

/// A service's place on one network.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Attachment {
    pub aliases: Vec<String>,
    pub ipv4_address: Option<std::net::Ipv4Addr>,
    pub ipv6_address: Option<std::net::Ipv6Addr>,
    pub link_local_ips: Vec<IpAddr>,
    pub mac_address: Option<String>,
    pub interface_name: Option<String>,
    pub priority: i32,
    pub gw_priority: i32,
    pub driver_opts: BTreeMap<String, String>,
}

/// One published or exposed container port; a range in the file is one entry per port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    pub target: u16,
    /// Inclusive host port range; `None`: an ephemeral port.
    pub published: Option<(u16, u16)>,
    /// `None`: all addresses.
    pub host_ip: Option<IpAddr>,
    pub protocol: Protocol,
    /// `ingress` or `host`; both mean the same here and are only printed.
    pub mode: String,
    pub name: Option<String>,
    pub app_protocol: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Mount {
    /// Absolute, cleaned path inside the container.
    pub target: String,
    pub read_only: bool,
    pub source: MountSource,
    /// `consistency`, only printed.
    pub consistency: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum MountSource {
    /// `name: None` is an anonymous volume. The name is a key of `Stack::volumes`.
    Volume {
        name: Option<String>,
        nocopy: bool,
        subpath: Option<String>,
    },
    Bind {
        path: PathBuf,
        create_host_path: bool,
        propagation: Option<String>,
        selinux: Option<String>,
    },
    /// Bytes; permission bits.
    Tmpfs {
        size: Option<u64>,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        /// The other options of the short form, as written (`exec`, `noatime`, `nr_inodes=100`, `size=10%`).
        options: Vec<String>,
    },
}

/// Whose volumes and binds a container has, too: `[container:]NAME[:ro|:rw]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumesFrom {
    /// A container's name; otherwise a service's, which means its first replica.
    pub container: bool,
    pub name: String,
    pub read_only: bool,
}

impl VolumesFrom {
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (container, rest) = text
            .strip_prefix("container:")
            .map_or((false, text), |rest| (true, rest));
        let (name, mode) = rest.split_once(':').unwrap_or((rest, "rw"));
        let read_only = match mode {
            "ro" => true,
            "rw" => false,
            _ => return None,
        };
        (!name.is_empty()).then(|| Self {
            container,
            name: name.to_owned(),
            read_only,
        })
    }
}

/// A secret or config as a file in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileMount {
    /// Key of `Stack::secrets` or `Stack::configs`.
    pub source: String,
    /// Absolute path in the container (`/run/secrets/<source>`, `/<source>` by default).
    pub target: String,
    /// Names are not allowed here: numeric ids as text in the file, parsed.
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// Permission bits, 0444 by default.
    pub mode: Option<u32>,
}

/// A top-level secret or config.
#[derive(Debug, Clone, PartialEq)]
pub struct FileObject {
    pub name: String,
    pub source: FileSource,
    pub labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSource {
    File(PathBuf),
    /// Name of a variable in the caller's environment. Its value travels beside the stack, never in it.
    Environment(String),
    /// Configs only.
    Content(String),
    External,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Network {
    /// Real name, `<project>_<key>` unless set.
    pub name: String,
    pub external: bool,
    /// `bridge` by default.
    pub driver: Option<String>,
    pub driver_opts: BTreeMap<String, String>,
    pub internal: bool,
    pub attachable: bool,
    pub enable_ipv4: Option<bool>,
    pub enable_ipv6: Option<bool>,
    pub labels: BTreeMap<String, String>,
    /// `default`, or not said: the engine gives out the addresses.
    pub ipam_driver: Option<String>,
    pub ipam: Vec<IpamPool>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct IpamPool {
    pub subnet: Option<ipnet::IpNet>,
    pub ip_range: Option<ipnet::IpNet>,
    pub gateway: Option<IpAddr>,
    pub aux_addresses: BTreeMap<String, IpAddr>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Volume {
    /// Real name, `<project>_<key>` unless set.
    pub name: String,
    pub external: bool,
    /// `local` by default.
    pub driver: Option<String>,
    pub driver_opts: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
}

/// Limits, from the service's own keys or from `deploy.resources`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Resources {
    /// Processors, e.g. 1.5.
    pub cpus: Option<f64>,
    pub cpu_shares: Option<u64>,
    /// Microseconds.
    pub cpu_quota: Option<i64>,
    /// Microseconds.
    pub cpu_period: Option<u64>,
    pub cpuset: Option<String>,
    /// Bytes.
    pub memory: Option<u64>,
    /// Bytes.
    pub memory_reservation: Option<u64>,
    /// Bytes of memory plus swap; -1: unlimited.
    pub memswap_limit: Option<i64>,
    /// How readily the kernel swaps, 0 to 100; -1: as on the host.
    pub mem_swappiness: Option<i64>,
    /// -1: unlimited.
    pub pids: Option<i64>,
    pub oom_kill_disable: Option<bool>,
}

/// -1 means unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ulimit {
    pub soft: i64,
    pub hard: i64,
    /// Written as one number in the file, so printed as one.
    pub single: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    pub source: String,
    pub target: String,
    /// Some of `r`, `w`, `m`.
    pub permissions: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Logging {
    pub driver: Option<String>,
    pub options: BTreeMap<String, String>,
}
