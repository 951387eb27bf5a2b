//! From what was planned to what the mechanisms take: a container document once, at creation, and a launch with its
//! endpoints at every start.
//!
//! Everything here is a value until `launch` returns; the only thing that is read is what must be fresh at a start
//! (device numbers, secret files).

mod bridge;
mod document;
mod files;
mod image;
mod limits;
mod mounts;
mod process;
mod sources;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hoist_network::{Endpoint, HostFacts, Mac};
use hoist_object::{ContainerDoc, NetworkDoc, Sharing, units};
use hoist_runtime::{InjectedFile, Join, LogConfig, spec_defaults};
use hoist_spec::model::{NamespaceMode, NetworkMode, Service};
use oci_spec::runtime::{LinuxNamespaceType, Spec};

pub(crate) use bridge::{bridge, network_spec};
pub(crate) use document::{Material, document};
pub(crate) use files::{EtcFiles, etc_files, hostname};
pub(crate) use image::{execution, health_plan, layers, lowers};
pub(crate) use limits::without_effect;
pub(crate) use mounts::{volume_mounts, volume_top};
pub(crate) use process::{ProcessSetup, argv, console, environment, rlimits, user, working_dir};
pub(crate) use sources::{Exposed, Source, Writable};

use crate::driver::Driven;
use crate::store::Layout;
use crate::world::{Peer, Summary};

#[derive(Debug, thiserror::Error)]
pub(crate) enum LowerError {
    #[error("no command specified: neither the service nor its image says what to run")]
    NoCommand,
    #[error("its record names the layer {0:?}, which is no digest")]
    Layer(String),
    #[error(transparent)]
    Layers(hoist_image::StoreError),
    #[error("capability {0:?} is not known")]
    Capability(String),
    #[error("security option {0:?} is not supported")]
    SecurityOption(String),
    #[error("logging driver {0:?} is not supported (json-file, local and none are)")]
    LogDriver(String),
    #[error("logging option {key} has the value {value:?}, which is not a {wanted}")]
    LogOption {
        key: String,
        value: String,
        wanted: &'static str,
    },
    #[error("{0:?} cannot be part of a container's hosts and resolv.conf")]
    NotAWord(String),
    #[error("limit {0:?} is not known")]
    Limit(String),
    #[error("device {path}")]
    Device {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("device {0} is neither a device nor a folder of devices")]
    NotADevice(PathBuf),
    #[error("bind mount source path does not exist: {0}")]
    BindSource(PathBuf),
    #[error("creating the bind mount source {path}")]
    CreateBindSource {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "{path} leads out of {folder} through a symbolic link, and {by} can write there; \
         use the path that the link leads to"
    )]
    LedOut {
        path: PathBuf,
        folder: PathBuf,
        by: String,
    },
    #[error("finding the bind mount source {path}")]
    FindBindSource {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("volume {volume}: device {device}")]
    VolumeDevice {
        volume: String,
        device: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the path {0} is not UTF-8")]
    NotText(PathBuf),
    #[error("volume {volume}: subpath {subpath:?} is not a path inside of it")]
    Subpath { volume: String, subpath: String },
    #[error("{label}: reading {path}")]
    File {
        label: String,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "{label} comes from the variable {variable}, whose value is gone since the host was started; run `up` again"
    )]
    Volatile { label: String, variable: String },
    #[error("{label}: the variable {variable} is not set")]
    Unset { label: String, variable: String },
    #[error("{label} is external, which only means something in a cluster")]
    External { label: String },
    #[error("{label} is not defined in the stack")]
    Undefined { label: String },
    #[error("container {0}, whose namespaces it shares, is not running")]
    Peer(String),
    #[error("network {0} does not exist")]
    Network(String),
}

/// What a start knows beside the container.
#[derive(Debug)]
pub(crate) struct StartFacts<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) volatile: &'a Path,
    pub(crate) host: &'a HostFacts,
    pub(crate) networks: &'a BTreeMap<String, NetworkDoc>,
    pub(crate) peers: &'a BTreeMap<String, Peer>,
    pub(crate) exposed: &'a Exposed<'a>,
    pub(crate) driven: &'a Driven,
}

