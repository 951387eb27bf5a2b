//! `RUN --mount=type=…,key=value,…`

use super::{FileOwner, Mount, MountKind, Parser, Sharing};
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
    required: bool,
    mode: Option<u32>,
    uid: u32,
    gid: u32,
}

impl Parser<'_> {
    pub(super) fn mount(&self, text: &Spanned<String>) -> Result<Mount, Diagnostic> {
        let span = text.span;
        let mut keys = Keys::default();
        for field in text.value.split(',') {
            keys.set(field.trim(), span)?;
        }
        let kind = keys.finish(span)?;
        Ok(Mount { kind, span })
    }
}

impl Keys {
    fn set(&mut self, field: &str, span: Span) -> Result<(), Diagnostic> {
        let (key, value) = field.split_once('=').map_or((field, None), |(key, value)| (key, Some(value)));
        let key = key.to_lowercase();
        let needed = || {
            value
                .map(str::to_owned)
                .filter(|value| !value.is_empty())
                .ok_or_else(|| Diagnostic::error(span, format!("{key} of a mount needs a value")))
        };
        let switch = || match value {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(Diagnostic::error(span, format!("{key} of a mount is true or false, not {other}"))),
        };
        let number = |text: &str, radix: u32| {
            u32::from_str_radix(text, radix)
                .map_err(|_| Diagnostic::error(span, format!("{key} of a mount is a number, not {text}")))
        };
        match key.as_str() {
            "type" => self.kind = Some(needed()?),
            "target" | "dst" | "destination" => self.target = Some(needed()?),
            "source" | "src" => self.source = Some(needed()?),
            "from" => self.from = Some(needed()?),
            "id" => self.id = Some(needed()?),
            "env" => self.env = Some(needed()?),
            "rw" | "readwrite" => self.read_only = Some(!switch()?),
            "ro" | "readonly" => self.read_only = Some(switch()?),
            "required" => self.required = switch()?,
            "mode" => self.mode = Some(number(&needed()?, 8)?),
            "uid" => self.uid = number(&needed()?, 10)?,
            "gid" => self.gid = number(&needed()?, 10)?,
            "size" => self.size = Some(bytes(&needed()?, span)?),
            "sharing" => {
                self.sharing = Some(match needed()?.as_str() {
                    "shared" => Sharing::Shared,
                    "private" => Sharing::Private,
                    "locked" => Sharing::Locked,
                    other => {
                        let message = format!("sharing of a mount is shared, private or locked, not {other}");
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
        let owner = |mode: u32| FileOwner { uid: self.uid, gid: self.gid, mode: self.mode.unwrap_or(mode) };
        let target = self
            .target
            .clone()
            .ok_or_else(|| Diagnostic::error(span, format!("a mount of type {kind} needs a target")));
        let source = self.source.clone().unwrap_or_else(|| "/".to_owned());
        Ok(match kind {
            "bind" => {
                MountKind::Bind { target: target?, from: self.from, source, writable: self.read_only == Some(false) }
            }
            "cache" => {
                let target = target?;
                MountKind::Cache {
                    id: self.id.clone().unwrap_or_else(|| target.clone()),
                    target,
                    from: self.from.clone(),
                    source,
                    sharing: self.sharing.unwrap_or_default(),
                    read_only: self.read_only == Some(true),
                    owner: owner(0o755),
                }
            }
            "tmpfs" => MountKind::Tmpfs { target: target?, size: self.size },
            "secret" => {
                let name = |target: &String| target.rsplit('/').next().unwrap_or_default().to_owned();
                let id = self.id.clone().or_else(|| self.target.as_ref().map(name));
                let Some(id) = id.filter(|id| !id.is_empty()) else {
                    return Err(Diagnostic::error(span, "a mount of type secret needs an id"));
                };
                MountKind::Secret {
                    id,
                    target: self.target.clone(),
                    env: self.env.clone(),
                    required: self.required,
                    owner: owner(0o400),
                }
            }
            "ssh" => MountKind::Ssh {
                id: self.id.clone().unwrap_or_else(|| "default".to_owned()),
                target: self.target.clone(),
                required: self.required,
                owner: owner(0o600),
            },
            other => {
                let problem = Diagnostic::error(span, format!("unknown type {other:?} of a mount"));
                return Err(match closest(other, ["bind", "cache", "tmpfs", "secret", "ssh"]) {
                    Some(known) => problem.hint(format!("did you mean {known}?")),
                    None => problem,
                });
            }
        })
    }
}

/// `64m`, `1g`, `4096`.
fn bytes(text: &str, span: Span) -> Result<u64, Diagnostic> {
    let lower = text.to_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match lower[digits.len()..].trim_end_matches("ib").trim_end_matches('b') {
        "" => Some(1),
        "k" => Some(1 << 10),
        "m" => Some(1 << 20),
        "g" => Some(1 << 30),
        _ => None,
    };
    match (digits.parse::<u64>(), factor) {
        (Ok(number), Some(factor)) => Some(number).and_then(|n| n.checked_mul(factor)),
        _ => None,
    }
    .ok_or_else(|| Diagnostic::error(span, format!("invalid size {text}")).hint("a number with k, m or g: size=64m"))
}
