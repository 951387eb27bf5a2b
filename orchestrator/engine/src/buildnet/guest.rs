//! A RUN step in a network of a stack, or of the engine: it has an address there that no plan gives away, finds the
//! running services by name, and keeps the network from being removed, for as long as it runs.

use std::sync::Arc;

use super::{Held, Place};
use crate::actions::StepError;
use crate::engine::Engine;
use crate::lower;
use crate::observe::{self, Claims};

/// What holds the address, for messages of plans that want it.
const HOLDER: &str = "a build step";

pub(super) async fn enter(
    engine: &Arc<Engine>,
    name: &str,
    step: &str,
) -> Result<Place, StepError> {
    let claim = format!("build step {step}");
    let _planning = engine.turns.planning.lock().await;
    let (wanted, guest) = (name.to_owned(), claim.clone());
    let network = engine.look(move |world| {
        let bridge = lower::bridge(world.networks.get(&wanted)?);
        Some((observe::network(world, &wanted, &guest)?, bridge))
    });
    let (network, bridge) = network.await?.ok_or_else(|| {
        StepError::new(format!(
            "there is no network {name:?}; a RUN step joins one that is up: start the stack first"
        ))
    })?;
    let address = network.free_address();
    let address = address
        .ok_or_else(|| StepError::new(format!("no free address is left in network {name:?}")))?;
    let claims = Claims::address(name, address, HOLDER);
    engine.claim(claim.clone(), claims);
    Ok(Place {
        network: network.id,
        bridge,
        address,
        prefix: network.subnet.prefix_len(),
        gateway: network.gateway,
        internal: network.internal,
        held: Held::Claim(claim),
    })
}

pub(super) fn leave(engine: &Engine, claim: String) {
    engine.claim(claim, Claims::default());
}
