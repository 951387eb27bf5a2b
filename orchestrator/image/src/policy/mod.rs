//! Which images may be pulled: `policy.json` as containers-policy.json(5) describes it.
//!
//! Owns the file's form and the choice of the requirements for an image. Must not know how anything is fetched. Only the
//! `docker` transport matters here. What hoist cannot check is refused by name when an image would need it; it is never
//! passed over.

mod bundle;
mod certificate;
mod file;
mod identity;
mod key;
mod log;
mod signature;

use std::path::{Path, PathBuf};

pub use file::PolicyError;
pub use signature::SignatureError;

use crate::{Digest, Reference};
use file::{File, Requirement};
pub(crate) use signature::{Annotations, Signature};

/// The rules for all images.
#[derive(Debug, Clone)]
pub struct Policy {
    path: PathBuf,
    file: File,
}

/// Why an image may not be pulled.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    #[error("{policy} rejects every image of scope {scope:?}")]
    Rejected { policy: PathBuf, scope: String },
    #[error("{policy} asks for {what} of scope {scope:?}, which hoist cannot check")]
    Unsupported {
        policy: PathBuf,
        scope: String,
        what: &'static str,
    },
    #[error("{policy} asks for a signature of scope {scope:?}, and the image has none")]
    Unsigned { policy: PathBuf, scope: String },
    #[error("{policy} asks for a signature of scope {scope:?}, and none of the image's counts")]
    Signature {
        policy: PathBuf,
        scope: String,
        source: SignatureError,
    },
}

impl Policy {
    /// Reads a policy file; everything in it must be understood.
    pub fn read(path: &Path) -> Result<Self, PolicyError> {
        Ok(Self {
            path: path.to_owned(),
            file: File::read(path)?,
        })
    }

    /// The same where there may be no file: then every image is accepted.
    pub fn find(path: &Path) -> Result<Option<Self>, PolicyError> {
        match Self::read(path) {
            Err(PolicyError::Read { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// What holds for an image: the rules of the most specific scope that it is in.
    pub(crate) fn rules(&self, reference: &Reference) -> Result<Rules<'_>, Denied> {
        let (scope, requirements) = self.file.requirements(reference);
        let policy = || self.path.clone();
        for requirement in requirements {
            match requirement {
                Requirement::Reject => {
                    return Err(Denied::Rejected {
                        policy: policy(),
                        scope,
                    });
                }
                Requirement::SignedBy => {
                    return Err(Denied::Unsupported {
                        policy: policy(),
                        scope,
                        what: "a GPG signature (signedBy)",
                    });
                }
                Requirement::SigstoreSigned(signed) if signed.pki => {
                    return Err(Denied::Unsupported {
                        policy: policy(),
                        scope,
                        what: "a certificate of pki",
                    });
                }
                Requirement::SigstoreSigned(_) | Requirement::InsecureAcceptAnything => {}
            }
        }
        Ok(Rules {
            policy: self,
            scope,
            requirements,
        })
    }
}

/// The requirements for one image; nothing in them rejects it whatever it is.
#[derive(Debug)]
pub(crate) struct Rules<'a> {
    policy: &'a Policy,
    scope: String,
    requirements: &'a [Requirement],
}

impl Rules<'_> {
    pub(crate) fn need_signatures(&self) -> bool {
        self.requirements
            .iter()
            .any(|requirement| matches!(requirement, Requirement::SigstoreSigned(_)))
    }

    /// Every requirement must be met, each by one of the signatures; a signature vouches for one of `digests` (of the
    /// index or of the manifest). Those that cannot be read are there for their reason.
    pub(crate) fn check(
        &self,
        reference: &Reference,
        digests: &[Digest],
        signatures: &[Result<Signature, SignatureError>],
    ) -> Result<(), Denied> {
        let (policy, scope) = (|| self.policy.path.clone(), || self.scope.clone());
        for requirement in self.requirements {
            let Requirement::SigstoreSigned(signed) = requirement else {
                continue;
            };
            let mut last = None;
            let met = signatures.iter().any(|signature| {
                let verified = signature.as_ref().map_err(SignatureError::clone);
                let verified =
                    verified.and_then(|signature| signature.verify(signed, reference, digests));
                verified.map_err(|error| last = Some(error)).is_ok()
            });
            match last {
                _ if met => {}
                None => {
                    return Err(Denied::Unsigned {
                        policy: policy(),
                        scope: scope(),
                    });
                }
                Some(source) => {
                    return Err(Denied::Signature {
                        policy: policy(),
                        scope: scope(),
                        source,
                    });
                }
            }
        }
        Ok(())
    }
}
