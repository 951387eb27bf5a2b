//! What holds for every plan, over random stacks, random histories and random orders of execution.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hoist_object::Health;
use hoist_scheduler::{
    Action, Down, ImageName, ImageRemoval, ImageSource, Kill, MountSource, Observed, Plan,
    Progress, Readiness, Remove, Request, Restart, Scale, Start, State, StepState, Stop, Up, Verb,
    plan,
};
use hoist_spec::model::{
    Attachment, Build, Condition, Dependency, IpamPool, Network, NetworkMode, PullPolicy,
    RestartPolicy, Service, Stack, Volume,
};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use world::{World, checked, mount, publish, variable};

const SERVICES: [&str; 5] = ["a", "b", "c", "d", "e"];
const NETWORKS: [&str; 3] = ["default", "back", "side"];

/// A service as numbers; `lower` makes sense of them, so that shrinking stays simple.
#[derive(Debug, Clone)]
struct Draw {
    present: bool,
    replicas: u32,
    value: u8,
    image: u8,
    networks: u8,
    fixed: Option<u8>,
    dependencies: Vec<(usize, u8)>,
    port: u8,
    volume: u8,
    shares: bool,
    policy: u8,
    checked: bool,
}

fn draw() -> impl Strategy<Value = Draw> {
    let place = (
        prop::bool::weighted(0.85),
        0..3_u32,
        0..3_u8,
        0..4_u8,
        1..8_u8,
        prop::option::weighted(0.2, 2..6_u8),
    );
    let rest = (
        prop::collection::vec((0..SERVICES.len(), 0..8_u8), 0..3),
        0..6_u8,
        0..4_u8,
        prop::bool::weighted(0.15),
        0..4_u8,
        any::<bool>(),
    );
    (place, rest).prop_map(
        |((present, replicas, value, image, networks, fixed), rest)| {
            let (dependencies, port, volume, shares, policy, checked) = rest;
            Draw {
                present,
                replicas,
                value,
                image,
                networks,
                fixed,
                dependencies,
                port,
                volume,
                shares,
                policy,
                checked,
            }
        },
    )
}

#[derive(Clone)]
struct StackDraw {
    services: Vec<Draw>,
    internal: u8,
}

/// A failing case is read by people: one line per service that is there.
impl std::fmt::Debug for StackDraw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "internal {}", self.internal)?;
        for (name, draw) in SERVICES
            .iter()
            .zip(&self.services)
            .filter(|(_, draw)| draw.present)
        {
            let Draw {
                replicas,
                value,
                image,
                networks,
                fixed,
                dependencies,
                port,
                volume,
                shares,
                policy,
                checked,
                ..
            } = draw;
            write!(
                f,
                "; {name} x{replicas} value {value} image {image} networks {networks} fixed {fixed:?}"
            )?;
            write!(
                f,
                " needs {dependencies:?} port {port} volume {volume} shares {shares} policy {policy} {checked}"
            )?;
        }
        Ok(())
    }
}

fn stacks() -> impl Strategy<Value = StackDraw> {
    (prop::collection::vec(draw(), SERVICES.len()), 0..8_u8)
        .prop_map(|(services, internal)| StackDraw { services, internal })
}

fn lower(drawn: &StackDraw) -> Stack {
    let mut stack = Stack {
        name: "app".to_owned(),
        ..Stack::default()
    };
    for (bit, key) in NETWORKS.iter().enumerate() {
        let internal = drawn.internal & (1 << bit) != 0;
        let mut network = Network {
            name: format!("app_{key}"),
            internal,
            ..Network::default()
        };
        if bit == 0 {
            // The one with fixed addresses.
            network.ipam.push(IpamPool {
                subnet: Some("172.20.0.0/24".parse().unwrap()),
                ..IpamPool::default()
            });
        }
        stack.networks.insert((*key).to_owned(), network);
    }
    for key in ["data", "logs"] {
        stack.volumes.insert(
            key.to_owned(),
            Volume {
                name: format!("app_{key}"),
                ..Volume::default()
            },
        );
    }
    let present: Vec<bool> = drawn.services.iter().map(|draw| draw.present).collect();
    for (index, draw) in drawn
        .services
        .iter()
        .enumerate()
        .filter(|(_, draw)| draw.present)
    {
        stack.services.insert(
            SERVICES[index].to_owned(),
            lower_service(index, draw, &present),
        );
    }
    // Who is waited for to be healthy has a healthcheck.
    let awaited: BTreeSet<String> = stack
        .services
        .values()
        .flat_map(|service| service.depends_on.iter())
        .filter(|(_, edge)| edge.condition == Condition::Healthy)
        .map(|(name, _)| name.clone())
        .collect();
    for name in awaited {
        if let Some(service) = stack.services.get_mut(&name) {
            checked(service);
        }
    }
    stack
}

