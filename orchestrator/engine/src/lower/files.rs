//! Files that a container finds in /etc, and its secrets and configs.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::path::Path;

use hoist_network::{HostFacts, dns};
use hoist_object::{ContainerDoc, FileContent, FileDoc, MountDoc, MountKind, NetworkDoc, short};
use hoist_runtime::InjectedFile;
use hoist_spec::model::{NetworkMode, Service};
use hoist_spec::name;
use rustix::fs::FileType;

use super::sources::Source;
use super::{Exposed, LowerError, Network, StartFacts};
use crate::contents;

/// Contents of the three files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EtcFiles {
    pub(crate) hostname: String,
    pub(crate) hosts: String,
    pub(crate) resolv_conf: String,
}

pub(crate) fn etc_files(
    doc: &ContainerDoc,
    service: &Service,
    network: &Network,
    facts: &StartFacts<'_>,
) -> Result<EtcFiles, LowerError> {
    words(service)?;
    let hostname = hostname(doc, service);
    let attached: Vec<&NetworkDoc> = doc
        .record
        .networks
        .iter()
        .filter_map(|attachment| facts.networks.get(&attachment.network))
        .collect();
    let first = attached.first().copied();
    let host_gateway = match (network, first) {
        (Network::Own(_), Some(network)) => network.gateway,
        _ => facts.host.default_address.unwrap_or(Ipv4Addr::LOCALHOST),
    };
    Ok(EtcFiles {
        hosts: hosts(doc, service, network, &hostname, host_gateway),
        resolv_conf: resolv_conf(
            service,
            matches!(network, Network::Own(_))
                .then_some(first)
                .flatten(),
            facts.host,
        ),
        hostname,
    })
}

/// No value of a service may start a new line in these files, whether it comes from a stack file or the API.
fn words(service: &Service) -> Result<(), LowerError> {
    let names = service
        .hostname
        .iter()
        .chain(&service.domainname)
        .filter(|name| !name.is_empty());
    let hosts = service
        .extra_hosts
        .iter()
        .flat_map(|(name, addresses)| addresses.iter().chain([name]));
    let mut all = names
        .chain(hosts)
        .chain(&service.dns_search)
        .chain(&service.dns_opt);
    match all.find(|text| !name::is_word(text)) {
        Some(text) => Err(LowerError::NotAWord(text.clone())),
        None => Ok(()),
    }
}

pub(crate) fn hostname(doc: &ContainerDoc, service: &Service) -> String {
    service
        .hostname
        .clone()
        .unwrap_or_else(|| match service.network_mode {
            Some(NetworkMode::Host) => rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            _ => short(&doc.id).to_owned(),
        })
}

fn hosts(
    doc: &ContainerDoc,
    service: &Service,
    network: &Network,
    hostname: &str,
    host_gateway: Ipv4Addr,
) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    let names = match &service.domainname {
        Some(domain) if !domain.is_empty() => format!("{hostname}.{domain} {hostname}"),
        _ => hostname.to_owned(),
    };
    // Writing to a string cannot fail.
    if matches!(network, Network::Own(_)) {
        for attachment in &doc.record.networks {
            let _ = writeln!(text, "{}\t{names}", attachment.address);
        }
    } else {
        let _ = writeln!(text, "127.0.1.1\t{names}");
    }
    for (name, addresses) in &service.extra_hosts {
        for address in addresses {
            let _ = match address.as_str() {
                "host-gateway" => writeln!(text, "{host_gateway}\t{name}"),
                address => writeln!(text, "{address}\t{name}"),
            };
        }
    }
    text
}

/// Containers with networks of their own ask the engine's name server, which knows `dns:` of the service; the others
/// ask whom the host asks.
fn resolv_conf(service: &Service, network: Option<&NetworkDoc>, host: &HostFacts) -> String {
    let servers: Vec<IpAddr> = match network {
        Some(_) => vec![IpAddr::V4(dns::ADDRESS)],
        None if service.dns.is_empty() => host.resolvers.clone(),
        None => service.dns.clone(),
    };
    let search = if service.dns_search.is_empty() {
        &host.search
    } else {
        &service.dns_search
    };
    let mut options = service.dns_opt.clone();
    if service.dns_opt.is_empty() {
        options.clone_from(&host.options);
    }
    if network.is_some() && !options.iter().any(|option| option.starts_with("ndots:")) {
        options.push("ndots:0".to_owned());
    }
    let mut text = String::new();
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    // A single dot means: no search list.
    if !search.is_empty() && search != &["."] {
        let _ = writeln!(text, "search {}", search.join(" "));
    }
    if !options.is_empty() {
        let _ = writeln!(text, "options {}", options.join(" "));
    }
    text
}

