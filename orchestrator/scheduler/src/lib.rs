//! Owns the decision what to do: desired + observed + request → [`Plan`], and the pure decisions beside it (restart,
//! health, addresses, host ports).
//!
//! Must not know: files, sockets, clocks, random numbers, processes, how any action is carried out. [`plan()`] is total:
//! it cannot fail, ask or log, and the same input gives the same bytes.
//!
//! Serde: [`Observed`] and [`Request`] derive it, because the engine carries requests over its socket; everything in a plan that a person sees goes through [`Plan::to_json`] instead.
#![forbid(unsafe_code)]

mod action;
mod apply;
mod desired;
mod digest;
mod graph;
pub mod health;
mod ipam;
mod labels;
mod names;
mod observed;
mod plan;
mod planner;
mod ports;
mod problem;
mod progress;
mod request;
pub mod restart;

pub use action::{
    Action, AnonymousVolume, ContainerSpec, ImageSource, MountPoint, MountSource, NetworkSpec,
    Readiness, VolumeSpec, VolumesFrom,
};
pub use desired::Desired;
pub use digest::volume_hash;
pub use graph::with_dependencies;
pub use ipam::mac;
pub use names::{ImageName, container_name, image_reference, oneoff_name};
pub use observed::{
    Container, HeldPort, Host, Image, Network, Observed, Pool, PortHolder, State, Volume,
};
pub use plan::{Plan, Reason, Step, StepId};
pub use planner::{network_spec, plan, volume_spec};
pub use problem::{Note, Problem};
pub use progress::{Progress, StepState};
pub use request::{
    Build, Create, Down, ImageRemoval, Kill, Pull, PullPolicy, Remove, Request, Restart, Run,
    RunPort, RunVolume, Scale, Services, Start, Stop, Up, Verb,
};
