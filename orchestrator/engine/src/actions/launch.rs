//! Starting a container.
//!
//! Its names and ports go live while its namespace is made; its program runs only when both are ready, so that it can
//! ask for its peers and itself from its first instruction on.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use hoist_api::ErrorKind;
use hoist_network::new_netns;
use hoist_object::ExitDoc;
use hoist_runtime::{Launch, LaunchError, Netns, Rootfs, Shim, Tree};
use rustix::fd::OwnedFd;

use super::{StepError, blocking};
use crate::driver::{self, Driven};
use crate::emulator;
use crate::engine::{Engine, now, steady};
use crate::error::chain;
use crate::lower::{self, EtcFiles, Exposed, Lowered, Network, StartFacts, Writable};
use crate::store::{kept, make_folder};
use crate::world::{Event, StartAnswer, StartTicket, StartWhy, Summary, World};

pub(crate) async fn start(engine: &Arc<Engine>, id: &str, why: StartWhy) -> Result<(), StepError> {
    let answer = engine
        .ask(|reply| Event::StartWanted {
            id: id.to_owned(),
            why,
            reply,
        })
        .await?;
    let ticket = match answer {
        StartAnswer::Running | StartAnswer::Unwanted => return Ok(()),
        StartAnswer::Gone => return Err(StepError::not_found(format!("no such container: {id}"))),
        StartAnswer::Failed(exit) => {
            return Err(StepError::of(
                ErrorKind::of_exit_code(exit.code),
                exit.error,
            ));
        }
        StartAnswer::Go(ticket) => *ticket,
    };
    let run = ticket.run;
    let id = id.to_owned();
    let driven = driver::driven(&ticket);
    // Until it counts as running, and others find its mounts.
    let _held = driver::hold(engine, driven.as_ref().unwrap_or(&Driven::new())).await;
    let launched = match driven {
        Ok(driven) => launch(engine, ticket, driven).await,
        Err(error) => Err(error),
    };
    match launched {
        Ok((shim, pid)) => {
            let at = now();
            engine.tell(Event::Started {
                id,
                run,
                shim: Box::new(shim),
                pid,
                at,
            });
            Ok(())
        }
        Err(error) => {
            let (at, ended) = (now(), Some(steady()));
            let exit = ExitDoc {
                code: error.code(),
                at,
                ended,
                oom: false,
                error: error.message.clone(),
            };
            engine.tell(Event::StartFailed { id, run, exit });
            Err(error)
        }
    }
}

async fn launch(
    engine: &Arc<Engine>,
    ticket: StartTicket,
    driven: Driven,
) -> Result<(Shim, i32), StepError> {
    // Before the lane: an unresponsive server must not block other starts.
    let trees = driver::trees(engine, &driven).await?;
    let _lane = engine
        .lanes
        .acquire()
        .await
        .map_err(|_| StepError::engine("the engine is shutting down"))?;
    let preparer = Arc::clone(engine);
    let image = ticket.container.doc.image_id.clone();
    let networks = ticket.networks.len();
    let doc = &ticket.container.doc;
    let reads_host = !doc.mounts.is_empty() || !doc.files.is_empty();
    // Folders of the host that containers can write; only for one that has something of the host.
    let writable = if reads_host {
        engine.look(World::writable).await?
    } else {
        Vec::new()
    };
    let prepared = blocking(move || prepare(&preparer, &ticket, &driven, &writable, trees));
    let (launch, live) = tokio::join!(prepared, engine.wiring.settled());
    let mut launch = launch?;
    live.check(networks)?;
    engine
        .store
        .written(vec![engine.store.layout.container(&launch.id)])
        .await?;
    let (runtime, images) = (Arc::clone(&engine.runtime), Arc::clone(&engine.images));
    let clients = engine.attachments.take(&launch.id);
    if let Some(size) = clients.size.filter(|_| launch.tty) {
        lower::console(&mut launch.spec, size);
    }
    blocking(move || {
        let shim = runtime
            .start_attached(&launch, &clients.streams)
            .map_err(|error| {
                // Only a guess before: an image may claim another platform than its programs are for.
                let image = hoist_image::Digest::parse(&image)
                    .ok()
                    .and_then(|id| images.image(&id));
                let foreign =
                    image.and_then(|image| emulator::check(&image.config.platform()).err());
                let reason = foreign
                    .map(|reason| format!("; {reason}"))
                    .unwrap_or_default();
                StepError::of(
                    ErrorKind::of_exit_code(error.exit_code().into()),
                    words(&error) + &reason,
                )
            })?;
        let pid = shim.pid();
        Ok((shim, pid))
    })
    .await
}

/// The "not found" error of a command needs no context.
fn words(error: &LaunchError) -> String {
    match error {
        LaunchError::Stage { stage, object, .. }
            if stage == "find the command" && object.ends_with("$PATH") =>
        {
            object.clone()
        }
        _ => chain(error),
    }
}

