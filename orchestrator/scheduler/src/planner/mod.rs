//! Owns the planner.

use crate::desired::Desired;
use crate::observed::Observed;
use crate::plan::Plan;
use crate::request::Request;
use crate::time::Timestamp;

/// The difference between what is desired and what is, under what is asked.
pub fn plan(_desired: &Desired, _observed: &Observed, _request: &Request, _now: Timestamp) -> Plan {
    todo!()
}