/// Where the container's network comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Network {
    Host,
    /// Only loopback.
    None,
    /// A namespace of its own with these attachments.
    Own(Vec<Endpoint>),
    /// Another container's.
    Of(Peer),
}

/// Everything of a launch but the descriptors.
#[derive(Debug)]
pub(crate) struct Lowered {
    pub(crate) spec: Spec,
    pub(crate) setup: ProcessSetup,
    pub(crate) log: Option<LogConfig>,
    pub(crate) files: Vec<InjectedFile>,
    pub(crate) join: Join,
    pub(crate) network: Network,
    pub(crate) etc: EtcFiles,
    /// `net.*` settings, which belong to the network namespace.
    pub(crate) net_sysctls: Vec<(String, String)>,
}

pub(crate) fn lower(container: &Summary, facts: &StartFacts<'_>) -> Result<Lowered, LowerError> {
    let (doc, service) = (&*container.doc, &*container.config);
    let network = network(doc, service, facts)?;
    let join = join(doc, facts)?;
    let etc = etc_files(doc, service, &network, facts)?;
    let mut spec = spec_defaults::spec();
    if service.privileged {
        spec_defaults::privileged(&mut spec);
    }
    if !service.annotations.is_empty() {
        spec.set_annotations(Some(service.annotations.clone().into_iter().collect()));
    }
    let setup = ProcessSetup::of(doc, service)?;
    process::apply(&mut spec, &setup, doc, service, &etc.hostname)?;
    mounts::apply(&mut spec, doc, service, &network, facts)?;
    limits::apply(&mut spec, service)?;
    namespaces(&mut spec, service, &network, &join);
    let net_sysctls = sysctls(&mut spec, service, &network);
    Ok(Lowered {
        setup,
        log: log(service, facts.layout.log(&doc.id))?,
        files: files::injected(&doc.files, facts.volatile, facts.exposed)?,
        spec,
        join,
        network,
        etc,
        net_sysctls,
    })
}

fn network(
    doc: &ContainerDoc,
    service: &Service,
    facts: &StartFacts<'_>,
) -> Result<Network, LowerError> {
    let shared = doc.record.sharing.iter().find_map(|sharing| match sharing {
        Sharing::Network(name) => Some(name),
        _ => None,
    });
    if let Some(name) = shared {
        return Ok(Network::Of(peer(facts, name)?.clone()));
    }
    match service.network_mode {
        Some(NetworkMode::Host) => return Ok(Network::Host),
        Some(NetworkMode::None) => return Ok(Network::None),
        Some(NetworkMode::Service(_) | NetworkMode::Container(_) | NetworkMode::Network(_))
        | None => {}
    }
    let endpoints = doc
        .record
        .networks
        .iter()
        .enumerate()
        .map(|(index, attachment)| {
            let network = facts
                .networks
                .get(&attachment.network)
                .ok_or_else(|| LowerError::Network(attachment.network.clone()))?;
            Ok(Endpoint {
                container: doc.id.clone(),
                index: u8::try_from(index).unwrap_or(u8::MAX),
                network: network.id.clone(),
                bridge: bridge(network),
                interface: attachment.interface.clone(),
                address: attachment.address,
                prefix: attachment.prefix,
                gateway: attachment.gateway,
                mac: Some(Mac(attachment.mac)),
            })
        });
    let endpoints: Vec<Endpoint> = endpoints.collect::<Result<_, LowerError>>()?;
    Ok(if endpoints.is_empty() {
        Network::None
    } else {
        Network::Own(endpoints)
    })
}

fn peer<'a>(facts: &'a StartFacts<'_>, name: &str) -> Result<&'a Peer, LowerError> {
    facts
        .peers
        .get(name)
        .ok_or_else(|| LowerError::Peer(name.to_owned()))
}