fn lower_service(index: usize, draw: &Draw, present: &[bool]) -> Service {
    let mut service = world::service();
    service.replicas = draw.replicas;
    variable(&mut service, &draw.value.to_string());
    match draw.image {
        0 => {
            service.image = None;
            service.build = Some(Build {
                context: "/srv/app".to_owned(),
                ..Build::default()
            });
        }
        1 => service.image = Some("busybox".to_owned()),
        other => service.image = Some(format!("image-{other}")),
    }
    service.networks.clear();
    for (bit, key) in NETWORKS
        .iter()
        .enumerate()
        .filter(|(bit, _)| draw.networks & (1 << bit) != 0)
    {
        // One fixed address per service and network can serve one replica only.
        let fixed = draw
            .fixed
            .filter(|_| bit == 0 && draw.replicas <= 1)
            .map(|low| {
                let index = u8::try_from(index).unwrap();
                [172, 20, 0, low + 2 * index].into()
            });
        service.networks.insert(
            (*key).to_owned(),
            Attachment {
                ipv4_address: fixed,
                ..Attachment::default()
            },
        );
    }
    for (dependency, kind) in draw
        .dependencies
        .iter()
        .filter(|(dependency, _)| *dependency < index)
    {
        if present[*dependency] {
            // What is waited for to complete cannot also be waited for to be healthy.
            let condition = match (kind % 2, dependency % 2) {
                (0, _) => Condition::Started,
                (_, 0) => Condition::Healthy,
                _ => Condition::CompletedSuccessfully,
            };
            let edge = Dependency {
                condition,
                restart: kind & 4 != 0,
                required: *kind != 7,
            };
            service
                .depends_on
                .insert(SERVICES[*dependency].to_owned(), edge);
        }
    }
    let index16 = u16::try_from(index).unwrap();
    match draw.port {
        0 => publish(&mut service, (8000 + index16, 8000 + index16), 80),
        1 => publish(&mut service, (9000, 9000), 80 + index16),
        2 => publish(&mut service, (9000, 9008), 80),
        3 => publish(&mut service, None, 80),
        _ => {}
    }
    match draw.volume {
        0 => mount(&mut service, Some("data"), "/data"),
        1 => mount(&mut service, None, "/scratch"),
        2 => mount(&mut service, Some("logs"), "/logs"),
        _ => {}
    }
    match draw.policy {
        0 => service.restart = Some(RestartPolicy::Always),
        1 => service.pull_policy = service.build.is_none().then_some(PullPolicy::Always),
        _ => {}
    }
    if draw.checked {
        checked(&mut service);
    }
    let owner = index
        .checked_sub(1)
        .filter(|owner| draw.shares && present[*owner]);
    if let Some(owner) = owner {
        service.networks.clear();
        service.ports.clear();
        service.network_mode = Some(NetworkMode::Service(SERVICES[owner].to_owned()));
    }
    service
}

fn some_services() -> impl Strategy<Value = BTreeSet<String>> {
    prop::collection::btree_set(
        prop::sample::select(&SERVICES[..]).prop_map(str::to_owned),
        0..3,
    )
}

