//! `hoist oci create|start|state|kill|delete`: the OCI runtime command line on a plain bundle, as functions.

use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Create {
    pub id: String,
    /// Folder with `config.json`.
    pub bundle: PathBuf,
    pub pid_file: Option<PathBuf>,
    /// Unix socket that gets the terminal's master end.
    pub console_socket: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum OciError {
    #[error("{0}")]
    Invalid(String),
    #[error("container {0} does not exist")]
    Unknown(String),
    #[error("{attempt}")]
    Io {
        attempt: String,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Launch(#[from] crate::launch::LaunchError),
    #[error(transparent)]
    Runtime(#[from] crate::runtime::RuntimeError),
    #[error(transparent)]
    Shim(#[from] crate::client::ShimError),
}

/// The state folder of the command line (`--root`, default `/run/hoist/oci`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oci {
    pub root: PathBuf,
}

impl Oci {
    /// Sets everything up and stops before the program.
    pub fn create(&self, _request: &Create) -> Result<(), OciError> {
        todo!()
    }

    pub fn start(&self, _id: &str) -> Result<(), OciError> {
        todo!()
    }

    /// The state as the runtime spec's JSON.
    pub fn state(&self, _id: &str) -> Result<String, OciError> {
        todo!()
    }

    /// `signal`: a number or a name, with or without `SIG`.
    pub fn kill(&self, _id: &str, _signal: &str, _all: bool) -> Result<(), OciError> {
        todo!()
    }

    pub fn delete(&self, _id: &str, _force: bool) -> Result<(), OciError> {
        todo!()
    }
}
