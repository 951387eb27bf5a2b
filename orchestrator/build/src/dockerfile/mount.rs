//! `RUN --mount=type=…,key=value,…`
//!
//! Any value may hold variables, so what a mount is can only be said once those are known.

use hoist_object::units;

use super::{FileOwner, Mount, MountKind, Parser, SecretMount, Sharing, SshMount};
use crate::diagnostic::{Diagnostic, Span, Spanned, closest};

const KEYS: [&str; 19] = [
    "type",
    "target",
    "dst",
    "destination",
    "source",
    "src",
    "from",
    "rw",
    "readwrite",
    "ro",
    "readonly",
    "id",
    "sharing",
    "size",
    "required",
    "env",
    "mode",
    "uid",
    "gid",
];

/// The keys of one mount, before its type says what they mean.
#[derive(Debug, Default)]
struct Keys {
    kind: Option<String>,
    target: Option<String>,
    source: Option<String>,
    from: Option<String>,
    id: Option<String>,
    env: Option<String>,
    sharing: Option<Sharing>,
    size: Option<u64>,
    read_only: Option<bool>,
    required: Option<bool>,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
}

impl Parser<'_> {
    /// Without variables, mistakes are found at once.
    pub(super) fn mount(&self, text: &Spanned<String>) -> Result<Mount, Diagnostic> {
        let fields =
            text.value
                .split(',')
                .map(str::trim)
                .map(|field| match field.split_once('=') {
                    Some((key, value)) => (key.to_lowercase(), Some(value.to_owned())),
                    None => (field.to_lowercase(), None),
                });
        let fields: Vec<_> = fields.collect();
        let from = fields
            .iter()
            .find(|(key, _)| key == "from")
            .and_then(|(_, value)| value.clone());
        if from.as_ref().is_some_and(|from| from.contains('$')) {
            return Err(Diagnostic::error(
                text.span,
                "variables are not expanded in from of a mount",
            )
            .hint("name a stage for it: FROM ${IMAGE} AS name, then from=name"));
        }
        let mount = Mount {
            fields,
            from,
            span: text.span,
        };
        if !text.value.contains('$') {
            mount.kind(&|value| Ok(value.to_owned()))?;
        }
        Ok(mount)
    }
}

impl Mount {
    /// What it is, with its variables expanded.
    pub fn kind(
        &self,
        expand: &dyn Fn(&str) -> Result<String, Diagnostic>,
    ) -> Result<MountKind, Diagnostic> {
        let mut keys = Keys::default();
        for (key, value) in &self.fields {
            let value = value.as_deref().map(expand).transpose()?;
            keys.set(key, value.as_deref(), self.span)?;
        }
        keys.finish(self.span)
    }
}

impl Keys {
    fn set(&mut self, key: &str, value: Option<&str>, span: Span) -> Result<(), Diagnostic> {
        let needed = || {
            let value = value.filter(|value| !value.is_empty()).map(str::to_owned);
            value.ok_or_else(|| Diagnostic::error(span, format!("{key} of a mount needs a value")))
        };
        let switch = || match value {
            None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
            Some(other) => Err(Diagnostic::error(
                span,
                format!("{key} of a mount is true or false, not {other}"),
            )),
        };
        let number = |radix: u32| {
            let text = needed()?;
            u32::from_str_radix(&text, radix).map_err(|_| {
                Diagnostic::error(span, format!("{key} of a mount is a number, not {text}"))
            })
        };
        match key {
            "type" => self.kind = Some(needed()?.to_lowercase()),
            "target" | "dst" | "destination" => self.target = Some(needed()?),
            "source" | "src" => self.source = Some(needed()?),
            "from" => self.from = Some(needed()?),
            "id" => self.id = Some(needed()?),
            // An empty one means the id.
            "env" => self.env = Some(value.unwrap_or_default().to_owned()),
            "rw" | "readwrite" => self.read_only = Some(!switch()?),
            "ro" | "readonly" => self.read_only = Some(switch()?),
            "required" => self.required = Some(switch()?),
            "mode" => self.mode = Some(number(8)?),
            "uid" => self.uid = Some(number(10)?),
            "gid" => self.gid = Some(number(10)?),
            "size" => self.size = Some(bytes(&needed()?, span)?),
            "sharing" => {
                self.sharing = Some(match needed()?.to_lowercase().as_str() {
                    "shared" => Sharing::Shared,
                    "private" => Sharing::Private,
                    "locked" => Sharing::Locked,
                    other => {
                        let message =
                            format!("sharing of a mount is shared, private or locked, not {other}");
                        return Err(Diagnostic::error(span, message));
                    }
                });
            }
            other => {
                let problem = Diagnostic::error(span, format!("unknown key {other:?} of a mount"));
                return Err(match closest(other, KEYS) {
                    Some(known) => problem.hint(format!("did you mean {known}?")),
                    None => problem,
                });
            }
        }
        Ok(())
    }

