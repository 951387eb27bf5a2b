//! Notices when somebody else changes the ruleset under us.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirewallEvent {
    /// Our table lost something, or a table that can drop our traffic changed: call `reassert_firewall`.
    Changed,
}

/// Readable (`AsFd`) when there is something; `next` blocks.
#[derive(Debug)]
pub struct FlushWatch {}

impl FlushWatch {
    pub fn next_event(&self) -> std::io::Result<FirewallEvent> {
        todo!()
    }
}
