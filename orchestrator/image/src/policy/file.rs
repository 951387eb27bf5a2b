//! The form of `policy.json`. An unknown key is an error, so a typo cannot weaken a rule.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::certificate::Authority;
use super::identity::Identity;
use super::key::Key;
use crate::Reference;

/// Why `policy.json` cannot be used, or why it does not allow an image.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("reading {path}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path}:{}:{}: {source}", .source.line(), .source.column())]
    Json {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("{path}: {scope}: {reason}")]
    Rule {
        path: PathBuf,
        scope: String,
        reason: String,
    },
}

#[derive(Debug, Clone)]
pub(super) struct File {
    default: Vec<Requirement>,
    /// Of the `docker` transport, by scope.
    docker: BTreeMap<String, Vec<Requirement>>,
}

#[derive(Debug, Clone)]
pub(super) enum Requirement {
    InsecureAcceptAnything,
    Reject,
    /// GPG; known, not checked by hoist.
    SignedBy,
    SigstoreSigned(Box<SigstoreSigned>),
}

#[derive(Debug, Clone)]
pub(super) struct SigstoreSigned {
    /// One of them must have signed; empty with an authority instead.
    pub keys: Vec<Key>,
    pub authority: Option<Authority>,
    /// Of the transparency log; without keys no entry of a log is needed.
    pub rekor: Vec<Key>,
    pub identity: Identity,
    /// A form of trust that hoist does not know.
    pub pki: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyDocument {
    default: Vec<Rule>,
    #[serde(default)]
    transports: BTreeMap<String, BTreeMap<String, Vec<serde_json::Value>>>,
}

#[derive(Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
enum Rule {
    #[serde(rename = "insecureAcceptAnything")]
    InsecureAcceptAnything {},
    #[serde(rename = "reject")]
    Reject {},
    #[serde(rename = "signedBy")]
    #[serde(rename_all = "camelCase")]
    SignedBy {
        #[serde(rename = "keyType")]
        _key_type: String,
        #[serde(rename = "keyPath")]
        _key_path: Option<String>,
        #[serde(rename = "keyPaths")]
        _key_paths: Option<Vec<String>>,
        #[serde(rename = "keyData")]
        _key_data: Option<String>,
        #[serde(rename = "signedIdentity")]
        _signed_identity: Option<Identity>,
    },
    #[serde(rename = "sigstoreSigned")]
    SigstoreSigned(Box<SignedRule>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SignedRule {
    key_path: Option<PathBuf>,
    key_paths: Option<Vec<PathBuf>>,
    key_data: Option<String>,
    key_datas: Option<Vec<String>>,
    fulcio: Option<Fulcio>,
    rekor_public_key_path: Option<PathBuf>,
    rekor_public_key_paths: Option<Vec<PathBuf>>,
    rekor_public_key_data: Option<String>,
    rekor_public_key_datas: Option<Vec<String>>,
    #[serde(default)]
    signed_identity: Identity,
    pki: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Fulcio {
    ca_path: Option<PathBuf>,
    ca_data: Option<String>,
    oidc_issuer: String,
    subject_email: String,
}

/// Where a key or certificate is: in files, or in the policy itself as base64.
struct Material<'a> {
    paths: Vec<&'a PathBuf>,
    data: Vec<&'a String>,
}

impl Material<'_> {
    fn given(&self) -> usize {
        self.paths.len() + self.data.len()
    }

    /// Contents; `name` is for the error.
    fn read(&self) -> Result<Vec<Vec<u8>>, String> {
        use base64::Engine as _;
        let files = self.paths.iter().map(|path| {
            std::fs::read(path).map_err(|error| format!("reading {}: {error}", path.display()))
        });
        let inline = self.data.iter().map(|text| {
            base64::engine::general_purpose::STANDARD
                .decode(text)
                .map_err(|error| format!("key data: {error}"))
        });
        files.chain(inline).collect()
    }
}

impl File {
    pub(super) fn read(path: &Path) -> Result<Self, PolicyError> {
        let bytes = std::fs::read(path).map_err(|source| PolicyError::Read {
            path: path.to_owned(),
            source,
        })?;
        let json = |source| PolicyError::Json {
            path: path.to_owned(),
            source,
        };
        let written: PolicyDocument = serde_json::from_slice(&bytes).map_err(json)?;
        let rules = |scope: &str, rules: Vec<Rule>| {
            if rules.is_empty() {
                return Err(("it lists no requirement".to_owned(), scope.to_owned()));
            }
            let requirements: Result<Vec<_>, String> =
                rules.into_iter().map(Requirement::try_from).collect();
            requirements.map_err(|reason| (reason, scope.to_owned()))
        };
        let wrong = |(reason, scope)| PolicyError::Rule {
            path: path.to_owned(),
            scope,
            reason,
        };
        let default = rules("default", written.default).map_err(wrong)?;
        let mut docker = BTreeMap::new();
        // Rules of other transports are for other programs.
        for (scope, values) in written.transports.get("docker").into_iter().flatten() {
            let parsed: Result<Vec<Rule>, _> = values
                .iter()
                .map(|value| serde_json::from_value(value.clone()))
                .collect();
            let parsed = parsed.map_err(|error| wrong((error.to_string(), scope.clone())))?;
            docker.insert(scope.clone(), rules(scope, parsed).map_err(wrong)?);
        }
        Ok(Self { default, docker })
    }

