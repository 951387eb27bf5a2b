//! Networks, and containers that join and leave them.

use hoist_api::ErrorKind;
use hoist_object::PREDEFINED_NETWORK;
use hoist_scheduler::network_spec;
use hoist_spec::model::Network;

use super::containers::no_container;
use super::{Handle, Result};
use crate::actions::{self, StepError};
use crate::error::chain;
use crate::observe;
use crate::view::NetworkView;

pub use crate::actions::Wish as Endpoint;

/// Those that exist in name only: a container on one of them has no network of the engine.
const IN_NAME_ONLY: [&str; 2] = ["host", "none"];

fn is_predefined(name: &str) -> bool {
    name == PREDEFINED_NETWORK || IN_NAME_ONLY.contains(&name)
}

/// About a name that no network of the engine has.
fn no_network(name: &str) -> StepError {
    if is_predefined(name) {
        let text = format!(
            "{name} is a pre-defined network: containers are on it by their network_mode alone"
        );
        return StepError::of(ErrorKind::Forbidden, text);
    }
    StepError::not_found(format!("network {name} not found"))
}

fn check_name(name: &str) -> Result<()> {
    if is_predefined(name) || name == "default" {
        let text = format!("operation is not permitted on predefined {name} network");
        return Err(StepError::of(ErrorKind::Forbidden, text));
    }
    let plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if plain
        && name
            .as_bytes()
            .first()
            .is_some_and(u8::is_ascii_alphanumeric)
        && name.len() <= 255
    {
        return Ok(());
    }
    Err(StepError::bad(format!(
        "{name:?} is not a name for a network: letters, digits, `_`, `.` and `-`"
    )))
}

impl Handle {
    pub async fn networks(&self) -> Result<Vec<NetworkView>> {
        self.look(|world| {
            world
                .networks
                .values()
                .map(|found| NetworkView::of(world, found))
                .collect()
        })
        .await
    }

    /// By name, or by the unambiguous beginning of an id. `None`: it is none of the engine's.
    pub async fn network(&self, name: &str) -> Result<Option<NetworkView>> {
        let wanted = name.to_owned();
        self.look(move |world| {
            world
                .network(&wanted)
                .map(|found| NetworkView::of(world, found))
        })
        .await
    }

    /// Rules that stand in tables of others for the sake of all networks: `table chain (why)`.
    pub fn foreign_rules(&self) -> Vec<String> {
        let accepts = self.engine.net.foreign_accepts().into_iter();
        accepts
            .map(|accept| format!("{} {} ({})", accept.table, accept.chain, accept.why))
            .collect()
    }

    /// One of no stack, or of the stack `project` under `key`. Its id.
    pub async fn create_network(
        &self,
        network: &Network,
        project: &str,
        key: &str,
    ) -> Result<String> {
        check_name(&network.name)?;
        // No plan may choose the same subnet concurrently.
        let planning = self.engine.turns.planning.lock().await;
        let name = network.name.clone();
        if self
            .look(move |world| world.networks.contains_key(&name))
            .await?
        {
            return Err(StepError::conflict(format!(
                "network with name {} already exists",
                network.name
            )));
        }
        let observed = observe::for_networks(&self.engine)
            .await
            .map_err(|error| StepError::engine(chain(&error)))?;
        let spec = network_spec(&observed, (project, key), network)
            .map_err(|problem| StepError::of(ErrorKind::Forbidden, problem.to_string()))?;
        actions::create_network(&self.engine, &spec).await?;
        drop(planning);
        self.durable().await?;
        let name = network.name.clone();
        let id = self
            .look(move |world| world.networks.get(&name).map(|network| network.id.clone()))
            .await?;
        id.ok_or_else(|| no_network(&network.name))
    }

    pub async fn remove_network(&self, name: &str) -> Result<()> {
        let wanted = name.to_owned();
        let real = self
            .look(move |world| world.network(&wanted).map(|network| network.name.clone()))
            .await?;
        if let Some(name) = real
            .as_deref()
            .into_iter()
            .chain([name])
            .find(|name| is_predefined(name))
        {
            let text = format!("{name} is a pre-defined network and cannot be removed");
            return Err(StepError::of(ErrorKind::Forbidden, text));
        }
        let real = real.ok_or_else(|| no_network(name))?;
        actions::remove_network(&self.engine, &real)
            .await
            .map_err(|error| match error.kind {
                // Docker's kind for one that is in use.
                ErrorKind::Conflict => StepError::of(ErrorKind::Forbidden, error.message),
                _ => error,
            })?;
        self.durable().await
    }

    pub async fn connect(&self, container: &str, network: &str, endpoint: Endpoint) -> Result<()> {
        let (container, network) = self.pair(container, network).await?;
        actions::connect(&self.engine, &container, &network, endpoint).await?;
        self.durable().await
    }

    pub async fn disconnect(&self, container: &str, network: &str) -> Result<()> {
        let (container, network) = self.pair(container, network).await?;
        actions::disconnect(&self.engine, &container, &network).await?;
        self.durable().await
    }

    /// Id of the container and real name of the network.
    async fn pair(&self, container: &str, network: &str) -> Result<(String, String)> {
        let (wanted, whose) = (network.to_owned(), container.to_owned());
        let found = self.look(move |world| {
            let known = world.network(&wanted).map(|network| network.name.clone());
            (
                known,
                world
                    .resolve(&whose)
                    .map(|container| container.doc.id.clone()),
            )
        });
        let (known, id) = found.await?;
        let known = known.ok_or_else(|| no_network(network))?;
        Ok((id.ok_or_else(|| no_container(container))?, known))
    }
}