fn join(doc: &ContainerDoc, facts: &StartFacts<'_>) -> Result<Join, LowerError> {
    let mut join = Join::default();
    for sharing in &doc.record.sharing {
        let pid = Some(peer(facts, sharing.container())?.pid);
        match sharing {
            Sharing::Network(_) => {}
            Sharing::Pid(_) => join.pid = pid,
            Sharing::Ipc(_) => join.ipc = pid,
            Sharing::Uts(_) => join.uts = pid,
        }
    }
    Ok(join)
}

/// Leaves out the namespaces that are the host's. Those of other containers are in `join`.
fn namespaces(spec: &mut Spec, service: &Service, network: &Network, join: &Join) {
    use LinuxNamespaceType as Type;
    let is_host = |mode: &Option<NamespaceMode>| matches!(mode, Some(NamespaceMode::Host));
    let mut absent = Vec::new();
    if *network == Network::Host {
        absent.push(Type::Network);
    }
    if is_host(&service.pid) {
        absent.push(Type::Pid);
    }
    if is_host(&service.ipc) {
        absent.push(Type::Ipc);
    }
    if is_host(&service.uts) {
        absent.push(Type::Uts);
    }
    if is_host(&service.uts) || join.uts.is_some() {
        // The name belongs to whoever owns the namespace.
        spec.set_hostname(None);
        spec.set_domainname(None);
    }
    if let Some(namespaces) = spec
        .linux_mut()
        .as_mut()
        .and_then(|linux| linux.namespaces_mut().as_mut())
    {
        namespaces.retain(|namespace| !absent.contains(&namespace.typ()));
    }
}

/// Puts kernel settings into the spec, but those of a network namespace that is made before: they are returned.
fn sysctls(spec: &mut Spec, service: &Service, network: &Network) -> Vec<(String, String)> {
    let own_network = matches!(network, Network::Own(_) | Network::None);
    let (net, rest): (Vec<_>, Vec<_>) = service
        .sysctls
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .partition(|(key, _)| own_network && key.starts_with("net."));
    if !rest.is_empty()
        && let Some(linux) = spec.linux_mut()
    {
        let all = linux
            .sysctl()
            .clone()
            .unwrap_or_default()
            .into_iter()
            .chain(rest)
            .collect();
        linux.set_sysctl(Some(all));
    }
    net
}

/// Where the output goes; `None`: nowhere.
fn log(service: &Service, path: PathBuf) -> Result<Option<LogConfig>, LowerError> {
    let mut log = LogConfig::new(path);
    let Some(logging) = &service.logging else {
        return Ok(Some(log));
    };
    match logging.driver.as_deref() {
        None | Some("json-file" | "local") => {}
        Some("none") => return Ok(None),
        Some(other) => return Err(LowerError::LogDriver(other.to_owned())),
    }
    for (key, value) in &logging.options {
        let invalid = |wanted| LowerError::LogOption {
            key: key.clone(),
            value: value.clone(),
            wanted,
        };
        match key.as_str() {
            "max-size" => log.max_size = bytes(value).ok_or_else(|| invalid("size"))?,
            "max-file" => {
                log.max_files = value
                    .parse()
                    .ok()
                    .filter(|&n| n > 0)
                    .ok_or_else(|| invalid("number"))?
            }
            _ => {}
        }
    }
    Ok(Some(log))
}

/// `-1` is no limit.
fn bytes(text: &str) -> Option<u64> {
    match units::bytes(text)? {
        -1 => Some(0),
        size => u64::try_from(size).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_sizes_are_dockers() {
        assert_eq!(bytes("10m"), Some(10 << 20));
        assert_eq!(bytes("1KB"), Some(1024));
        assert_eq!(bytes("-1"), Some(0));
        assert_eq!(bytes("ten"), None);
    }

    #[test]
    fn unknown_log_driver_is_refused() {
        let with = |driver: &str| {
            let logging = hoist_spec::model::Logging {
                driver: Some(driver.to_owned()),
                ..Default::default()
            };
            Service {
                logging: Some(logging),
                ..Service::default()
            }
        };
        assert!(matches!(
            log(&with("syslog"), PathBuf::new()),
            Err(LowerError::LogDriver(_))
        ));
        assert_eq!(log(&with("none"), PathBuf::new()).unwrap(), None);
    }
}
