//! A stack and a simulated engine for tests: requests are planned and applied to plain data until nothing is left to do.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::time::Duration;

use hoist_object::Timestamp;
use hoist_scheduler::{
    Action, Desired, Down, Image, Observed, Plan, Progress, Request, Services, Up, Verb, plan,
};
use hoist_spec::model::{
    Attachment, Condition, Dependency, HealthTest, Healthcheck, Mount, MountSource, Network, Port,
    Protocol, Service, Volume,
};

#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) desired: Desired,
    pub(crate) observed: Observed,
    seconds: i64,
}

impl World {
    /// A project `app` with its default network and one stored image, `busybox`.
    pub(crate) fn new() -> Self {
        let mut desired = Desired::unknown("app");
        desired.working_dir = "/srv/app".into();
        let network = Network {
            name: "app_default".to_owned(),
            ..Network::default()
        };
        desired.stack.networks.insert("default".to_owned(), network);
        let mut observed = Observed {
            project: "app".to_owned(),
            ..Observed::default()
        };
        observed.images.insert("busybox".into(), image("busybox-1"));
        Self {
            desired,
            observed,
            seconds: 0,
        }
    }

    pub(crate) fn with(mut self, name: &str, change: impl FnOnce(&mut Service)) -> Self {
        self.edit(name, change);
        self
    }

    /// Changes a service of the file, or adds it.
    pub(crate) fn edit(&mut self, name: &str, change: impl FnOnce(&mut Service)) {
        change(
            self.desired
                .stack
                .services
                .entry(name.to_owned())
                .or_insert_with(service),
        );
    }

    pub(crate) fn with_volume(mut self, key: &str) -> Self {
        let volume = Volume {
            name: format!("app_{key}"),
            ..Volume::default()
        };
        self.desired.stack.volumes.insert(key.to_owned(), volume);
        self
    }

    pub(crate) fn with_network(mut self, key: &str, change: impl FnOnce(&mut Network)) -> Self {
        let mut network = Network {
            name: format!("app_{key}"),
            ..Network::default()
        };
        change(&mut network);
        self.desired.stack.networks.insert(key.to_owned(), network);
        self
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.seconds * 1000)
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.seconds += i64::try_from(time.as_secs()).unwrap();
        self.observed.at = self.now();
    }

    /// A new request, one second after the last.
    pub(crate) fn ask(&mut self, verb: Verb) -> Request {
        self.pass(Duration::from_secs(1));
        Request::new(self.now(), verb)
    }

    pub(crate) fn answer(&self, request: &Request) -> Plan {
        plan(&self.desired, &self.observed, request, self.now())
    }

    /// What a request would do, without doing it.
    pub(crate) fn preview(&mut self, verb: Verb) -> Plan {
        let request = self.ask(verb);
        self.answer(&request)
    }

    pub(crate) fn apply(&mut self, plan: &Plan) {
        for step in &plan.steps {
            self.observed.apply(&step.action);
        }
    }

    /// Carries a request out in as many rounds as it takes; returns their plans. A plan that only waits is the end: what
    /// it waits for does not depend on the planner.
    pub(crate) fn rounds(&mut self, request: &Request) -> Vec<Plan> {
        let mut rounds = Vec::new();
        for _ in 0..10 {
            let plan = self.answer(request);
            if plan.is_empty() || !plan.is_sound() {
                return rounds;
            }
            self.apply(&plan);
            if only_waits(&plan) {
                return rounds;
            }
            rounds.push(plan);
        }
        panic!(
            "no end after ten rounds; the last plan is\n{}",
            self.answer(request)
        );
    }

    /// Carries a request out; returns its first plan.
    pub(crate) fn act(&mut self, verb: Verb) -> Plan {
        let request = self.ask(verb);
        let first = self.answer(&request);
        self.rounds(&request);
        first
    }

    pub(crate) fn up(mut self) -> Self {
        let plan = self.act(up());
        assert!(plan.is_sound(), "{plan}");
        self
    }
}

pub(crate) fn only_waits(plan: &Plan) -> bool {
    plan.steps
        .iter()
        .all(|step| matches!(step.action, Action::Await { .. }))
}

pub(crate) fn up() -> Verb {
    Verb::Up(Up::default())
}

pub(crate) fn up_only(names: &[&str]) -> Verb {
    Verb::Up(Up {
        services: services(names),
        ..Up::default()
    })
}

pub(crate) fn down() -> Verb {
    Verb::Down(Down::default())
}

pub(crate) fn services(names: &[&str]) -> Services {
    names.iter().map(|name| (*name).to_owned()).collect()
}

pub(crate) fn image(id: &str) -> Image {
    Image {
        id: format!("sha256:{id}"),
        ..Image::default()
    }
}

pub(crate) fn service() -> Service {
    Service {
        image: Some("busybox".to_owned()),
        replicas: 1,
        attach: true,
        networks: BTreeMap::from([("default".to_owned(), Attachment::default())]),
        ..Service::default()
    }
}

pub(crate) fn needs(service: &mut Service, dependency: &str, condition: Condition) {
    let edge = Dependency {
        condition,
        restart: false,
        required: true,
    };
    service.depends_on.insert(dependency.to_owned(), edge);
}

pub(crate) fn needs_with_restart(service: &mut Service, dependency: &str) {
    let edge = Dependency {
        condition: Condition::Started,
        restart: true,
        required: true,
    };
    service.depends_on.insert(dependency.to_owned(), edge);
}

pub(crate) fn checked(service: &mut Service) {
    let test = HealthTest::Shell("true".to_owned());
    service.healthcheck = Some(Healthcheck {
        test,
        ..Healthcheck::default()
    });
}

pub(crate) fn variable(service: &mut Service, value: &str) {
    service
        .environment
        .insert("VALUE".to_owned(), Some(value.to_owned()));
}

pub(crate) fn publish(
    service: &mut Service,
    published: impl Into<Option<(u16, u16)>>,
    target: u16,
) {
    service.ports.push(Port {
        target,
        published: published.into(),
        host_ip: None,
        protocol: Protocol::Tcp,
        mode: "ingress".to_owned(),
        name: None,
        app_protocol: None,
    });
}

pub(crate) fn mount(service: &mut Service, volume: Option<&str>, target: &str) {
    let source = MountSource::Volume {
        name: volume.map(str::to_owned),
        nocopy: false,
        subpath: None,
    };
    service.mounts.push(Mount {
        target: target.to_owned(),
        read_only: false,
        source,
        consistency: None,
    });
}

/// Drives the frontier, failing the named steps, and returns what was done, failed and skipped, in order.
pub(crate) fn drive(plan: &Plan, fail: impl Fn(&str) -> bool) -> String {
    let mut progress = Progress::new(plan);
    let mut log = String::new();
    loop {
        let ready = progress.ready();
        if ready.is_empty() {
            break;
        }
        for id in ready {
            let text = plan.step(id).unwrap().action.to_string();
            if fail(&text) {
                log.push_str(&format!("failed  {text}\n"));
                for skipped in progress.failed(id) {
                    log.push_str(&format!("skipped {}\n", plan.step(skipped).unwrap().action));
                }
            } else {
                log.push_str(&format!("done    {text}\n"));
                progress.done(id);
            }
        }
    }
    assert!(progress.is_finished());
    log
}
