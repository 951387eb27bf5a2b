//! Where an engine lives: data root, run directory, socket.

use std::path::PathBuf;

pub const DEFAULT_DATA_ROOT: &str = "/var/lib/hoist";
const DEFAULT_RUN_DIR: &str = "/run/hoist";

#[derive(Debug, thiserror::Error)]
pub enum PlacesError {
    #[error("host {host:?} is not supported: give the path of a socket or unix:///path")]
    Host { host: String },
    #[error("{name} must be an absolute path, not {value:?}")]
    Relative { name: &'static str, value: String },
}

/// The places of one engine; several engines live side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    pub data_root: PathBuf,
    pub run_dir: PathBuf,
    pub socket: PathBuf,
}

impl Places {
    /// From `-H`, then `HOIST_HOST`, `HOIST_DATA_ROOT` and `HOIST_RUN_DIR`.
    pub fn from_env(host: Option<&str>) -> Result<Self, PlacesError> {
        let var = |name| {
            std::env::var(name)
                .ok()
                .filter(|value: &String| !value.is_empty())
        };
        Self::resolve(
            host.map(str::to_owned).or_else(|| var("HOIST_HOST")),
            var("HOIST_DATA_ROOT"),
            var("HOIST_RUN_DIR"),
        )
    }

    fn resolve(
        host: Option<String>,
        data_root: Option<String>,
        run_dir: Option<String>,
    ) -> Result<Self, PlacesError> {
        let absolute = |name, value: String| {
            let path = PathBuf::from(&value);
            if path.is_absolute() {
                Ok(path)
            } else {
                Err(PlacesError::Relative { name, value })
            }
        };
        let data_root = absolute(
            "HOIST_DATA_ROOT",
            data_root.unwrap_or_else(|| DEFAULT_DATA_ROOT.to_owned()),
        )?;
        let run_dir = absolute(
            "HOIST_RUN_DIR",
            run_dir.unwrap_or_else(|| DEFAULT_RUN_DIR.to_owned()),
        )?;
        let socket = match host {
            None => run_dir.join("hoist.sock"),
            Some(host) => {
                let path = host.strip_prefix("unix://").unwrap_or(&host);
                if path.contains("://") {
                    return Err(PlacesError::Host { host });
                }
                absolute("HOIST_HOST", path.to_owned())?
            }
        };
        Ok(Self {
            data_root,
            run_dir,
            socket,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(host: &str) -> Result<Places, PlacesError> {
        Places::resolve(Some(host.to_owned()), None, None)
    }

    #[test]
    fn host_is_a_path_or_a_unix_url() {
        assert_eq!(
            resolve("unix:///tmp/a.sock").unwrap().socket,
            PathBuf::from("/tmp/a.sock")
        );
        assert_eq!(
            resolve("/tmp/a.sock").unwrap().socket,
            PathBuf::from("/tmp/a.sock")
        );
        assert!(resolve("tcp://1.2.3.4:1").is_err());
        assert!(resolve("a.sock").is_err());
    }
}
