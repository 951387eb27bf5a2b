//! Networks and volumes.

use std::sync::Arc;

use hoist_object::{NetworkDoc, VolumeDoc};
use hoist_scheduler::{NetworkSpec, VolumeSpec};

use super::{StepError, blocking};
use crate::driver;
use crate::engine::{Engine, new_id, now};
use crate::lower;
use crate::store::{kept, volume_record};
use crate::volumes;
use crate::world::Event;

pub(crate) async fn create_network(
    engine: &Arc<Engine>,
    spec: &NetworkSpec,
) -> Result<(), StepError> {
    // Two projects' plans may create the predefined network concurrently.
    let _turn = engine.network_turn.lock().await;
    let name = spec.name.clone();
    let present = engine.look(move |world| {
        world
            .networks
            .get(&name)
            .map(|network| network.config_hash.clone())
    });
    match present.await? {
        Some(hash) if hash == spec.config_hash => return Ok(()),
        Some(_) => {
            return Err(StepError::conflict(format!(
                "network {} exists already",
                spec.name
            )));
        }
        None => {}
    }
    let network = NetworkDoc {
        id: new_id(),
        name: spec.name.clone(),
        created: now(),
        project: spec.project.clone(),
        key: spec.key.clone(),
        config_hash: spec.config_hash.clone(),
        subnet: spec.subnet,
        gateway: spec.gateway,
        range: spec.range,
        reserved: spec.reserved.clone(),
        internal: spec.internal,
        driver_opts: spec.driver_opts.clone(),
        labels: spec.labels.clone(),
    };
    let bridge = lower::bridge(&network);
    let wanted = bridge.clone();
    let holder = engine.look(move |world| {
        world
            .networks
            .values()
            .find(|other| lower::bridge(other) == wanted)
            .map(|other| other.name.clone())
    });
    if let Some(holder) = holder.await? {
        return Err(StepError::conflict(format!(
            "network {}: bridge {bridge} is that of network {holder}",
            spec.name
        )));
    }
    engine.store.put_network(&network);
    engine
        .store
        .created(vec![engine.store.layout.network(&network.id)])
        .await?;
    let (host, kernel) = (Arc::clone(&engine.net), lower::network_spec(&network));
    let made = blocking(move || Ok(host.create_network(&kernel)?)).await;
    if let Err(error) = made {
        engine
            .store
            .delete(engine.store.layout.network(&network.id));
        return Err(error);
    }
    kept::keep_network(&engine.config.run_dir, &network);
    engine.tell(Event::NetworkMade(Box::new(network)));
    Ok(())
}

pub(crate) async fn remove_network(engine: &Arc<Engine>, name: &str) -> Result<(), StepError> {
    let _turn = engine.network_turn.lock().await;
    let wanted = name.to_owned();
    let found = engine.look(move |world| {
        let network = world.networks.get(&wanted)?;
        let user = world
            .containers
            .values()
            .find(|container| {
                container
                    .doc
                    .record
                    .networks
                    .iter()
                    .any(|attachment| attachment.network == wanted)
            })
            .map(|container| container.doc.record.name.clone())
            .or_else(|| {
                // The project's own plan may be about to recreate it.
                let others = world
                    .claims
                    .iter()
                    .filter(|(project, _)| **project != network.project);
                others
                    .into_iter()
                    .find_map(|(_, claims)| claims.holder_in(&wanted).map(str::to_owned))
            });
        Some((network.clone(), user))
    });
    let Some((network, user)) = found.await? else {
        return Ok(());
    };
    if user.is_some() && network.is_predefined() {
        // It is kept: another container has joined it.
        return Ok(());
    }
    if let Some(user) = user {
        return Err(StepError::conflict(format!(
            "network {name} is in use by container {user}"
        )));
    }
    engine.tell(Event::NetworkGone {
        name: name.to_owned(),
    });
    engine.wiring.settled().await;
    let (host, bridge) = (Arc::clone(&engine.net), lower::bridge(&network));
    blocking(move || Ok(host.remove_network(&bridge)?)).await?;
    let id = network.id;
    kept::forget_network(&engine.config.run_dir, &id);
    engine.store.delete(engine.store.layout.network(&id));
    Ok(engine
        .store
        .written(vec![engine.store.layout.network(&id)])
        .await?)
}

pub(crate) async fn create_volume(
    engine: &Arc<Engine>,
    spec: &VolumeSpec,
) -> Result<(), StepError> {
    let name = spec.name.clone();
    if engine
        .look(move |world| world.volumes.contains_key(&name))
        .await?
    {
        return Ok(());
    }
    make_volume(engine, volume_record(spec.clone(), now())).await
}

/// With an unused name.
pub(crate) async fn make_volume(engine: &Arc<Engine>, volume: VolumeDoc) -> Result<(), StepError> {
    driver::check(&volume.name, &volume.driver_opts)?;
    volumes::make(&engine.store.layout, &volume.name)?;
    engine.store.put_volume(&volume);
    engine
        .store
        .created(engine.store.layout.volume_records(&volume.name).into())
        .await?;
    engine.tell(Event::VolumeMade(Box::new(volume)));
    Ok(())
}

pub(crate) async fn remove_volume(engine: &Arc<Engine>, name: &str) -> Result<(), StepError> {
    let wanted = name.to_owned();
    let found = engine.look(move |world| {
        world.volumes.get(&wanted)?;
        let user = world.containers.values().find(|container| {
            let doc = &container.doc;
            doc.record.volumes.contains(&wanted)
                || doc.anonymous.values().any(|volume| *volume == wanted)
        });
        Some(user.map(|container| container.doc.record.name.clone()))
    });
    match found.await? {
        None => return Ok(()),
        Some(Some(user)) => {
            return Err(StepError::conflict(format!(
                "volume {name} is in use by container {user}"
            )));
        }
        Some(None) => {}
    }
    engine.tell(Event::VolumeGone {
        name: name.to_owned(),
    });
    engine.store.delete(engine.store.layout.volume(name));
    Ok(engine
        .store
        .written(vec![engine.store.layout.volume(name)])
        .await?)
}
