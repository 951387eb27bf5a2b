//! Plans as text, by theme. `UPDATE_EXPECT=1 cargo test -p hoist-scheduler` rewrites them; read the difference.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../world/mod.rs"]
mod world;

mod addresses;
mod dependencies;
mod frontier;
mod images;
mod lifecycle;
mod networks;
mod ports;
mod recreate;
mod run;
mod scale;
mod supervise;
mod teardown;
mod up;
mod volumes;

use expect_test::Expect;
use hoist_scheduler::Plan;

/// With the numbers of steps and of those they come after.
fn check(plan: &Plan, expected: Expect) {
    expected.assert_eq(&format!("{plan:#}"));
}
