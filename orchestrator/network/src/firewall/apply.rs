//! Brings the kernel from what was applied last to what is wanted, one transaction at a time.

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::batch::{Channel, Refusal};
use super::conntrack;
use super::foreign::{self, ForeignAccept};
use super::rules::Ruleset;
use super::text::Line;
use super::transaction::{self, Operation};
use super::watch::FlushWatch;
use crate::model::{FirewallState, Protocol};
use crate::ports::Reservations;

#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    #[error("open a channel to nf_tables")]
    Channel(#[source] io::Error),
    #[error("nf_tables refused `{operation}`")]
    Kernel {
        operation: String,
        #[source]
        source: io::Error,
    },
    #[error("let container networks pass in the tables of other programs")]
    Foreign(#[source] io::Error),
}

#[derive(Debug)]
pub(crate) struct Firewall {
    /// Marks our rules in other people's chains, and names our table.
    tag: String,
    writers: Arc<Writers>,
    state: Mutex<State>,
}

/// Netlink ports of our own writers, whose changes the watch must not report.
pub(crate) type Writers = Mutex<BTreeSet<u32>>;

#[derive(Debug, Default)]
struct State {
    channel: Option<Channel>,
    applied: Option<(FirewallState, Ruleset)>,
    foreign: Vec<ForeignAccept>,
    reservations: Reservations,
}

impl Firewall {
    pub(crate) fn new(instance: &str) -> Self {
        let tag = if instance.is_empty() {
            "hoist".to_owned()
        } else {
            format!("hoist-{instance}")
        };
        Self {
            tag,
            writers: Arc::default(),
            state: Mutex::default(),
        }
    }

    pub(crate) fn set(&self, wanted: &FirewallState) -> Result<(), FirewallError> {
        let mut state = self.lock();
        if wanted.networks.is_empty() {
            return self.clear(&mut state);
        }
        let new = Ruleset::of(wanted);
        let applied = state.applied.take();
        let networks_differ = applied
            .as_ref()
            .is_none_or(|(old, _)| old.networks != wanted.networks);
        let change = applied
            .as_ref()
            .and_then(|(_, old)| transaction::change(old, &new));
        // A change that does not fit means that another program changed the table, which is then restored as a whole.
        let changed = change
            .is_some_and(|change| change.is_empty() || self.send(&mut state, &change).is_ok());
        if !changed {
            let stale = applied
                .as_ref()
                .map_or_else(Vec::new, |(_, old)| stale_chains(old, &new));
            self.replace(&mut state, &new, &stale)?;
        }
        let published = applied
            .as_ref()
            .map_or(&[][..], |(old, _)| old.published.as_slice());
        if let Err(error) =
            conntrack::forget(&conntrack::changed_ports(published, &wanted.published))
        {
            tracing::warn!(%error, "cannot forget UDP flows of ports that lead elsewhere now");
        }
        if networks_differ {
            self.accept_in_foreign_tables(&mut state, wanted)?;
        }
        state.reservations.follow(&wanted.published);
        state.applied = Some((wanted.clone(), new));
        Ok(())
    }

    pub(crate) fn reassert(&self) -> Result<(), FirewallError> {
        let mut state = self.lock();
        let Some((wanted, rules)) = state.applied.clone() else {
            return Ok(());
        };
        self.replace(&mut state, &rules, &[])?;
        self.accept_in_foreign_tables(&mut state, &wanted)
    }

    pub(crate) fn watch(&self) -> io::Result<FlushWatch> {
        FlushWatch::open(self.tag.clone(), Arc::clone(&self.writers))
    }

    pub(crate) fn foreign_accepts(&self) -> Vec<ForeignAccept> {
        self.lock().foreign.clone()
    }

    pub(crate) fn reserves(&self, ip: Option<Ipv4Addr>, port: u16, protocol: Protocol) -> bool {
        self.lock().reservations.holds(ip, port, protocol)
    }

    fn replace(
        &self,
        state: &mut State,
        new: &Ruleset,
        stale: &[&str],
    ) -> Result<(), FirewallError> {
        // A stale chain may have gone with a flush.
        let mut result = self.send(state, &transaction::replace(new, stale));
        if result.is_err() && !stale.is_empty() {
            result = self.send(state, &transaction::replace(new, &[]));
        }
        result.or_else(|error| {
            tracing::warn!(%error, "the firewall table is not hoist's, so it is recreated without its user chain");
            self.send(state, &[transaction::remove(), transaction::replace(new, &[])].concat())
        })
    }

    fn clear(&self, state: &mut State) -> Result<(), FirewallError> {
        foreign::remove(self.channel(state)?, &self.tag).map_err(FirewallError::Foreign)?;
        self.send(state, &transaction::remove())?;
        *state = State {
            channel: state.channel.take(),
            ..State::default()
        };
        Ok(())
    }

    fn accept_in_foreign_tables(
        &self,
        state: &mut State,
        wanted: &FirewallState,
    ) -> Result<(), FirewallError> {
        let accepts = foreign::ensure(self.channel(state)?, &self.tag, wanted)
            .map_err(FirewallError::Foreign)?;
        for accept @ ForeignAccept { table, chain, why } in &accepts {
            if !state.foreign.contains(accept) {
                tracing::info!(
                    table,
                    chain,
                    why,
                    "accepts container networks in a table of others"
                );
            }
        }
        state.foreign = accepts;
        Ok(())
    }

    fn send(&self, state: &mut State, operations: &[Operation<'_>]) -> Result<(), FirewallError> {
        let refused = self.channel(state)?.send(&self.tag, operations);
        refused.map_err(|Refusal { operation, source }| {
            // More answers may be on their way, which are none to the next transaction.
            state.channel = None;
            let operation = operation.and_then(|number| operations.get(number));
            let operation = operation.map(|operation| Line(&self.tag, operation).to_string());
            FirewallError::Kernel {
                operation: operation.unwrap_or_else(|| "the whole ruleset".to_owned()),
                source,
            }
        })
    }

    fn channel<'a>(&self, state: &'a mut State) -> Result<&'a Channel, FirewallError> {
        let channel = match state.channel.take() {
            Some(channel) => channel,
            None => {
                let channel = Channel::open().map_err(FirewallError::Channel)?;
                self.writers
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(channel.port);
                channel
            }
        };
        Ok(state.channel.insert(channel))
    }

    /// Whether the rules of this network are in place.
    pub(crate) fn covers(&self, network: &str) -> bool {
        let state = self.lock();
        state
            .applied
            .as_ref()
            .is_some_and(|(applied, _)| applied.networks.iter().any(|spec| spec.id == network))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Chains of replica counts that no port has any more.
fn stale_chains<'a>(old: &'a Ruleset, new: &Ruleset) -> Vec<&'a str> {
    let old = old.chains.iter().map(|chain| chain.name.as_str());
    old.filter(|name| !new.chains.iter().any(|chain| chain.name == *name))
        .collect()
}