fn ups() -> impl Strategy<Value = Up> {
    let scale = prop::collection::btree_map(
        prop::sample::select(&SERVICES[..]).prop_map(str::to_owned),
        0..4_u32,
        0..2,
    );
    (
        some_services(),
        prop::array::uniform9(prop::bool::weighted(0.2)),
        scale,
    )
        .prop_map(|(services, flags, scale)| {
            let [
                build,
                force,
                no_recreate,
                deps,
                no_deps,
                no_start,
                remove_orphans,
                renew,
                wait,
            ] = flags;
            Up {
                services,
                build,
                force_recreate: force,
                no_recreate,
                always_recreate_deps: deps,
                no_deps,
                no_start,
                remove_orphans,
                renew_anon_volumes: renew,
                scale,
                wait,
                ..Up::default()
            }
        })
}

/// Of everything in the file, and as the file says.
fn whole_ups() -> impl Strategy<Value = Verb> {
    ups().prop_map(|up| {
        Verb::Up(Up {
            services: BTreeSet::new(),
            scale: BTreeMap::new(),
            no_start: false,
            ..up
        })
    })
}

/// With dependencies, and with healthchecks as the file has them.
/// The services that `up` is about: all of them, or the named ones and what they depend on.
fn with_dependencies(stack: &Stack, named: &BTreeSet<String>) -> BTreeSet<String> {
    let mut open: Vec<String> = if named.is_empty() {
        stack.services.keys().cloned().collect()
    } else {
        named.iter().cloned().collect()
    };
    let mut found = BTreeSet::new();
    while let Some(name) = open.pop() {
        if let Some(service) = stack.services.get(&name)
            && found.insert(name)
        {
            open.extend(service.depends_on.keys().cloned());
        }
    }
    found
}

fn plain_ups() -> impl Strategy<Value = Verb> {
    ups().prop_map(|up| {
        Verb::Up(Up {
            no_deps: false,
            no_recreate: false,
            ..up
        })
    })
}

fn verbs() -> impl Strategy<Value = Verb> {
    let services = some_services;
    prop_oneof![
        6 => ups().prop_map(Verb::Up),
        1 => (services(), any::<bool>(), any::<bool>()).prop_map(|(services, remove_orphans, volumes)| {
            Verb::Down(Down { services, remove_orphans, volumes, ..Down::default() })
        }),
        1 => services().prop_map(|services| Verb::Stop(Stop { services, timeout: None })),
        1 => (services(), any::<bool>()).prop_map(|(services, wait)| Verb::Start(Start { services, wait })),
        2 => (services(), any::<bool>()).prop_map(|(services, no_deps)| {
            Verb::Restart(Restart { services, no_deps, timeout: None })
        }),
        1 => services().prop_map(|services| Verb::Kill(Kill { services, ..Kill::default() })),
        1 => (services(), any::<bool>(), any::<bool>()).prop_map(|(services, stop, volumes)| {
            Verb::Remove(Remove { services, stop, volumes })
        }),
        1 => prop::sample::select(&SERVICES[..]).prop_flat_map(|name| (0..4_u32).prop_map(move |count| {
            Verb::Scale(Scale { scale: [(name.to_owned(), count)].into(), no_deps: false })
        })),
        1 => services().prop_map(Verb::Pause),
        1 => services().prop_map(Verb::Unpause),
        1 => Just(Verb::Supervise),
    ]
}

/// What happens before the request under test: other stacks applied, things that end by themselves.
#[derive(Clone)]
struct Past {
    stack: StackDraw,
    verb: Verb,
    /// Which containers end afterwards, and how.
    ends: Vec<(prop::sample::Index, u8)>,
}

impl std::fmt::Debug for Past {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:?} / {} / {:?}",
            self.stack,
            serde_json::to_string(&self.verb).unwrap(),
            self.ends
        )
    }
}

fn pasts() -> impl Strategy<Value = Vec<Past>> {
    let ends = prop::collection::vec((any::<prop::sample::Index>(), 0..6_u8), 0..3);
    let past = (stacks(), verbs(), ends).prop_map(|(stack, verb, ends)| Past { stack, verb, ends });
    prop::collection::vec(past, 0..4)
}