    fn finish(self, span: Span) -> Result<MountKind, Diagnostic> {
        let kind = self.kind.as_deref().unwrap_or("bind");
        self.misplaced(kind, span)?;
        let read_only = self.read_only == Some(true);
        let source = self.source.clone().unwrap_or_else(|| "/".to_owned());
        // Without one, it is the working directory of the step.
        let target = || self.target.clone().unwrap_or_else(|| ".".to_owned());
        Ok(match kind {
            "bind" => MountKind::Bind {
                target: target(),
                source,
                writable: self.read_only == Some(false),
            },
            "cache" => {
                let (target, owner) = (target(), self.owner(0o755));
                let id = self.id.unwrap_or_else(|| crate::ignore::clean(&target));
                MountKind::Cache {
                    id,
                    target,
                    source,
                    sharing: self.sharing.unwrap_or_default(),
                    read_only,
                    owner,
                }
            }
            "tmpfs" => MountKind::Tmpfs {
                target: target(),
                size: self.size,
                read_only,
            },
            "secret" => MountKind::Secret(self.secret(span)?),
            "ssh" => MountKind::Ssh(SshMount {
                owner: self.owner(0o600),
                id: self.id.unwrap_or_else(|| "default".to_owned()),
                target: self.target,
                required: self.required.unwrap_or(false),
            }),
            other => {
                let problem = Diagnostic::error(span, format!("unknown type {other:?} of a mount"));
                return Err(
                    match closest(other, ["bind", "cache", "tmpfs", "secret", "ssh"]) {
                        Some(known) => problem.hint(format!("did you mean {known}?")),
                        None => problem,
                    },
                );
            }
        })
    }

    fn secret(self, span: Span) -> Result<SecretMount, Diagnostic> {
        let name = |path: &String| path.rsplit('/').next().unwrap_or_default().to_owned();
        let (owner, required) = (self.owner(0o400), self.required.unwrap_or(false));
        let id = self
            .id
            .or(self.source)
            .or_else(|| self.target.as_ref().map(name));
        let Some(id) = id.filter(|id| !id.is_empty()) else {
            return Err(Diagnostic::error(
                span,
                "a mount of type secret needs an id",
            ));
        };
        let env = self
            .env
            .map(|env| if env.is_empty() { id.clone() } else { env });
        let default = env.is_none().then(|| format!("/run/secrets/{}", name(&id)));
        Ok(SecretMount {
            id,
            target: self.target.or(default),
            env,
            required,
            owner,
        })
    }

    fn owner(&self, mode: u32) -> FileOwner {
        FileOwner {
            uid: self.uid.unwrap_or(0),
            gid: self.gid.unwrap_or(0),
            mode: self.mode.unwrap_or(mode),
        }
    }

    /// Keys that mean nothing to a mount of this type.
    fn misplaced(&self, kind: &str, span: Span) -> Result<(), Diagnostic> {
        let looks = ["cache", "secret", "ssh"].as_slice();
        let table = [
            ("mode", self.mode.is_some(), looks),
            ("uid", self.uid.is_some(), looks),
            ("gid", self.gid.is_some(), looks),
            ("size", self.size.is_some(), &["tmpfs"]),
            ("required", self.required.is_some(), &["secret", "ssh"]),
            ("sharing", self.sharing.is_some(), &["cache"]),
            ("env", self.env.is_some(), &["secret"]),
            ("from", self.from.is_some(), &["bind", "cache"]),
            (
                "source",
                self.source.is_some(),
                &["bind", "cache", "secret"],
            ),
        ];
        let wrong = table
            .into_iter()
            .find(|(_, given, kinds)| *given && !kinds.contains(&kind));
        match wrong {
            Some((key, _, kinds)) => Err(Diagnostic::error(
                span,
                format!("a mount of type {kind} has no {key}"),
            )
            .hint(format!("{key} is for mounts of type {}", kinds.join(", ")))),
            None if kind == "secret" && self.source.is_some() && self.id.is_some() => Err(
                Diagnostic::error(span, "a mount of type secret has id or source, not both"),
            ),
            None => Ok(()),
        }
    }
}

/// `64m`, `1g`, `4096`.
fn bytes(text: &str, span: Span) -> Result<u64, Diagnostic> {
    let bytes = units::bytes(text).and_then(|bytes| u64::try_from(bytes).ok());
    bytes.ok_or_else(|| {
        Diagnostic::error(span, format!("invalid size {text}"))
            .hint("a number with k, m or g: size=64m")
    })
}
