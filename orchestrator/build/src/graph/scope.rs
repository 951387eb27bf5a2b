//! Which variables an instruction sees: build arguments, platform arguments, ENV, and their precedence.

use std::collections::BTreeMap;

use hoist_image::Platform;

use crate::dockerfile::ArgPair;
use crate::expand;
use crate::{BuildRequest, Diagnostic, Spanned};

/// Build arguments that need no ARG, and that must not change what is cached.
const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Arguments that every FROM knows.
pub(crate) const PLATFORM_ARGS: [&str; 9] = [
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETARCH",
    "TARGETVARIANT",
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDARCH",
    "BUILDVARIANT",
    "TARGETSTAGE",
];

/// What is known before the first stage.
#[derive(Debug, Clone)]
pub(crate) struct Globals {
    pub(super) escape: char,
    /// What the caller gave a value.
    given: BTreeMap<String, String>,
    /// TARGETPLATFORM and its like.
    platform: BTreeMap<String, String>,
    /// ARGs before the first FROM. `None`: declared without a value.
    declared: BTreeMap<String, Option<String>>,
}

impl Globals {
    pub(crate) fn new(
        args: &[ArgPair],
        escape: char,
        request: &BuildRequest,
        platform: &Platform,
        problems: &mut Vec<Diagnostic>,
    ) -> Self {
        let given = request.args.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect();
        let mut globals = Self {
            escape,
            given,
            platform: platform_args(platform, request.target.as_deref()),
            declared: BTreeMap::new(),
        };
        for arg in args {
            let value = match &arg.default {
                _ if globals.given.contains_key(&arg.name.value) => globals.given.get(&arg.name.value).cloned(),
                Some(default) => match globals.expand(default) {
                    Ok(value) => Some(value),
                    Err(problem) => {
                        problems.push(problem);
                        None
                    }
                },
                None => globals.platform.get(&arg.name.value).cloned(),
            };
            globals.declared.insert(arg.name.value.clone(), value);
        }
        globals
    }

    /// With the variables of FROM lines.
    pub(crate) fn expand(&self, word: &Spanned<String>) -> Result<String, Diagnostic> {
        let lookup =
            |name: &str| self.declared.get(name).cloned().flatten().or_else(|| self.platform.get(name).cloned());
        expand::expand(&word.value, self.escape, &lookup)
            .map_err(|error| Diagnostic::error(word.span, error.to_string()))
    }

    /// Arguments that were given and that nobody declares.
    pub(super) fn unused(&self, declared_in_stages: &[String]) -> Vec<String> {
        let used = |name: &String| {
            self.declared.contains_key(name)
                || declared_in_stages.contains(name)
                || self.platform.contains_key(name)
                || PROXIES.contains(&name.as_str())
                // For builders, not for Dockerfiles.
                || name == "SOURCE_DATE_EPOCH"
                || name.starts_with("BUILDKIT_")
        };
        self.given.keys().filter(|name| !used(name)).cloned().collect()
    }

    fn proxies(&self) -> impl Iterator<Item = (&String, &String)> {
        self.given.iter().filter(|(name, _)| PROXIES.contains(&name.as_str()))
    }
}

fn platform_args(platform: &Platform, target: Option<&str>) -> BTreeMap<String, String> {
    let mut args = BTreeMap::new();
    for (side, platform) in [("TARGET", platform), ("BUILD", &Platform::host())] {
        args.insert(format!("{side}PLATFORM"), platform.to_string());
        args.insert(format!("{side}OS"), platform.os.clone());
        args.insert(format!("{side}ARCH"), platform.architecture.clone());
        args.insert(format!("{side}VARIANT"), platform.variant.clone().unwrap_or_default());
    }
    args.insert("TARGETSTAGE".to_owned(), target.unwrap_or("default").to_owned());
    args
}

/// The variables of one stage as its instructions go by.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    /// Declared ARGs, in order of declaration; a child stage inherits them.
    args: Vec<(String, Option<String>)>,
    /// ENV in order, from the base image on.
    pub(super) env: Vec<(String, String)>,
}

impl Scope {
    pub(super) fn from_env(env: &[String]) -> Self {
        let pair = |entry: &String| {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            (name.to_owned(), value.to_owned())
        };
        Self { args: Vec::new(), env: env.iter().map(pair).collect() }
    }

    /// ENV wins over ARG.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let env = self.env.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone());
        env.or_else(|| self.args.iter().find(|(own, _)| own == name).and_then(|(_, value)| value.clone()))
    }

    /// Also an ARG without a value is one.
    pub(super) fn is_declared(&self, name: &str) -> bool {
        self.names().any(|own| own == name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let args = self.args.iter().map(|(name, _)| name.as_str());
        args.chain(self.env.iter().map(|(name, _)| name.as_str()))
    }

    pub(super) fn set_env(&mut self, name: String, value: String) {
        match self.env.iter_mut().find(|(own, _)| *own == name) {
            Some(entry) => entry.1 = value,
            None => self.env.push((name, value)),
        }
    }

    /// An ARG instruction: what the caller gave, else the default, else what is known globally.
    pub(super) fn declare(&mut self, name: String, default: Option<String>, globals: &Globals) {
        let value = globals
            .given
            .get(&name)
            .cloned()
            .or(default)
            .or_else(|| globals.declared.get(&name).cloned().flatten())
            .or_else(|| globals.platform.get(&name).cloned());
        self.args.retain(|(own, _)| *own != name);
        self.args.push((name, value));
    }

    pub(super) fn declared_names(&self) -> impl Iterator<Item = &String> {
        self.args.iter().map(|(name, _)| name)
    }

    pub(super) fn env_lines(&self) -> Vec<String> {
        self.env.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    /// ARGs with a value, that ENV does not hide: part of what a RUN step sees.
    pub(super) fn arg_lines(&self) -> Vec<String> {
        let hidden = |name: &str| self.env.iter().any(|(own, _)| own == name);
        self.args
            .iter()
            .filter(|(name, _)| !hidden(name))
            .filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?)))
            .collect()
    }

    /// Proxy settings that were given and not declared: seen by RUN steps, not by the cache.
    pub(super) fn proxy_lines(&self, globals: &Globals) -> Vec<String> {
        globals
            .proxies()
            .filter(|(name, _)| self.get(name).is_none())
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    }
}