fn world_after(pasts: &[Past]) -> World {
    let mut world = World::new();
    world
        .observed
        .host
        .routes
        .push("172.19.0.0/23".parse().unwrap());
    for past in pasts {
        world.desired.stack = lower(&past.stack);
        let request = world.ask(past.verb.clone());
        for plan in world.rounds(&request) {
            assert!(plan.is_sound());
        }
        let names: Vec<String> = world.observed.containers.keys().cloned().collect();
        for (index, kind) in past.ends.iter().filter(|_| !names.is_empty()) {
            let at = world.observed.at;
            let Some(container) = world.observed.containers.get_mut(index.get(&names)) else {
                continue;
            };
            match kind {
                0 => container.state = State::Exited { code: 1, at },
                1 => container.state = State::Exited { code: 0, at },
                2 => container.state = State::Dead,
                3 => container.state = State::Restarting { code: 1, at },
                4 if container.state.is_running() => {
                    container.state = State::Running {
                        health: Health::Unhealthy,
                    }
                }
                _ => {
                    world.observed.containers.remove(index.get(&names));
                }
            }
        }
    }
    world
}

/// The request under test, with the stack it is asked with.
#[derive(Clone)]
struct Case {
    pasts: Vec<Past>,
    stack: StackDraw,
    verb: Verb,
}

fn cases() -> impl Strategy<Value = Case> {
    cases_of(verbs().boxed())
}

fn cases_of(verbs: BoxedStrategy<Verb>) -> impl Strategy<Value = Case> {
    (pasts(), stacks(), verbs, any::<bool>()).prop_map(|(pasts, stack, verb, same)| {
        // Half of the time the file has not changed since.
        let stack = pasts
            .last()
            .filter(|_| same)
            .map_or(stack, |past| past.stack.clone());
        Case { pasts, stack, verb }
    })
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{:#?}", self.pasts)?;
        write!(
            f,
            "{:?} / {}",
            self.stack,
            serde_json::to_string(&self.verb).unwrap()
        )
    }
}

impl Case {
    fn world(&self) -> (World, Request) {
        let mut world = world_after(&self.pasts);
        world.desired.stack = lower(&self.stack);
        let request = world.ask(self.verb.clone());
        (world, request)
    }
}

/// What is the same in two end states however they were reached: not ids, times, and freely chosen addresses and ports.
fn shape(observed: &Observed) -> String {
    let mut lines = Vec::new();
    for (name, container) in &observed.containers {
        let state = match container.state {
            State::Running { health } => format!("running {health:?}"),
            State::Exited { .. } => "exited".to_owned(),
            other => format!("{other:?}"),
        };
        let record = &container.record;
        let networks: Vec<&String> = record
            .networks
            .iter()
            .map(|attachment| &attachment.network)
            .collect();
        lines.push(format!(
            "{name} {state} {} {} {networks:?} {:?} ports {}",
            record.config_hash,
            container.image_id,
            record.volumes,
            record.ports.len()
        ));
    }
    lines.extend(
        observed
            .networks
            .values()
            .map(|network| format!("{} {}", network.name, network.config_hash)),
    );
    lines.extend(observed.volumes.keys().cloned());
    lines.join("\n")
}

fn fetches(plan: &Plan) -> bool {
    let fetch =
        |action: &Action| matches!(action, Action::PullImage { .. } | Action::BuildImage { .. });
    plan.steps.iter().any(|step| fetch(&step.action))
}

/// Applies a plan in an order that its edges allow, drawn by `seed`, checking each step; stops after `limit` steps. A wait
/// for what cannot come about fails, as it would in earnest. True when nothing failed.
fn execute(
    world: &mut World,
    plan: &Plan,
    seed: u64,
    limit: usize,
    watch: impl Fn(&Observed, &Action),
) -> bool {
    let mut progress = Progress::new(plan);
    let mut ready = Vec::new();
    let mut random = seed;
    for _ in 0..limit {
        ready.extend(progress.ready());
        if ready.is_empty() {
            break;
        }
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let choice = usize::try_from(random >> 33).unwrap() % ready.len();
        let id = ready.swap_remove(choice);
        let action = &plan.step(id).unwrap().action;
        watch(&world.observed, action);
        world.observed.apply(action);
        safe(&world.observed);
        if is_in_vain(&world.observed, action) {
            progress.failed(id);
        } else {
            progress.done(id);
        }
    }
    progress.succeeded()
}

