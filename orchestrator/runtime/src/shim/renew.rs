//! The helper that replaces a mount in a running container.

use std::io;
use std::os::fd::OwnedFd;

use crate::init::{Inheritance, renew};
use crate::wire::{Answer, RenewConfig, Reply, send};

pub(super) fn run(engine: &OwnedFd, inheritance: &Inheritance) -> io::Result<()> {
    let config: RenewConfig = serde_json::from_slice(&inheritance.shim_json()?)?;
    let reply = match renew(&config, inheritance) {
        Ok(()) => Reply::Answer(Answer::Done),
        Err(fault) => Reply::Failed(fault.failure("replace a mount")),
    };
    send(engine, &reply, &[])
}