/// The target of a secret's or config's path, resolved once: a container may be able to exchange it.
fn found(file: &FileDoc, exposed: &Exposed<'_>) -> Result<Option<(Source, OwnedFd)>, LowerError> {
    let FileContent::Path(path) = &file.content else {
        return Ok(None);
    };
    let failed = |source| LowerError::File {
        label: file.label.clone(),
        path: path.clone(),
        source,
    };
    let source = exposed.split(path).map_err(failed)?;
    source.check(path)?;
    let found = source.find().map_err(failed)?;
    Ok(Some((source, found)))
}

fn is_folder(found: &OwnedFd) -> bool {
    rustix::fs::fstat(found)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Those that are folders, which are mounted.
pub(super) fn folders(
    files: &[FileDoc],
    exposed: &Exposed<'_>,
) -> Result<Vec<(Source, MountDoc)>, LowerError> {
    let mut folders = Vec::new();
    for file in files {
        let FileContent::Path(path) = &file.content else {
            continue;
        };
        if let Some((source, found)) = found(file, exposed)?
            && is_folder(&found)
        {
            let kind = MountKind::Bind {
                path: path.clone(),
                create_host_path: false,
                propagation: None,
            };
            folders.push((
                source,
                MountDoc {
                    target: file.target.clone(),
                    read_only: true,
                    kind,
                },
            ));
        }
    }
    Ok(folders)
}

/// Secrets and configs with their contents of now.
pub(super) fn injected(
    files: &[FileDoc],
    volatile: &Path,
    exposed: &Exposed<'_>,
) -> Result<Vec<InjectedFile>, LowerError> {
    let mut injected = Vec::new();
    for file in files {
        let content = match &file.content {
            FileContent::Text(text) => text.clone().into_bytes(),
            FileContent::Path(path) => match found(file, exposed)? {
                Some((_, found)) if is_folder(&found) => continue,
                found => {
                    let failed = |source| LowerError::File {
                        label: file.label.clone(),
                        path: path.clone(),
                        source,
                    };
                    let (_, found) =
                        found.ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?;
                    contents::read_found(&found).map_err(failed)?
                }
            },
            FileContent::Volatile { name, variable } => std::fs::read(volatile.join(name))
                .map_err(|_| LowerError::Volatile {
                    label: file.label.clone(),
                    variable: variable.clone(),
                })?,
        };
        let (uid, gid, mode) = (file.uid, file.gid, file.mode);
        injected.push(InjectedFile {
            path: file.target.clone(),
            content,
            uid,
            gid,
            mode,
            writable: false,
        });
    }
    Ok(injected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Layout;

    fn host() -> HostFacts {
        HostFacts {
            resolvers: vec!["9.9.9.9".parse().unwrap()],
            search: vec!["lan".into()],
            options: vec!["edns0".into()],
            ..HostFacts::default()
        }
    }

    #[test]
    fn container_without_networks_asks_the_hosts_resolvers() {
        let text = resolv_conf(&Service::default(), None, &host());
        assert_eq!(text, "nameserver 9.9.9.9\nsearch lan\noptions edns0\n");
    }

    #[test]
    fn dns_options_of_the_service_replace_the_hosts() {
        let service = Service {
            dns: vec!["1.1.1.1".parse().unwrap()],
            dns_search: vec![".".into()],
            dns_opt: vec!["timeout:1".into()],
            ..Service::default()
        };
        assert_eq!(
            resolv_conf(&service, None, &host()),
            "nameserver 1.1.1.1\noptions timeout:1\n"
        );
    }

    #[test]
    fn nothing_of_a_service_begins_a_line() {
        let bad = || "a\n6.6.6.6 bank".to_owned();
        assert!(words(&Service::default()).is_ok());
        for service in [
            Service {
                hostname: Some(bad()),
                ..Service::default()
            },
            Service {
                domainname: Some(bad()),
                ..Service::default()
            },
            Service {
                extra_hosts: [(bad(), vec!["1.1.1.1".into()])].into(),
                ..Service::default()
            },
            Service {
                extra_hosts: [("a".into(), vec![bad()])].into(),
                ..Service::default()
            },
            Service {
                dns_search: vec![bad()],
                ..Service::default()
            },
            Service {
                dns_opt: vec![bad()],
                ..Service::default()
            },
        ] {
            assert!(matches!(words(&service), Err(LowerError::NotAWord(_))));
        }
    }

    #[test]
    fn lost_variable_is_named() {
        let file = FileDoc {
            label: "secret \"key\"".into(),
            target: "/run/secrets/key".into(),
            uid: 0,
            gid: 0,
            mode: 0o444,
            content: FileContent::Volatile {
                name: "x".into(),
                variable: "API_KEY".into(),
            },
        };
        let layout = Layout {
            root: "/nonexistent".into(),
        };
        let exposed = Exposed::new(&[], &layout);
        let error = injected(&[file], Path::new("/nonexistent"), &exposed).unwrap_err();
        assert!(error.to_string().contains("API_KEY"));
    }
}