fn is_in_vain(after: &Observed, action: &Action) -> bool {
    let Action::Await {
        containers, until, ..
    } = action
    else {
        return false;
    };
    !containers
        .iter()
        .all(|name| match (until, after.containers[name].state) {
            (Readiness::Started, state) => state.is_running(),
            (Readiness::Healthy, State::Running { health }) => health == Health::Healthy,
            (Readiness::Completed, State::Exited { code, .. }) => code == 0,
            (Readiness::Ready, State::Running { .. }) => true,
            (Readiness::Ready, State::Exited { code, .. }) => code == 0,
            _ => false,
        })
}

/// Holds at every moment.
fn safe(observed: &Observed) {
    let mut addresses = BTreeMap::new();
    let mut ports = BTreeMap::new();
    for (name, container) in &observed.containers {
        for attachment in &container.record.networks {
            let key = (attachment.network.clone(), attachment.address);
            let network = observed
                .networks
                .get(&attachment.network)
                .expect("attached to a network that is not there");
            assert_ne!(
                network.gateway, attachment.address,
                "{name} has its gateway's address"
            );
            assert!(
                network.subnet.contains(&attachment.address),
                "{name} is outside of its subnet"
            );
            if let Some(other) = addresses.insert(key, name) {
                panic!("{name} and {other} have the address {}", attachment.address);
            }
        }
        if container.state.is_running() {
            for port in &container.record.ports {
                let service = &container.record.service;
                // Replicas share a port.
                if let Some(other) = ports
                    .insert((port.host_port, port.transport), service)
                    .filter(|o| *o != service)
                {
                    panic!("{service} and {other} have the port {}", port.host_port);
                }
            }
        }
        for volume in &container.record.volumes {
            assert!(
                observed.volumes.contains_key(volume),
                "{name} uses a volume that is not there"
            );
        }
    }
    let networks: Vec<_> = observed.networks.values().collect();
    for (index, a) in networks.iter().enumerate() {
        let others = networks[index + 1..]
            .iter()
            .map(|b| b.subnet)
            .chain(observed.host.routes.iter().copied());
        for other in others {
            assert!(
                !a.subnet.contains(&other.network()) && !other.contains(&a.subnet.network()),
                "subnets overlap"
            );
        }
    }
}

/// Holds when an action begins.
fn possible(before: &Observed, action: &Action) {
    let exists = |name: &String| before.containers.contains_key(name);
    match action {
        Action::CreateContainer(spec) => {
            let record = &spec.record;
            assert!(!exists(&record.name), "{} exists", record.name);
            let image = before
                .images
                .get(&ImageName::new(
                    &record.image,
                    spec.service.platform.as_deref(),
                ))
                .expect("the image is there");
            if let ImageSource::Stored { id } = &spec.image {
                assert_eq!(*id, image.id);
            }
            for mount in &spec.mounts {
                if let MountSource::Named { volume, .. } = &mount.source {
                    assert!(before.volumes.contains_key(volume));
                }
            }
        }
        Action::StartContainer { container } => {
            assert!(exists(container));
            let container = &before.containers[container];
            assert!(!container.state.is_running(), "start of what runs");
        }
        Action::StopContainer { container, .. } => {
            assert!(before.containers[container].state.needs_stop())
        }
        Action::RemoveContainer { container, .. } => {
            assert!(
                !before.containers[container].state.needs_stop(),
                "removal of what runs"
            );
        }
        Action::RemoveNetwork { network } => {
            let attached = |container: &hoist_scheduler::Container| {
                container
                    .record
                    .networks
                    .iter()
                    .any(|attachment| attachment.network == *network)
            };
            assert!(
                !before.containers.values().any(attached),
                "{network} is not empty"
            );
            assert!(before.networks[network].foreign.is_empty());
        }
        Action::CreateNetwork(spec) => assert!(!before.networks.contains_key(&spec.name)),
        Action::RemoveVolume { volume } => {
            assert!(
                !before
                    .containers
                    .values()
                    .any(|container| container.record.volumes.contains(volume))
            );
        }
        _ => {}
    }
}

