//! Reading, checking and printing a stack file; no engine has a part in it.

use std::fmt::Write as _;

use anyhow::Result;

use super::{ROUNDS, Tool};
use crate::report::{Case, Measured, Unit};

/// A usual stack, and one of about a megabyte.
pub(super) const SERVICES: [usize; 2] = [20, 4000];

pub(super) fn measure(tools: &[Tool<'_>], services: usize) -> Result<Case> {
    let mut case = Case {
        title: format!("`config`, {services} services"),
        unit: Unit::Seconds,
        measured: tools.iter().map(|tool| Measured::new(tool.name)).collect(),
    };
    // The large one takes the peers seconds each time.
    let rounds = if services > 1000 { 3 } else { ROUNDS };
    for round in 0..=rounds {
        for (index, tool) in tools.iter().enumerate() {
            let seconds = tool.timed(&stack_name(services), &["config"])?;
            if round > 0 {
                case.measured[index].values.push(seconds);
            }
        }
    }
    Ok(case)
}

pub(super) fn stack_name(services: usize) -> String {
    format!("config-{services}.yaml")
}

/// As people write them: short forms, variables, a volume, a dependency.
pub(super) fn stack(services: usize) -> String {
    let mut text = format!("name: config{services}\nservices:\n");
    for number in 0..services {
        let _ = write!(
            text,
            "  service-{number}:\n    image: registry.example/app/part:${{TAG:-1.{}}}\n    restart: unless-stopped\n    \
             environment:\n      - MODE=production\n      - DATABASE=postgres://db/app\n    ports: [\"{}:80\"]\n    \
             volumes: [\"data:/var/lib/app\"]\n",
            number % 40,
            10_000 + number
        );
        if number > 0 {
            text.push_str("    depends_on: [service-0]\n");
        }
    }
    text.push_str("volumes:\n  data: {}\n");
    text
}
