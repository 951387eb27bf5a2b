//! Owns the short forms of `run`'s options: ports, mounts, labels, and the random part of a one-off's name.

use std::net::IpAddr;
use std::path::Path;

use hoist_object::Transport;
use hoist_scheduler::{RunPort, RunVolume};
use hoist_spec::Env;

/// The ports of one `-p`; a range is several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunPorts(pub(crate) Vec<RunPort>);

/// Parses `[[IP:]HOST:]CONTAINER[/PROTOCOL]`, each side a port or a range.
pub(crate) fn ports(text: &str) -> Result<RunPorts, String> {
    let (text, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    let transport = match protocol {
        "tcp" => Transport::Tcp,
        "udp" => Transport::Udp,
        other => {
            return Err(format!(
                "protocol `{other}` is not supported: tcp and udp are"
            ));
        }
    };
    let (rest, target) = match text.rsplit_once(':') {
        None => (None, text),
        Some((rest, target)) => (Some(rest), target),
    };
    let (host_ip, published) = match rest {
        None => (None, ""),
        Some(rest) => match rest.rsplit_once(':') {
            None => (None, rest),
            Some((ip, published)) => (Some(address(ip)?), published),
        },
    };
    let targets = range(target)?;
    let published: Vec<Option<u16>> = if published.is_empty() {
        vec![None; targets.len()]
    } else {
        range(published)?.into_iter().map(Some).collect()
    };
    if published.len() != targets.len() {
        return Err("both ranges must have the same length".to_owned());
    }
    let port = |(target, published)| RunPort {
        target,
        published,
        host_ip,
        transport,
    };
    Ok(RunPorts(
        targets.into_iter().zip(published).map(port).collect(),
    ))
}

fn address(text: &str) -> Result<IpAddr, String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    match bare.parse() {
        Ok(address @ IpAddr::V4(_)) => Ok(address),
        Ok(IpAddr::V6(_)) => Err(format!(
            "`{text}`: host addresses of IPv6 are not supported yet; use one of IPv4"
        )),
        Err(_) => Err(format!("`{text}` is no IP address")),
    }
}

fn range(text: &str) -> Result<Vec<u16>, String> {
    let port = |text: &str| {
        text.parse::<u16>()
            .ok()
            .filter(|port| *port > 0)
            .ok_or(format!("`{text}` is no port"))
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        Err(format!("`{text}` runs backwards"))
    } else {
        Ok((first..=last).collect())
    }
}

/// One `-v` as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunMount {
    source: String,
    target: String,
    read_only: bool,
}

/// Parses `[SOURCE:]TARGET[:OPTIONS]`.
pub(crate) fn mount(text: &str) -> Result<RunMount, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => ("", *target, ""),
        [source, target] => (*source, *target, ""),
        [source, target, options] => (*source, *target, *options),
        _ => return Err("expected SOURCE:TARGET[:ro]".to_owned()),
    };
    if !target.starts_with('/') {
        return Err(format!("target `{target}` is not an absolute path"));
    }
    let mut read_only = false;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            "rw" => read_only = false,
            other => {
                return Err(format!(
                    "mount option `{other}` is not supported: ro and rw are"
                ));
            }
        }
    }
    Ok(RunMount {
        source: source.to_owned(),
        target: target.to_owned(),
        read_only,
    })
}

impl RunMount {
    /// A source that looks like a path is one, and absolute from here on; any other is a volume's name.
    pub(crate) fn resolve(&self, working_dir: &Path, env: &Env) -> RunVolume {
        let source = if let Some(rest) = self.source.strip_prefix('~') {
            format!("{}{rest}", env.get("HOME").unwrap_or_default())
        } else if self.source.starts_with('.') {
            let joined = working_dir.join(&self.source);
            std::path::absolute(&joined)
                .unwrap_or(joined)
                .display()
                .to_string()
        } else {
            self.source.clone()
        };
        RunVolume {
            source,
            target: self.target.clone(),
            read_only: self.read_only,
        }
    }
}

/// `NAME=VALUE`; a bare name has an empty value.
pub(crate) fn pair(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (name.to_owned(), value.to_owned())
}

/// The random part of a one-off container's name.
pub(crate) fn suffix() -> std::io::Result<String> {
    let mut bytes = [0_u8; 6];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(
        target: u16,
        published: Option<u16>,
        host_ip: Option<&str>,
        transport: Transport,
    ) -> RunPort {
        RunPort {
            target,
            published,
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
            transport,
        }
    }

    #[test]
    fn ports_have_every_short_form() {
        let of = |text| ports(text).unwrap().0;
        assert_eq!(of("80"), [one(80, None, None, Transport::Tcp)]);
        assert_eq!(
            of("8080:80/udp"),
            [one(80, Some(8080), None, Transport::Udp)]
        );
        assert_eq!(
            of("127.0.0.1:8080:80"),
            [one(80, Some(8080), Some("127.0.0.1"), Transport::Tcp)]
        );
        assert_eq!(
            of("127.0.0.1::80"),
            [one(80, None, Some("127.0.0.1"), Transport::Tcp)]
        );
        assert_eq!(of("81-82:91-92").len(), 2);
        for wrong in [
            "",
            "x",
            "1-2:3",
            "0",
            "2-1",
            "80/sctp",
            "a:1:2",
            "[::1]:1:2",
        ] {
            assert!(ports(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn mount_source_is_a_path_or_a_name() {
        let env: Env = [("HOME", "/home/me")].into_iter().collect();
        let source = |text| {
            mount(text)
                .unwrap()
                .resolve(Path::new("/work"), &env)
                .source
        };
        assert_eq!(source("./a:/b"), "/work/a");
        assert_eq!(source("~/a:/b"), "/home/me/a");
        assert_eq!(source("/a:/b:ro"), "/a");
        assert_eq!(source("data:/b"), "data");
        assert_eq!(source("/b"), "");
        assert!(mount("a:b").is_err());
        assert!(mount("a:/b:shared").is_err());
    }
}