fn may_remove_volumes(verb: &Verb) -> bool {
    matches!(
        verb,
        Verb::Down(Down { volumes: true, .. }) | Verb::Remove(Remove { volumes: true, .. })
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        max_global_rejects: 65_536,
        ..ProptestConfig::default()
    })]

    #[test]
    fn same_input_gives_the_same_bytes(case in cases()) {
        let (world, request) = case.world();
        let (first, second) = (world.answer(&request), world.answer(&request));
        prop_assert_eq!(format!("{first:?}"), format!("{second:?}"));
        prop_assert_eq!(first.to_json().to_string(), second.to_json().to_string());
    }

    #[test]
    fn steps_only_come_after_earlier_ones(case in cases()) {
        let (world, request) = case.world();
        for (index, step) in world.answer(&request).steps.iter().enumerate() {
            prop_assert_eq!(step.id.0, index);
            prop_assert!(step.after.iter().all(|before| before.0 < index));
        }
    }

    #[test]
    fn a_plan_carried_out_in_any_order_leaves_nothing_to_do(case in cases(), seed: u64) {
        let (mut world, request) = case.world();
        let first = world.answer(&request);
        prop_assume!(first.is_sound());
        let fetched = fetches(&first);
        let succeeded = execute(&mut world, &first, seed, usize::MAX, possible);
        prop_assume!(succeeded);
        let rounds = world.rounds(&request);
        // Only what a fetch may decide, or a container whose dependency comes up, is left for later.
        if !fetched && !matches!(request.verb, Verb::Supervise) {
            prop_assert!(rounds.is_empty(), "first\n{:#}then\n{:#}", first, rounds[0]);
        }
        // Problems of what waits for a fetch show only then.
        prop_assert!(fetched || world.answer(&request).is_sound());
        let most = if fetched { 1 } else { SERVICES.len() };
        prop_assert!(rounds.len() <= most);
    }

    #[test]
    fn stopped_anywhere_it_reaches_the_same_end(case in cases(), seed: u64, limit in 0..20_usize) {
        let (mut world, request) = case.world();
        let first = world.answer(&request);
        prop_assume!(first.is_sound());
        let mut whole = world.clone();
        whole.rounds(&request);
        execute(&mut world, &first, seed, limit, possible);
        let again = world.answer(&request);
        // Problems of what waits for a fetch show only then.
        prop_assume!(!fetches(&first) || again.is_sound());
        prop_assert!(again.is_sound(), "first\n{:#}then\n{:#}", first, again);
        world.rounds(&request);
        prop_assert_eq!(shape(&world.observed), shape(&whole.observed), "first\n{:#}then\n{:#}", first, again);
    }

    #[test]
    fn running_and_unchanged_means_no_steps(case in cases_of(whole_ups().boxed())) {
        let (mut world, request) = case.world();
        prop_assume!(world.answer(&request).is_sound());
        world.rounds(&request);
        prop_assume!(world.answer(&request).is_sound());
        for image in world.observed.images.values_mut() {
            image.refreshed = Some(world.observed.at + Duration::from_secs(1));
        }
        for container in world.observed.containers.values_mut() {
            // What ended has ended; the claim is about what runs.
            container.state = State::Running { health: Health::None };
            container.started = Some(world.observed.at);
        }
        let plan = world.preview(Verb::Up(Up { no_recreate: matches!(&request.verb, Verb::Up(up) if up.no_recreate), ..Up::default() }));
        prop_assert!(plan.is_empty(), "{plan}");
    }

    #[test]
    fn no_volume_is_removed_unless_asked(case in cases()) {
        prop_assume!(!may_remove_volumes(&case.verb));
        let (mut world, request) = case.world();
        let before: BTreeSet<String> = world.observed.volumes.keys().cloned().collect();
        world.rounds(&request);
        prop_assert!(before.is_subset(&world.observed.volumes.keys().cloned().collect()));
    }

    #[test]
    fn down_leaves_nothing(case in cases()) {
        let (mut world, _) = case.world();
        world.act(Verb::Down(Down { volumes: true, remove_orphans: true, images: ImageRemoval::All, ..Down::default() }));
        prop_assert!(world.observed.containers.is_empty());
        prop_assert!(world.observed.networks.is_empty());
        let left: Vec<_> = world.observed.volumes.values().filter(|volume| !volume.key.is_empty()).collect();
        prop_assert!(left.is_empty(), "{left:?}");
    }

    #[test]
    fn conditions_hold_when_a_container_is_started(case in cases_of(plain_ups().boxed()), seed: u64) {
        let (mut world, request) = case.world();
        let stack = world.desired.stack.clone();
        let Verb::Up(up) = &request.verb else { return Err(TestCaseError::reject("up alone waits for conditions")) };
        let asked = with_dependencies(&stack, &up.services);
        for _ in 0..3 {
            let plan = world.answer(&request);
            if plan.is_empty() || !plan.is_sound() {
                break;
            }
            execute(&mut world, &plan, seed, usize::MAX, |before, action| {
                let Action::StartContainer { container } = action else { return };
                let record = &before.containers[container].record;
                // What only follows a replacement comes back to what it was: nobody asked for what it depends on.
                let Some(service) = stack.services.get(&record.service).filter(|_| asked.contains(&record.service)) else {
                    return;
                };
                for (dependency, edge) in &service.depends_on {
                    let doomed: BTreeSet<String> = plan.steps.iter().filter_map(|step| match &step.action {
                        Action::RemoveContainer { container, .. } => Some(container.clone()),
                        _ => None,
                    }).collect();
                    for (name, other) in before.containers.iter().filter(|(_, c)| c.record.service == *dependency) {
                        let met = match edge.condition {
                            Condition::Started => other.state != State::Created,
                            Condition::Healthy => other.state == State::Running { health: Health::Healthy },
                            Condition::CompletedSuccessfully => matches!(other.state, State::Exited { code: 0, .. }),
                        };
                        assert!(met || doomed.contains(name), "{container} before {name} ({:?})\n{plan:#}", other.state);
                    }
                }
            });
        }
    }

    #[test]
    fn only_dependents_of_a_failed_step_are_skipped(case in cases(), fail: prop::sample::Index) {
        let (world, request) = case.world();
        let plan = world.answer(&request);
        prop_assume!(!plan.is_empty());
        let failing = &plan.steps[fail.index(plan.steps.len())];
        let mut progress = Progress::new(&plan);
        loop {
            let ready = progress.ready();
            if ready.is_empty() {
                break;
            }
            for id in ready {
                if id == failing.id { progress.failed(id); } else { progress.done(id); }
            }
        }
        prop_assert!(progress.is_finished());
        let optional = matches!(failing.action, Action::Await { required: false, .. });
        let mut lost = BTreeSet::from([failing.id]);
        for step in &plan.steps {
            let hit = !optional && step.after.iter().any(|before| lost.contains(before));
            if hit {
                lost.insert(step.id);
            }
            let expected = if step.id == failing.id { StepState::Failed } else if hit { StepState::Skipped } else { StepState::Done };
            prop_assert_eq!(progress.state(step.id), expected);
        }
    }

    #[test]
    fn any_time_and_any_project_give_a_plan(case in cases(), now: i64) {
        let (world, request) = case.world();
        let _ = plan(&world.desired, &world.observed, &request, hoist_object::Timestamp(now));
        let unknown = hoist_scheduler::Desired::unknown("app");
        let _ = plan(&unknown, &world.observed, &request, hoist_object::Timestamp(now)).to_string();
    }
}
