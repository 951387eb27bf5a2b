//! A container's healthcheck: how it is run, what each run gave, and where it stands.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// No healthcheck.
    None,
    Starting,
    Healthy,
    Unhealthy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    pub interval: Duration,
    pub timeout: Duration,
    pub retries: u32,
    pub start_period: Duration,
    pub start_interval: Duration,
}

impl Default for Timing {
    /// Docker's.
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(30),
            retries: 3,
            start_period: Duration::ZERO,
            start_interval: Duration::from_secs(5),
        }
    }
}

/// The healthcheck of a container: what its configuration and its image say together.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthPlan {
    /// `CMD` or `CMD-SHELL` first, as in images.
    pub test: Vec<String>,
    pub timing: Timing,
}

impl HealthPlan {
    pub fn argv(&self, shell: Option<&[String]>) -> Vec<String> {
        let rest = self.test.get(1..).unwrap_or_default();
        if self.test.first().is_none_or(|kind| kind != "CMD-SHELL") {
            return rest.to_vec();
        }
        let shell = shell.map_or_else(
            || vec!["/bin/sh".to_owned(), "-c".to_owned()],
            <[String]>::to_vec,
        );
        shell.into_iter().chain(rest.iter().cloned()).collect()
    }
}

/// Where a running healthcheck stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub status: Health,
    pub failing_streak: u32,
    pub started: Timestamp,
    /// When to run the next probe.
    pub next: Timestamp,
}

/// One run of the test, as the decision about it sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    pub began: Timestamp,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    /// Exit code other than 0, or it could not be run.
    Failed,
    TimedOut,
}

/// The same run, as people see it. Wall time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProbeRecord {
    pub start: Timestamp,
    pub end: Timestamp,
    pub exit_code: i32,
    pub output: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_tests_use_the_images_shell() {
        let plan = HealthPlan {
            test: vec!["CMD-SHELL".into(), "true".into()],
            timing: Timing::default(),
        };
        assert_eq!(plan.argv(None), ["/bin/sh", "-c", "true"]);
        assert_eq!(
            plan.argv(Some(&["/bin/bash".into(), "-ec".into()])),
            ["/bin/bash", "-ec", "true"]
        );
        let direct = HealthPlan {
            test: vec!["CMD".into(), "true".into()],
            timing: Timing::default(),
        };
        assert_eq!(direct.argv(Some(&["/bin/bash".into()])), ["true"]);
    }
}
