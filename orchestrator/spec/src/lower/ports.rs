//! `ports`: `[IP:][HOST[-HOST]:]CONTAINER[-CONTAINER][/PROTOCOL]` and the long form.

use crate::node::{Data, Map, Node};
use crate::report::Span;
use crate::size;

use super::Context;
use super::parts::Written;

pub(crate) fn list(mut node: Node, context: &mut Context<'_>) -> Node {
    let Data::Seq(items) = node.data else {
        return node;
    };
    let mut ports = Vec::with_capacity(items.len());
    for mut item in items {
        if context.report.exhausted() {
            break;
        }
        match &mut item.data {
            Data::Map(map) => {
                let span = item.span;
                map.set_default("mode", Node::string(span, "ingress"));
                map.set_default("protocol", Node::string(span, "tcp"));
                if map.get("target").is_none() {
                    let _ = context
                        .report
                        .error("E0008", "`ports` needs the attribute `target`")
                        .at(span, "which port of the container?");
                }
                ports.push(item);
            }
            _ => {
                let text = item.scalar_text().unwrap_or_default();
                match short(&text) {
                    Err(_) if context.report.trusts(&text) => ports.push(item),
                    Ok(parsed)
                        if !context
                            .report
                            .spend(size::PORT * (parsed.len() - 1), item.span) => {}
                    Ok(parsed) => {
                        let written = context.written(&item);
                        ports.extend(parsed.iter().map(|port| port.node(&item, &written)));
                    }
                    Err(problem) => {
                        let _ = context
                            .report
                            .error("E0009", format!("`{text}` is not a port: {problem}"))
                            .at(item.span, "[ADDRESS:][HOST:]CONTAINER[/PROTOCOL]");
                    }
                }
            }
        }
    }
    node.data = Data::Seq(ports);
    node
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ShortPort {
    host_ip: Option<String>,
    published: Option<String>,
    target: u16,
    protocol: String,
}

impl ShortPort {
    pub(crate) fn node(&self, at: &Node, written: &Written) -> Node {
        let places = self.places(written);
        let mut map = Map::default();
        map.set_default("mode", Node::string(at.span, "ingress"));
        if let Some(ip) = &self.host_ip {
            map.set("host_ip", Node::string(places.host_ip, ip.clone()));
        }
        map.set(
            "target",
            Node::new(places.target, Data::Int(i64::from(self.target))),
        );
        if let Some(published) = &self.published {
            map.set(
                "published",
                Node::string(places.published, published.clone()),
            );
        }
        match places.protocol {
            Some(place) => map.set("protocol", Node::string(place, self.protocol.clone())),
            None => map.set_default("protocol", Node::string(at.span, self.protocol.clone())),
        }
        Node {
            tag: at.tag,
            ..Node::new(at.span, Data::Map(map))
        }
    }

    /// Found as [`short`] finds the parts. What a variable holds together has one place.
    fn places(&self, written: &Written) -> Places {
        let text = written.text();
        let whole = 0..text.len();
        let body = text.find('/').unwrap_or(text.len());
        let protocol = (body < text.len()).then(|| written.place(body + 1..text.len()));
        let last = |end: usize| text[..end].rfind(':');
        let (rest, target) = match last(body) {
            Some(at) => (Some(0..at), at + 1..body),
            None => (None, 0..body),
        };
        let (host_ip, published) = match (rest, &self.host_ip, &self.published) {
            (Some(rest), Some(_), Some(_)) => match last(rest.end) {
                Some(at) => (0..at, at + 1..rest.end),
                None => (rest.clone(), rest),
            },
            (Some(rest), _, _) => (rest.clone(), rest),
            (None, _, _) => (whole.clone(), whole),
        };
        Places {
            host_ip: written.place(host_ip),
            published: written.place(published),
            target: written.place(target),
            protocol,
        }
    }
}

struct Places {
    host_ip: Span,
    published: Span,
    target: Span,
    /// `None`: not written.
    protocol: Option<Span>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PortError {
    #[error("no port is given")]
    Empty,
    #[error("`{0}` is not a port of the container")]
    Container(String),
    #[error("`{0}` is not a port of the host")]
    Host(String),
    #[error("`{0}` is not an address")]
    Address(String),
    #[error("`{0}` is not a protocol (tcp, udp or sctp)")]
    Protocol(String),
    #[error("the two ranges differ in length")]
    Ranges,
}

pub(crate) fn short(text: &str) -> Result<Vec<ShortPort>, PortError> {
    let (body, protocol) = match text.split_once('/') {
        Some((body, protocol)) => (body, protocol.to_lowercase()),
        None => (text, "tcp".to_owned()),
    };
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(PortError::Protocol(protocol));
    }
    let (rest, container) = body
        .rsplit_once(':')
        .map_or((None, body), |(rest, port)| (Some(rest), port));
    if container.is_empty() {
        return Err(PortError::Empty);
    }
    let (address, host) = match rest {
        None => (None, None),
        Some(rest) => match rest.rsplit_once(':') {
            Some((address, host)) if !rest.ends_with(']') => (Some(address), Some(host)),
            _ if rest.starts_with('[') => (Some(rest), None),
            _ => (None, Some(rest)),
        },
    };
    let host_ip = address
        .filter(|address| !address.is_empty())
        .map(ip_text)
        .transpose()?;
    let container = range(container).ok_or_else(|| PortError::Container(container.to_owned()))?;
    let host = host
        .filter(|host| !host.is_empty())
        .map(|host| range(host).ok_or_else(|| PortError::Host(host.to_owned())))
        .transpose()?;
    let count = container.1 - container.0;
    if let Some(host) = host
        && host.1 - host.0 != count
        && count != 0
    {
        return Err(PortError::Ranges);
    }
    let port = |offset: u16| {
        let published = host.map(|(first, last)| {
            if count == 0 && first != last {
                format!("{first}-{last}")
            } else {
                (first + offset).to_string()
            }
        });
        ShortPort {
            host_ip: host_ip.clone(),
            published,
            target: container.0 + offset,
            protocol: protocol.clone(),
        }
    };
    Ok((0..=count).map(port).collect())
}

fn ip_text(address: &str) -> Result<String, PortError> {
    let bare = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(address);
    match bare.parse::<std::net::IpAddr>() {
        Ok(_) => Ok(bare.to_owned()),
        Err(_) => Err(PortError::Address(address.to_owned())),
    }
}

pub(crate) fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first <= last).then_some((first, last))
}
