//! `--cache-from` and `--cache-to`, as docker buildx writes them.

use hoist_spec::cache::{CacheError, CachePlace, CacheSource, CacheTarget};
use hoist_spec::model::Stack;

use crate::ctx::Ctx;
use crate::error::{Failure, Result};

#[derive(Debug, Default, clap::Args)]
pub(crate) struct CacheArgs {
    /// Take steps from a cache: IMAGE, type=registry,ref=NAME or type=local,src=FOLDER (can be repeated)
    #[arg(long, value_name = "CACHE")]
    cache_from: Vec<String>,
    /// Keep steps in a cache: type=registry,ref=NAME[,mode=max], type=local,dest=FOLDER[,mode=max] or type=inline (can be
    /// repeated)
    #[arg(long, value_name = "CACHE")]
    cache_to: Vec<String>,
}

impl CacheArgs {
    pub(crate) fn from(&self, ctx: &Ctx) -> Result<Vec<String>> {
        given(ctx, "--cache-from", &self.cache_from, |text| {
            CacheSource::parse(text).map(drop)
        })
    }

    pub(crate) fn to(&self, ctx: &Ctx) -> Result<Vec<String>> {
        given(ctx, "--cache-to", &self.cache_to, |text| {
            CacheTarget::parse(text).map(drop)
        })
    }

    /// One place cannot hold the caches of several images: the last one written would be all that is there.
    pub(crate) fn fits(
        &self,
        stack: &Stack,
        services: &[String],
        with_dependencies: bool,
    ) -> Result<()> {
        let placed = |text: &&String| {
            CacheTarget::parse(text).is_ok_and(|target| target.place != CachePlace::Inline)
        };
        let built = stack
            .services
            .iter()
            .filter(|(_, service)| service.build.is_some());
        let built = built.filter(|(name, _)| {
            with_dependencies || services.is_empty() || services.contains(name)
        });
        match self.cache_to.iter().find(placed) {
            Some(text) if built.count() > 1 => Err(Failure::user(format!(
                "--cache-to {text}: several services are built, and one cache has one image's steps"
            ))
            .hint("name one service, or give each its own `build.cache_to` in the file")),
            _ => Ok(()),
        }
    }
}

fn given(
    ctx: &Ctx,
    option: &str,
    texts: &[String],
    check: fn(&str) -> std::result::Result<(), CacheError>,
) -> Result<Vec<String>> {
    let mut caches = Vec::new();
    // A variable of a script that is not set stands for no cache.
    for text in texts.iter().filter(|text| !text.is_empty()) {
        check(text).map_err(|error| Failure::user(format!("{option} {text}: {error}")))?;
        caches.push(match folder_of(text) {
            None => text.clone(),
            Some(folder) => {
                let absolute = ctx.settings.working_dir.join(&text[folder.clone()]);
                format!(
                    "{}{}{}",
                    &text[..folder.start],
                    absolute.display(),
                    &text[folder.end..]
                )
            }
        });
    }
    Ok(caches)
}

/// Where in a text a folder of this machine is named.
fn folder_of(text: &str) -> Option<std::ops::Range<usize>> {
    if !text.split(',').any(|field| field.trim() == "type=local") {
        return None;
    }
    let mut start = 0;
    for field in text.split(',') {
        for key in ["src=", "dest="] {
            if field.starts_with(key) {
                return Some(start + key.len()..start + field.len());
            }
        }
        start += field.len() + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::folder_of;

    #[test]
    fn the_folder_of_a_local_cache_is_found() {
        let folder = |text: &'static str| folder_of(text).map(|range| &text[range]);
        assert_eq!(folder("type=local,src=./cache,tag=x"), Some("./cache"));
        assert_eq!(folder("dest=../c,type=local"), Some("../c"));
        assert_eq!(folder("type=registry,ref=x"), None);
        assert_eq!(folder("./src=x"), None);
    }
}
