//! What an image is made for, and who can use it.

use std::fmt;
use std::str::FromStr;

/// `os/architecture[/variant]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    pub variant: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a platform (os/architecture or os/architecture/variant)")]
pub struct PlatformError(String);

impl Platform {
    /// The machine that this program was built for.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "aarch64" => ("arm64", Some("v8")),
            "arm" => ("arm", Some("v7")),
            "x86" => ("386", None),
            "powerpc64" => ("ppc64le", None),
            other => (other, None),
        };
        Self {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        }
    }

    /// How well an image for this platform serves who wants `wanted`: 0 is best, `None` not at all.
    pub fn rank(&self, wanted: &Self) -> Option<u32> {
        if self.os != wanted.os || self.architecture != wanted.architecture {
            return None;
        }
        let level = |variant: Option<&str>| match (variant, wanted.architecture.as_str()) {
            (None | Some(""), "arm64") => Some(8),
            (None | Some(""), "arm") => Some(7),
            (None | Some(""), _) => Some(0),
            (Some(variant), _) => variant
                .strip_prefix('v')
                .and_then(|digits| digits.parse::<u32>().ok()),
        };
        let (offered, wanted) = (
            level(self.variant.as_deref())?,
            level(wanted.variant.as_deref())?,
        );
        // A newer machine runs what was made for an older one; amd64 microarchitecture levels work the same way.
        let most = wanted.max(if offered <= 1 { 1 } else { wanted });
        (offered <= most).then(|| most - offered)
    }

    /// Whether this machine's processor runs its programs itself.
    pub fn is_native(&self) -> bool {
        let host = Self::host();
        let also = matches!((&*host.architecture, &*self.architecture), ("amd64", "386"));
        host.os == self.os && (host.architecture == self.architecture || also)
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let valid = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(valid) {
            return Err(PlatformError(text.to_owned()));
        }
        let (os, architecture, variant) = match parts[..] {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => return Err(PlatformError(text.to_owned())),
        };
        let architecture = match architecture {
            "x86_64" | "x86-64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Ok(Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}
