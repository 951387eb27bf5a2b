//! Containers as docker compose lists them: the table and the JSON lines.

use hoist_api::{ContainerSummary, PortSummary};
use jiff::Timestamp;

use crate::render::table::Table;
use crate::render::units;

/// A container and how to write it.
#[derive(Debug)]
pub(crate) struct Shown<'a> {
    container: &'a ContainerSummary,
    now: Timestamp,
    whole: bool,
}

const SHORT_ID: usize = 12;
const SHORT_COMMAND: usize = 20;

impl<'a> Shown<'a> {
    pub(crate) fn new(container: &'a ContainerSummary, now: Timestamp, whole: bool) -> Self {
        Self {
            container,
            now,
            whole,
        }
    }

    fn id(&self) -> &str {
        let id = self.container.id.as_str();
        if self.whole {
            id
        } else {
            id.get(..SHORT_ID).unwrap_or(id)
        }
    }

    fn command(&self) -> String {
        let command = &self.container.command;
        if self.whole || command.chars().count() <= SHORT_COMMAND {
            return format!("\"{command}\"");
        }
        let start: String = command.chars().take(SHORT_COMMAND - 1).collect();
        format!("\"{start}…\"")
    }

    fn created(&self) -> Timestamp {
        Timestamp::from_second(self.container.created).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        let c = self.container;
        let labels: Vec<String> = c
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let mounts: Vec<&str> = c
            .mounts
            .iter()
            .map(|m| {
                if m.name.is_empty() {
                    m.source.as_str()
                } else {
                    m.name.as_str()
                }
            })
            .collect();
        let networks: Vec<&str> = c
            .network_settings
            .networks
            .keys()
            .map(String::as_str)
            .collect();
        let volumes = c
            .mounts
            .iter()
            .filter(|mount| mount.kind == "volume")
            .count();
        serde_json::json!({
            "Command": self.command(),
            "CreatedAt": self.created().strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string(),
            "ExitCode": c.exit_code,
            "Health": c.health,
            "ID": self.id(),
            "Image": c.image,
            "Labels": labels.join(","),
            "LocalVolumes": volumes.to_string(),
            "Mounts": mounts.join(","),
            "Name": c.name(),
            "Names": c.name(),
            "Networks": networks.join(","),
            "Ports": ports(&c.ports),
            "Project": c.project(),
            "Publishers": publishers(&c.ports),
            "RunningFor": units::ago(self.created(), self.now),
            "Service": c.service(),
            "Size": "0B",
            "State": c.state,
            "Status": c.status,
        })
    }
}

/// `projects`: says also whose each one is.
pub(crate) fn table(containers: &[Shown<'_>], projects: bool) -> String {
    let mut head = [
        "NAME", "IMAGE", "COMMAND", "SERVICE", "CREATED", "STATUS", "PORTS",
    ]
    .map(str::to_owned)
    .to_vec();
    if projects {
        head.insert(0, "PROJECT".to_owned());
    }
    let mut table = Table::of(head);
    for shown in containers {
        let c = shown.container;
        let mut row = vec![
            c.name().to_owned(),
            c.image.clone(),
            shown.command(),
            c.service().to_owned(),
            units::ago(shown.created(), shown.now),
            c.status.clone(),
            ports(&c.ports),
        ];
        if projects {
            row.insert(0, c.project().to_owned());
        }
        table.push(row);
    }
    table.to_string()
}

fn publishers(ports: &[PortSummary]) -> Vec<serde_json::Value> {
    let publisher = |port: &PortSummary| {
        serde_json::json!({
            "URL": port.ip,
            "TargetPort": port.private_port,
            "PublishedPort": port.public_port.unwrap_or(0),
            "Protocol": port.protocol,
        })
    };
    ports.iter().map(publisher).collect()
}

/// `0.0.0.0:8080-8081->80-81/tcp, 9000/tcp`: neighbours that differ by one in both ports are one range.
pub(crate) fn ports(ports: &[PortSummary]) -> String {
    let mut sorted: Vec<&PortSummary> = ports.iter().collect();
    sorted.sort_by_key(|port| {
        (
            port.public_port.is_none(),
            &port.ip,
            &port.protocol,
            port.private_port,
            port.public_port,
        )
    });
    let mut ranges: Vec<(&PortSummary, u16)> = Vec::new();
    for port in sorted {
        match ranges.last_mut() {
            Some((first, length)) if follows(first, *length, port) => *length += 1,
            _ => ranges.push((port, 1)),
        }
    }
    let texts: Vec<String> = ranges
        .iter()
        .map(|(first, length)| range(first, *length))
        .collect();
    texts.join(", ")
}

fn follows(first: &PortSummary, length: u16, next: &PortSummary) -> bool {
    first.ip == next.ip
        && first.protocol == next.protocol
        && first.private_port.checked_add(length) == Some(next.private_port)
        && match (first.public_port, next.public_port) {
            (None, None) => true,
            (Some(first), Some(next)) => first.checked_add(length) == Some(next),
            _ => false,
        }
}

fn range(first: &PortSummary, length: u16) -> String {
    let span = |port: u16| {
        if length == 1 {
            port.to_string()
        } else {
            format!("{port}-{}", port + (length - 1))
        }
    };
    let private = span(first.private_port);
    let ip = if first.ip.contains(':') {
        format!("[{}]", first.ip)
    } else {
        first.ip.clone()
    };
    match first.public_port {
        None => format!("{private}/{}", first.protocol),
        Some(public) => format!("{ip}:{}->{private}/{}", span(public), first.protocol),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(public: Option<u16>, private: u16) -> PortSummary {
        let ip = if public.is_some() {
            "0.0.0.0".to_owned()
        } else {
            String::new()
        };
        PortSummary {
            ip,
            private_port: private,
            public_port: public,
            protocol: "tcp".to_owned(),
        }
    }

    #[test]
    fn neighbouring_ports_are_one_range() {
        let list = [
            port(Some(8081), 81),
            port(None, 9000),
            port(Some(8080), 80),
            port(Some(70), 70),
        ];
        assert_eq!(
            ports(&list),
            "0.0.0.0:70->70/tcp, 0.0.0.0:8080-8081->80-81/tcp, 9000/tcp"
        );
    }

    #[test]
    fn long_commands_are_cut() {
        let container = ContainerSummary {
            command: "docker-entrypoint.sh postgres".to_owned(),
            ..Default::default()
        };
        let shown = Shown::new(&container, Timestamp::UNIX_EPOCH, false);
        assert_eq!(shown.command(), "\"docker-entrypoint.s…\"");
        assert_eq!(
            Shown {
                whole: true,
                ..shown
            }
            .command(),
            "\"docker-entrypoint.sh postgres\""
        );
    }
}
