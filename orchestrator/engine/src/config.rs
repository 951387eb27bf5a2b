//! Where an engine lives, and when it leaves.

use std::path::PathBuf;
use std::time::Duration;

use hoist_api::places::{DEFAULT_DATA_ROOT, Places};
use sha2::{Digest, Sha256};

#[derive(Debug, Clone)]
pub struct EngineConfig {
    pub data_root: PathBuf,
    pub run_dir: PathBuf,
    pub socket: PathBuf,
    /// Leave after this long without anything to supervise; `None`: stay.
    pub idle_exit: Option<Duration>,
}

impl EngineConfig {
    pub const IDLE_EXIT: Duration = Duration::from_secs(60);

    pub fn new(places: Places) -> Self {
        let Places {
            data_root,
            run_dir,
            socket,
        } = places;
        Self {
            data_root,
            run_dir,
            socket,
            idle_exit: Some(Self::IDLE_EXIT),
        }
    }

    /// Where an engine that runs in the background writes its log.
    pub fn log_file(&self) -> PathBuf {
        self.data_root.join("engine.log")
    }

    pub(crate) fn places(&self) -> Places {
        Places {
            data_root: self.data_root.clone(),
            run_dir: self.run_dir.clone(),
            socket: self.socket.clone(),
        }
    }

    /// Distinguishes this engine's kernel objects from those of another engine on the host; empty for the default root.
    pub(crate) fn instance(&self) -> String {
        if self.data_root.as_os_str() == DEFAULT_DATA_ROOT {
            return String::new();
        }
        let digest = Sha256::digest(self.data_root.as_os_str().as_encoded_bytes());
        hex::encode(&digest[..4])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_default_root_has_plain_names() {
        let instance = |data_root: &str| {
            let places = Places {
                data_root: data_root.into(),
                run_dir: "/run/x".into(),
                socket: "/run/x/sock".into(),
            };
            EngineConfig::new(places).instance()
        };
        assert_eq!(instance(DEFAULT_DATA_ROOT), "");
        assert_eq!(instance("/tmp/x").len(), 8);
    }
}
