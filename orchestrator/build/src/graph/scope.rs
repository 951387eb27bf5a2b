//! Which variables an instruction sees: build arguments, platform arguments, ENV, and their precedence.

use std::collections::BTreeMap;
use std::sync::Arc;

use hoist_image::Platform;

use crate::budget::Budget;

use crate::dockerfile::Dockerfile;
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
pub(crate) const PLATFORM_ARGS: [&str; 11] = [
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETOSVERSION",
    "TARGETARCH",
    "TARGETVARIANT",
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDOSVERSION",
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
    budget: Arc<Budget>,
}

impl Globals {
    pub(crate) fn new(
        file: &Dockerfile,
        request: &BuildRequest,
        platform: &Platform,
        problems: &mut Vec<Diagnostic>,
    ) -> Self {
        let given: BTreeMap<_, _> = request
            .args
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), value.clone()?)))
            .collect();
        let last = file
            .stages
            .last()
            .and_then(|stage| stage.name.as_ref())
            .map(|name| name.value.as_str());
        let mut platform = platform_args(platform, request.target.as_deref().or(last));
        // What the caller says is so, also where nothing declares it.
        for (name, value) in &mut platform {
            if let Some(given) = given.get(name) {
                value.clone_from(given);
            }
        }
        let mut globals = Self {
            escape: file.escape,
            given,
            platform,
            declared: BTreeMap::new(),
            budget: Arc::default(),
        };
        for arg in &file.args {
            let value = match &arg.default {
                _ if globals.given.contains_key(&arg.name.value) => {
                    globals.given.get(&arg.name.value).cloned()
                }
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
        let lookup = |name: &str| {
            self.declared
                .get(name)
                .cloned()
                .flatten()
                .or_else(|| self.platform.get(name).cloned())
        };
        expand::expand(&word.value, self.escape, &lookup, &self.budget)
            .map_err(|error| Diagnostic::error(word.span, error.to_string()))
    }

    /// Arguments that were given but not declared.
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
        self.given
            .keys()
            .filter(|name| !used(name))
            .cloned()
            .collect()
    }

    fn proxies(&self) -> impl Iterator<Item = (&String, &String)> {
        self.given
            .iter()
            .filter(|(name, _)| PROXIES.contains(&name.as_str()))
    }
}

fn platform_args(platform: &Platform, target: Option<&str>) -> BTreeMap<String, String> {
    let mut args = BTreeMap::new();
    for (side, platform) in [("TARGET", platform), ("BUILD", &Platform::host())] {
        args.insert(format!("{side}PLATFORM"), platform.to_string());
        args.insert(format!("{side}OS"), platform.os.clone());
        args.insert(format!("{side}OSVERSION"), String::new());
        args.insert(format!("{side}ARCH"), platform.architecture.clone());
        args.insert(
            format!("{side}VARIANT"),
            platform.variant.clone().unwrap_or_default(),
        );
    }
    args.insert(
        "TARGETSTAGE".to_owned(),
        target.unwrap_or("default").to_owned(),
    );
    args
}

/// The variables of one stage as its instructions go by.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    /// Declared ARGs, in order of declaration; a child stage inherits them.
    args: Vec<(String, Option<String>)>,
    /// ENV in order, from the base image on: what the image is given.
    env: Vec<(String, String)>,
    /// What instructions see: of an ENV and an ARG of one name, the later one.
    seen: Vec<(String, String)>,
}

impl Scope {
    pub(super) fn from_env(env: &[String]) -> Self {
        let pair = |entry: &String| {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            (name.to_owned(), value.to_owned())
        };
        let env: Vec<_> = env.iter().map(pair).collect();
        Self {
            args: Vec::new(),
            seen: env.clone(),
            env,
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<String> {
        self.seen
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.clone())
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
        set(&mut self.seen, &name, &value);
        set(&mut self.env, &name, &value);
    }

    /// An ARG instruction: what the caller gave, else the default, else what is known globally. Without any of these, a
    /// value from before stays.
    pub(super) fn declare(&mut self, name: String, default: Option<String>, globals: &Globals) {
        let value = globals
            .given
            .get(&name)
            .cloned()
            .or(default)
            .or_else(|| globals.declared.get(&name).cloned().flatten())
            .or_else(|| globals.platform.get(&name).cloned());
        if let Some(value) = &value {
            set(&mut self.seen, &name, value);
        }
        self.args.retain(|(own, _)| *own != name);
        self.args.push((name, value));
    }

    pub(super) fn declared_names(&self) -> impl Iterator<Item = &String> {
        self.args.iter().map(|(name, _)| name)
    }

    /// Bytes of names and values.
    pub(super) fn size(&self) -> usize {
        let size = |variables: &[(String, String)]| -> usize {
            variables.iter().map(|(n, v)| n.len() + v.len()).sum()
        };
        let args = self
            .args
            .iter()
            .map(|(name, value)| name.len() + value.as_ref().map_or(0, String::len));
        args.sum::<usize>() + size(&self.env) + size(&self.seen)
    }

    /// Of the image.
    pub(super) fn env_lines(&self) -> Vec<String> {
        lines(&self.env)
    }

    /// Of a RUN step.
    pub(super) fn seen_lines(&self) -> Vec<String> {
        lines(&self.seen)
    }

    /// ARGs with a value.
    pub(super) fn arg_lines(&self) -> Vec<String> {
        let with_value = self
            .args
            .iter()
            .filter_map(|(name, value)| Some((name, value.as_ref()?)));
        with_value
            .map(|(name, value)| format!("{name}={value}"))
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

fn set(variables: &mut Vec<(String, String)>, name: &str, value: &str) {
    match variables.iter_mut().find(|(own, _)| own == name) {
        Some(entry) => value.clone_into(&mut entry.1),
        None => variables.push((name.to_owned(), value.to_owned())),
    }
}

fn lines(variables: &[(String, String)]) -> Vec<String> {
    variables
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}
