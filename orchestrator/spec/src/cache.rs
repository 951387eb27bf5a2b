//! `cache_from` and `cache_to`: texts as docker buildx reads them, as typed values.
//!
//! `REFERENCE`, or `type=KIND` with `KEY=VALUE` pairs behind commas. What hoist cannot do is refused by name: a cache that
//! somebody relies on and that is quietly left out makes every build slow.

use std::fmt;

/// Where steps may have been kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheSource {
    Registry {
        reference: String,
    },
    /// An OCI layout folder.
    Local {
        folder: String,
        tag: Option<String>,
        digest: Option<String>,
    },
}

/// Where steps are to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheTarget {
    pub place: CachePlace,
    /// The layers of every step, not only the result's.
    pub every_step: bool,
    /// A cache that cannot be written is a warning.
    pub ignore_error: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CachePlace {
    /// The image's own configuration.
    Inline,
    Registry {
        reference: String,
    },
    Local {
        folder: String,
        tag: Option<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheError {
    /// Something that is, elsewhere.
    Unsupported(String),
    /// Something that is nowhere.
    Malformed(String),
}

impl fmt::Display for CacheError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported(what) => write!(f, "{what} is not supported yet"),
            Self::Malformed(problem) => f.write_str(problem),
        }
    }
}

impl std::error::Error for CacheError {}

fn wrong(problem: impl Into<String>) -> CacheError {
    CacheError::Malformed(problem.into())
}

impl CacheSource {
    pub fn parse(text: &str) -> Result<Self, CacheError> {
        let mut options = match Options::parse(text)? {
            Form::Reference(reference) => return Ok(Self::Registry { reference }),
            Form::Options(options) => options,
        };
        let source = match options.kind.as_str() {
            "registry" => Self::Registry {
                reference: options.needed("ref")?,
            },
            "local" => Self::Local {
                folder: options.needed("src")?,
                tag: options.take("tag"),
                digest: options.take("digest"),
            },
            "inline" => {
                return Err(wrong(
                    "a cache of type `inline` is in an image: its source is `type=registry,ref=IMAGE`",
                ));
            }
            other => return Err(unknown_kind(other)),
        };
        options.nothing_left()?;
        Ok(source)
    }
}

impl CacheTarget {
    pub fn parse(text: &str) -> Result<Self, CacheError> {
        let mut options = match Options::parse(text)? {
            Form::Reference(reference) => {
                let place = CachePlace::Registry { reference };
                return Ok(Self {
                    place,
                    every_step: false,
                    ignore_error: false,
                });
            }
            Form::Options(options) => options,
        };
        let place = match options.kind.as_str() {
            "inline" => CachePlace::Inline,
            "registry" => CachePlace::Registry {
                reference: options.needed("ref")?,
            },
            "local" => CachePlace::Local {
                folder: options.needed("dest")?,
                tag: options.take("tag"),
            },
            other => return Err(unknown_kind(other)),
        };
        let every_step = match options.take("mode").as_deref() {
            None | Some("min") => false,
            Some("max") if place == CachePlace::Inline => {
                return Err(wrong(
                    "a cache of type `inline` holds the layers of its image: it has no `mode=max`",
                ));
            }
            Some("max") => true,
            Some(other) => return Err(wrong(format!("`mode={other}`: there are `min` and `max`"))),
        };
        let ignore_error = options.flag("ignore-error")?.unwrap_or(false);
        // What hoist writes in any case may be asked for; anything else is not what would be written.
        for (key, written) in [
            ("image-manifest", true),
            ("oci-mediatypes", true),
            ("force-compression", false),
        ] {
            if options.flag(key)?.is_some_and(|wanted| wanted != written) {
                let what = format!(
                    "`{key}={}` (caches are OCI image manifests, layers go as they are)",
                    !written
                );
                return Err(CacheError::Unsupported(what));
            }
        }
        if let Some(other) = options.take("compression").filter(|kind| kind != "gzip") {
            let what =
                format!("`compression={other}` (what was made here is compressed with gzip)");
            return Err(CacheError::Unsupported(what));
        }
        options.nothing_left()?;
        Ok(Self {
            place,
            every_step,
            ignore_error,
        })
    }
}

fn unknown_kind(kind: &str) -> CacheError {
    CacheError::Unsupported(format!(
        "a cache of type `{kind}` (there are `registry`, `inline` and `local`)"
    ))
}

enum Form {
    Reference(String),
    Options(Options),
}

struct Options {
    kind: String,
    pairs: Vec<(String, String)>,
}

