//! Limits on the expanded size of a stack. A few lines of text can expand beyond a machine's memory: variables,
//! aliases, `extends`, env files, port ranges, replica counts.
//!
//! Must not know: where things were read.

use std::cell::Cell;
use std::collections::BTreeMap;

use crate::model::Stack;
use crate::node::{Data, Node};

/// Bytes that may be read and expanded. Handwritten stacks stay below a hundredth of it.
const ALLOWED: usize = 64 << 20;
/// Memory of a value in addition to its text.
const VALUE: usize = 32;
/// Memory of one port of a range.
pub(crate) const PORT: usize = 512;

/// Containers of one service: a Linux bridge has 1,024 ports.
pub const REPLICAS: u32 = 1000;
/// Containers of one stack.
pub const CONTAINERS: u64 = 10_000;
/// Published ports of one stack: all that one address has, of both protocols.
pub const PORTS: u64 = 2 * 65_536;

#[derive(Debug)]
pub(crate) struct Budget {
    /// `None`: more was asked for than there was.
    left: Cell<Option<usize>>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            left: Cell::new(Some(ALLOWED)),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stack comes to more than {} MiB", ALLOWED >> 20)]
pub(crate) struct Exceeded;

impl Budget {
    pub(crate) fn spend(&self, bytes: usize) -> Result<(), Exceeded> {
        let left = self.left.get().and_then(|left| left.checked_sub(bytes));
        self.left.set(left);
        left.map(|_| ()).ok_or(Exceeded)
    }
}

/// Memory of a copy of a tree.
pub(crate) fn of(node: &Node) -> usize {
    VALUE
        + match &node.data {
            Data::Str(text) => text.len(),
            Data::Seq(items) => items.iter().map(of).sum(),
            Data::Map(map) => map
                .0
                .iter()
                .map(|entry| entry.key.len() + of(&entry.value))
                .sum(),
            _ => 0,
        }
}

/// More than one machine is for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TooMany {
    #[error("service `{service}` has {count} replicas; {REPLICAS} is the most")]
    Replicas { service: String, count: u32 },
    #[error("the stack has {0} containers; {CONTAINERS} is the most")]
    Containers(u64),
    #[error("the stack publishes {0} ports; {PORTS} is the most")]
    Ports(u64),
}

/// Whether the containers of a stack can be counted on; `scale` takes the place of its own numbers.
pub fn check(stack: &Stack, scale: &BTreeMap<String, u32>) -> Result<(), TooMany> {
    let (mut containers, mut ports) = (0, 0);
    for (name, service) in &stack.services {
        let count = scale.get(name).copied().unwrap_or(service.replicas);
        if count > REPLICAS {
            return Err(TooMany::Replicas {
                service: name.clone(),
                count,
            });
        }
        containers += u64::from(count);
        ports += u64::from(count) * service.ports.len() as u64;
    }
    if containers > CONTAINERS {
        return Err(TooMany::Containers(containers));
    }
    if ports > PORTS {
        Err(TooMany::Ports(ports))
    } else {
        Ok(())
    }
}