    /// The most specific scope that holds the image: itself, its repository, each namespace above, its host, a
    /// wildcard for its domain, the transport's default, and the default of all.
    pub(super) fn requirements(&self, reference: &Reference) -> (String, &[Requirement]) {
        for scope in scopes(reference) {
            if let Some(requirements) = self.docker.get(&scope) {
                return (scope, requirements);
            }
        }
        ("default".to_owned(), &self.default)
    }
}

fn scopes(reference: &Reference) -> Vec<String> {
    let host = reference.registry();
    let repository = format!("{host}/{}", reference.repository());
    let own = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => format!("{repository}@{digest}"),
        (None, tag) => format!("{repository}:{}", tag.unwrap_or("latest")),
    };
    let mut scopes = vec![own];
    let mut rest = repository.as_str();
    loop {
        scopes.push(rest.to_owned());
        match rest.rsplit_once('/') {
            Some((above, _)) => rest = above,
            None => break,
        }
    }
    // `*.example.com` for every host below it; a port is not part of the name.
    let name = host.split(':').next().unwrap_or(host);
    let labels: Vec<&str> = name.split('.').collect();
    scopes.extend((1..labels.len()).map(|first| format!("*.{}", labels[first..].join("."))));
    scopes.push(String::new());
    scopes
}

impl TryFrom<Rule> for Requirement {
    type Error = String;

    fn try_from(rule: Rule) -> Result<Self, String> {
        let rule = match rule {
            Rule::InsecureAcceptAnything {} => return Ok(Self::InsecureAcceptAnything),
            Rule::Reject {} => return Ok(Self::Reject),
            Rule::SignedBy { .. } => return Ok(Self::SignedBy),
            Rule::SigstoreSigned(rule) => rule,
        };
        let keys = keys(
            &rule.key_path,
            &rule.key_paths,
            &rule.key_data,
            &rule.key_datas,
            "key",
        )?;
        let rekor = self::keys(
            &rule.rekor_public_key_path,
            &rule.rekor_public_key_paths,
            &rule.rekor_public_key_data,
            &rule.rekor_public_key_datas,
            "rekorPublicKey",
        )?;
        let pki = rule.pki.is_some();
        let authority = match &rule.fulcio {
            Some(fulcio) => Some(fulcio.authority()?),
            None => None,
        };
        match (keys.len(), &authority) {
            (0, None) if !pki => return Err("it names neither a key nor fulcio".to_owned()),
            (1.., Some(_)) => {
                return Err("it names keys and fulcio; only one of them may be".to_owned());
            }
            (_, Some(_)) if rekor.is_empty() => {
                return Err("fulcio needs a rekorPublicKey beside it".to_owned());
            }
            _ => {}
        }
        Ok(Self::SigstoreSigned(Box::new(SigstoreSigned {
            keys,
            authority,
            rekor,
            identity: rule.signed_identity,
            pki,
        })))
    }
}

fn keys(
    path: &Option<PathBuf>,
    paths: &Option<Vec<PathBuf>>,
    data: &Option<String>,
    datas: &Option<Vec<String>>,
    name: &str,
) -> Result<Vec<Key>, String> {
    let ways = [
        path.is_some(),
        paths.is_some(),
        data.is_some(),
        datas.is_some(),
    ];
    if ways.iter().filter(|given| **given).count() > 1 {
        return Err(format!(
            "only one of {name}Path, {name}Paths, {name}Data and {name}Datas may be given"
        ));
    }
    let material = Material {
        paths: path.iter().chain(paths.iter().flatten()).collect(),
        data: data.iter().chain(datas.iter().flatten()).collect(),
    };
    if ways.contains(&true) && material.given() == 0 {
        return Err(format!("{name}Paths and {name}Datas must not be empty"));
    }
    material
        .read()?
        .iter()
        .map(|bytes| Key::from_pem(bytes))
        .collect()
}

impl Fulcio {
    fn authority(&self) -> Result<Authority, String> {
        let material = Material {
            paths: self.ca_path.iter().collect(),
            data: self.ca_data.iter().collect(),
        };
        if material.given() != 1 {
            return Err("fulcio needs one of caPath and caData".to_owned());
        }
        Authority::new(
            &material.read()?.concat(),
            &self.oidc_issuer,
            &self.subject_email,
        )
    }
}
