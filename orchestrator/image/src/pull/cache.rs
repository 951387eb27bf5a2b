//! What a registry has under a reference as a build cache: records of their own, or an image that carries some. The
//! policy that says which images may be pulled says so here too.

use std::sync::Arc;

use super::{Pull, PullError};
use crate::cache::CacheDocument;
use crate::manifest::{Descriptor, Manifest, ManifestError};
use crate::registry::{Registry, RepositoryAction};
use crate::{Digest, ImageConfig};

pub(crate) struct RemoteCache {
    pub(crate) registry: Arc<Registry>,
    pub(crate) document: CacheDocument,
    pub(crate) layers: Vec<Descriptor>,
}

impl Pull<'_> {
    /// No layer crosses.
    pub(crate) async fn cache(&self) -> Result<RemoteCache, PullError> {
        let rules = self.rules()?;
        let registry = Registry::open(self.reference, &self.options.access, RepositoryAction::Pull);
        let registry = Arc::new(registry.map_err(|error| self.registry(error))?);
        let target = self.reference.target();
        let (bytes, delivered) = self
            .manifest(&registry, &target, self.reference.digest())
            .await?;
        let answered = Digest::of(&bytes);
        if let Some((config, layers)) =
            Manifest::cache(&bytes).map_err(|error| self.manifest_error(error))?
        {
            if let Some(rules) = rules {
                self.check_signature(&registry, &rules, &[answered]).await?;
            }
            let records = self.config(&registry, &config).await?;
            return Ok(RemoteCache {
                registry,
                document: CacheDocument::Records(records),
                layers,
            });
        }
        let found = self.resolved(&registry, bytes, &delivered).await?;
        if let Some(rules) = rules {
            self.check_signatures(&registry, &rules, &found).await?;
        }
        let image = found
            .images
            .into_iter()
            .next()
            .ok_or_else(|| self.no_images())?;
        let config = self.config(&registry, &image.config).await?;
        self.check_config(&config, &image)?;
        let config: ImageConfig = serde_json::from_slice(&config)
            .map_err(|error| self.manifest_error(ManifestError::Config(error)))?;
        Ok(RemoteCache {
            registry,
            document: CacheDocument::Image(Box::new(config)),
            layers: image.layers,
        })
    }
}