/// Everything before the program: folders, volumes, files of /etc, the network namespace.
fn prepare(
    engine: &Engine,
    ticket: &StartTicket,
    driven: &Driven,
    writable: &[Writable],
    trees: Vec<Tree>,
) -> Result<Launch, StepError> {
    let doc = &*ticket.container.doc;
    let layout = &engine.store.layout;
    let bundle = engine.bundle(&doc.id);
    let lowers = lower::lowers(&engine.images, doc)?;
    for folder in [
        layout.upper(&doc.id),
        layout.work(&doc.id),
        layout.log(&doc.id).with_file_name(""),
        bundle.clone(),
    ] {
        make_folder(&folder).map_err(|error| {
            StepError::engine(format!("preparing {}: {error}", folder.display()))
        })?;
    }
    kept::keep_container(&bundle, doc);
    // The root of the container takes its mode from the upper folder.
    open_to_all(&layout.upper(&doc.id))?;
    match std::fs::remove_file(layout.exit_record(&doc.id)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(StepError::engine(format!(
                "removing the last exit record: {error}"
            )));
        }
        _ => {}
    }
    let exposed = Exposed::new(writable, layout);
    for (volume, target, copies) in lower::volume_mounts(doc) {
        let copies = ticket.first && copies;
        match driven.get(volume) {
            None if copies => engine.volumes.fill(layout, volume, target, &lowers)?,
            Some(local) if copies && !local.is_read_only() => {
                let data = lower::volume_top(volume, local, &exposed, &trees)?;
                engine
                    .volumes
                    .fill_elsewhere(volume, data.as_fd(), target, &lowers)?;
            }
            _ => drop(crate::volumes::make(layout, volume)?),
        }
    }
    let facts = engine.net.facts()?;
    let start = StartFacts {
        layout,
        volatile: &engine.volatile(""),
        host: &facts,
        networks: &ticket.networks,
        peers: &ticket.peers,
        exposed: &exposed,
        driven,
    };
    let lowered = lower::lower(&ticket.container, &start)?;
    write_etc(&layout.etc(&doc.id), &lowered.etc)?;
    let netns = netns(engine, &doc.id, &lowered)?;
    let rootfs = Rootfs::Overlay {
        lowers,
        upper: layout.upper(&doc.id),
        work: layout.work(&doc.id),
    };
    Ok(Launch {
        trees,
        ..assemble(engine, &ticket.container, lowered, netns, rootfs)
    })
}

fn assemble(
    engine: &Engine,
    container: &Summary,
    lowered: Lowered,
    netns: Netns,
    rootfs: Rootfs,
) -> Launch {
    let (doc, service) = (&container.doc, &container.config);
    Launch {
        id: doc.id.clone(),
        bundle: engine.bundle(&doc.id),
        spec: lowered.spec,
        rootfs,
        netns,
        user: lowered.setup.user,
        group_add: lowered.setup.group_add,
        log: lowered.log,
        exit_record: engine.store.layout.exit_record(&doc.id),
        tty: service.tty,
        stdin_open: service.stdin_open,
        stdin_once: doc.attach,
        files: lowered.files,
        trees: Vec::new(),
        init: service.init.unwrap_or(false),
        join: lowered.join,
        seccomp: lowered.setup.seccomp,
        privileged: lowered.setup.privileged,
    }
}

fn open_to_all(upper: &Path) -> Result<(), StepError> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(upper, std::fs::Permissions::from_mode(0o755))
        .map_err(|error| StepError::engine(format!("preparing {}: {error}", upper.display())))
}

/// On the disk of the container's layer: the container may write them, and must fill only its own space.
fn write_etc(folder: &Path, etc: &EtcFiles) -> Result<(), StepError> {
    make_folder(folder)
        .map_err(|error| StepError::engine(format!("preparing {}: {error}", folder.display())))?;
    let hostname = format!("{}\n", etc.hostname);
    for (name, text) in [
        ("hosts", &etc.hosts),
        ("hostname", &hostname),
        ("resolv.conf", &etc.resolv_conf),
    ] {
        let path = folder.join(name);
        let written = std::fs::write(&path, text).and_then(|()| {
            use std::os::unix::fs::PermissionsExt;
            // Readable for every user of the container; the folder above is closed to everybody else on the host.
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644))
        });
        written
            .map_err(|error| StepError::engine(format!("writing {}: {error}", path.display())))?;
    }
    Ok(())
}

fn netns(engine: &Engine, id: &str, lowered: &Lowered) -> Result<Netns, StepError> {
    match &lowered.network {
        Network::Host => Ok(Netns::Host),
        // With what docker sets in every namespace, which a bare new one does not have.
        Network::None => Ok(Netns::Fd(new_netns(&lowered.net_sysctls)?)),
        Network::Of(peer) => Ok(Netns::Path(format!("/proc/{}/ns/net", peer.pid).into())),
        Network::Own(endpoints) => {
            let netns: OwnedFd = new_netns(&lowered.net_sysctls)?;
            engine.net.attach(netns.as_fd(), endpoints)?;
            let home = endpoints
                .iter()
                .map(|endpoint| endpoint.network.clone())
                .collect();
            engine.names.serve(&engine.dns, id, home, netns.as_fd())?;
            Ok(Netns::Fd(netns))
        }
    }
}
