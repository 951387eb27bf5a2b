//! `build --check`: what the checks say, and nothing is pulled or built for it.

use std::sync::Arc;

use crate::error::BuildError;
use crate::execute::Reporter;
use crate::host::Host;
use crate::reading::{Bases, read};
use crate::request::BuildRequest;
use crate::{Diagnostic, SourceFile};

#[derive(Debug, Clone)]
pub struct Checked {
    pub file: Arc<SourceFile>,
    /// In the order of the file.
    pub findings: Vec<Diagnostic>,
}

pub async fn check(request: &BuildRequest, host: &Host) -> Result<Checked, BuildError> {
    let reporter = Reporter::new(Arc::clone(&host.progress));
    let read = read(request, host, &reporter, Bases::Stored).await?;
    Ok(Checked {
        file: read.file,
        findings: read.findings,
    })
}
