//! Brings the kernel from what was applied last to what is wanted, one transaction at a time.

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::foreign::{self, ForeignAccept};
use super::nft;
use super::rules::Ruleset;
use super::text;
use super::watch::FlushWatch;
use crate::model::{FirewallState, Protocol};
use crate::ports::Reservations;

#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    #[error("start nft; is nftables installed?")]
    Start(#[source] io::Error),
    #[error("talk to nft")]
    Talk(#[source] io::Error),
    #[error("nft refused: {message}")]
    Refused { message: String },
    #[error("understand what nft says about the rules of others")]
    Listing(#[source] serde_json::Error),
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
    applied: Option<(FirewallState, Ruleset)>,
    foreign: Vec<ForeignAccept>,
    reservations: Reservations,
}

impl Firewall {
    pub(crate) fn new(instance: &str) -> Self {
        let tag = if instance.is_empty() { "hoist".to_owned() } else { format!("hoist-{instance}") };
        Self { tag, writers: Arc::default(), state: Mutex::default() }
    }

    pub(crate) fn set(&self, wanted: &FirewallState) -> Result<(), FirewallError> {
        let mut state = self.lock();
        if wanted.networks.is_empty() {
            return self.clear(&mut state);
        }
        let new = Ruleset::of(wanted);
        let (networks_differ, script) = match &state.applied {
            Some((old, rules)) => {
                let differ = old.networks != wanted.networks || old.dns_port != wanted.dns_port;
                (differ, text::change(&self.table(), rules, &new))
            }
            None => (true, None),
        };
        // A change that does not fit means that somebody else was here; then the whole is put back.
        let changed = script.is_some_and(|script| script.is_empty() || self.run(&script).is_ok());
        if !changed {
            self.run(&text::replace(&self.table(), &new, &stale_chains(&state, &new)))?;
        }
        if networks_differ {
            state.foreign = foreign::ensure(&self.tag, wanted, &|script| self.run(script))?;
        }
        state.reservations.follow(&wanted.published);
        state.applied = Some((wanted.clone(), new));
        Ok(())
    }

    pub(crate) fn reassert(&self) -> Result<(), FirewallError> {
        let mut state = self.lock();
        let Some((wanted, rules)) = &state.applied else { return Ok(()) };
        self.run(&text::replace(&self.table(), rules, &[]))?;
        state.foreign = foreign::ensure(&self.tag, wanted, &|script| self.run(script))?;
        Ok(())
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

    fn clear(&self, state: &mut State) -> Result<(), FirewallError> {
        foreign::remove(&self.tag, &|script| self.run(script))?;
        self.run(&text::remove(&self.table()))?;
        *state = State::default();
        Ok(())
    }

    fn table(&self) -> String {
        format!("inet {}", self.tag)
    }

    fn run(&self, script: &str) -> Result<(), FirewallError> {
        nft::run_script(script, &self.writers)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Chains of replica counts that no port has any more.
fn stale_chains<'a>(state: &'a State, new: &Ruleset) -> Vec<&'a str> {
    let Some((_, old)) = &state.applied else { return Vec::new() };
    let old = old.chains.iter().map(|chain| chain.name.as_str());
    old.filter(|name| !new.chains.iter().any(|chain| chain.name == *name)).collect()
}