impl Options {
    fn parse(text: &str) -> Result<Form, CacheError> {
        let text = text.trim();
        if !text.contains('=') && !text.contains(',') {
            return if text.is_empty() {
                Err(wrong("a cache needs a name"))
            } else {
                Ok(Form::Reference(text.to_owned()))
            };
        }
        let mut pairs: Vec<(String, String)> = Vec::new();
        for field in text.split(',') {
            let pair = field
                .split_once('=')
                .ok_or_else(|| wrong(format!("`{field}` is not KEY=VALUE")))?;
            let key = pair.0.trim().to_ascii_lowercase();
            if pairs.iter().any(|(known, _)| *known == key) {
                return Err(wrong(format!("`{key}` is given twice")));
            }
            pairs.push((key, pair.1.to_owned()));
        }
        let mut options = Self {
            kind: String::new(),
            pairs,
        };
        options.kind = options.needed("type")?;
        Ok(Form::Options(options))
    }

    fn take(&mut self, key: &str) -> Option<String> {
        let index = self.pairs.iter().position(|(known, _)| known == key)?;
        Some(self.pairs.remove(index).1)
    }

    fn needed(&mut self, key: &str) -> Result<String, CacheError> {
        let found = self.take(key).filter(|value| !value.is_empty());
        found.ok_or_else(|| match self.kind.as_str() {
            "" => wrong(format!("`{key}=` is missing")),
            kind => wrong(format!("a cache of type `{kind}` needs `{key}=`")),
        })
    }

    fn flag(&mut self, key: &str) -> Result<Option<bool>, CacheError> {
        match self.take(key).as_deref() {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(other) => Err(wrong(format!(
                "`{key}={other}`: there are `true` and `false`"
            ))),
        }
    }

    fn nothing_left(&self) -> Result<(), CacheError> {
        match self.pairs.first() {
            None => Ok(()),
            Some((key, _)) => Err(CacheError::Unsupported(format!(
                "the option `{key}` of a cache of type `{}`",
                self.kind
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_as_buildx_reads_them() {
        let registry = |reference: &str| {
            Ok(CacheSource::Registry {
                reference: reference.to_owned(),
            })
        };
        assert_eq!(CacheSource::parse("team/app:1"), registry("team/app:1"));
        assert_eq!(
            CacheSource::parse("type=registry,ref=team/app"),
            registry("team/app")
        );
        let local = CacheSource::Local {
            folder: "/c".to_owned(),
            tag: Some("x".to_owned()),
            digest: None,
        };
        assert_eq!(CacheSource::parse("type=local,src=/c,tag=x"), Ok(local));
        for (text, problem) in [
            (
                "type=gha",
                "a cache of type `gha` (there are `registry`, `inline` and `local`) is not supported yet",
            ),
            (
                "type=s3,region=x",
                "a cache of type `s3` (there are `registry`, `inline` and `local`) is not supported yet",
            ),
            ("type=registry", "a cache of type `registry` needs `ref=`"),
            (
                "type=local,src=/c,dest=/d",
                "the option `dest` of a cache of type `local` is not supported yet",
            ),
            (
                "type=inline",
                "a cache of type `inline` is in an image: its source is `type=registry,ref=IMAGE`",
            ),
            ("ref=x", "`type=` is missing"),
            ("type=registry,ref=a,ref=b", "`ref` is given twice"),
            ("a,b", "`a` is not KEY=VALUE"),
        ] {
            assert_eq!(
                CacheSource::parse(text).unwrap_err().to_string(),
                problem,
                "{text}"
            );
        }
    }

    #[test]
    fn targets_are_read_as_buildx_reads_them() {
        let registry = CachePlace::Registry {
            reference: "r".to_owned(),
        };
        let target = |place: &CachePlace, every_step, ignore_error| {
            Ok(CacheTarget {
                place: place.clone(),
                every_step,
                ignore_error,
            })
        };
        assert_eq!(CacheTarget::parse("r"), target(&registry, false, false));
        let text = "type=registry,ref=r,mode=max,ignore-error=true,image-manifest=true,oci-mediatypes=true,compression=gzip";
        assert_eq!(CacheTarget::parse(text), target(&registry, true, true));
        assert_eq!(
            CacheTarget::parse("type=inline"),
            target(&CachePlace::Inline, false, false)
        );
        for (text, word) in [
            ("type=inline,mode=max", "mode=max"),
            ("type=registry,ref=r,mode=all", "mode=all"),
            (
                "type=registry,ref=r,image-manifest=false",
                "image-manifest=false",
            ),
            (
                "type=registry,ref=r,compression=estargz",
                "compression=estargz",
            ),
            (
                "type=registry,ref=r,compression-level=3",
                "compression-level",
            ),
            ("type=azblob,name=x", "azblob"),
        ] {
            let problem = CacheTarget::parse(text).unwrap_err().to_string();
            assert!(problem.contains(word), "{text}: {problem}");
        }
    }
}
