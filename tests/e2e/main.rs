//! End-to-end scenarios: the real binary, real images, the real kernel, an engine of its own per scenario.
//!
//! Every scenario ends with [`world::World::finish`], which takes the stack down and checks that nothing is left on the
//! host. Each has a network namespace of its own, so they run side by side. Without root they are skipped, and say so.

mod adoption;
mod api;
mod attributes;
mod bad_input;
mod beside_docker;
mod build_attributes;
mod build_context;
mod build_debug;
mod build_interrupt;
mod build_network;
mod build_output;
mod build_screen;
mod caches;
mod campaign;
mod conformance;
mod copies;
mod crash;
mod cuts;
mod dependencies;
mod distribution;
mod effects;
mod elsewhere;
mod example;
mod failures;
mod faults;
mod habits;
mod host;
mod images;
mod lan;
mod lifecycle;
mod listing;
mod lock;
mod login;
mod looking;
mod malformed;
mod namespaces;
mod network;
mod peers;
mod platforms;
mod power;
mod proxy;
mod push;
mod recovery;
mod registry;
mod requests;
mod service;
mod streams;
mod taking_down;
mod terminal;
mod transfer;
mod volumes;
mod volumes_elsewhere;
mod world;
