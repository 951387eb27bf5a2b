//! `docker-credential-*`: programs that keep credentials, spoken to by a verb, standard input and standard output.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde::{Deserialize, Serialize};

use super::{CredentialsError, RegistryAuth};

/// What a helper answers.
#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username", default)]
    username: String,
    #[serde(rename = "Secret", default)]
    secret: String,
}

/// What a helper is to keep.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Kept<'a> {
    #[serde(rename = "ServerURL")]
    server_url: &'a str,
    username: &'a str,
    secret: &'a str,
}

fn program(helper: &str) -> Result<String, CredentialsError> {
    if helper.is_empty()
        || !helper
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    {
        return Err(CredentialsError::HelperName(helper.to_owned()));
    }
    Ok(format!("docker-credential-{helper}"))
}

/// The servers that a helper knows; none when it cannot say.
pub(super) fn list(helper: &str) -> Vec<String> {
    let Ok(program) = program(helper) else {
        return Vec::new();
    };
    let output = Command::new(program)
        .arg("list")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let servers = output
        .ok()
        .and_then(|output| serde_json::from_slice::<BTreeMap<String, String>>(&output.stdout).ok());
    servers.unwrap_or_default().into_keys().collect()
}

pub(super) fn get(helper: &str, registry: &str) -> Result<Option<RegistryAuth>, CredentialsError> {
    let output = ask(helper, "get", registry.as_bytes())?;
    if !output.status.success() {
        return if is_nothing_there(&output) {
            Ok(None)
        } else {
            Err(failed(helper, registry, &output))
        };
    }
    // The parse error is left out: it may quote the secret.
    let answer: Answer =
        serde_json::from_slice(&output.stdout).map_err(|_| CredentialsError::HelperFailed {
            program: format!("docker-credential-{helper}"),
            registry: registry.to_owned(),
            output: "its answer is not valid JSON".to_owned(),
        })?;
    let mut auth = RegistryAuth {
        server_address: registry.to_owned(),
        ..RegistryAuth::default()
    };
    if answer.username == "<token>" {
        auth.identity_token = answer.secret;
    } else {
        auth.username = answer.username;
        auth.password = answer.secret;
    }
    Ok(Some(auth))
}

pub(super) fn store(
    helper: &str,
    registry: &str,
    auth: &RegistryAuth,
) -> Result<(), CredentialsError> {
    let (username, secret) = match auth.identity_token.as_str() {
        "" => (auth.username.as_str(), auth.password.as_str()),
        token => ("<token>", token),
    };
    let kept = serde_json::to_vec(&Kept {
        server_url: registry,
        username,
        secret,
    })
    .unwrap_or_default();
    let output = ask(helper, "store", &kept)?;
    if output.status.success() {
        Ok(())
    } else {
        Err(failed(helper, registry, &output))
    }
}

/// Whether there was something to forget.
pub(super) fn erase(helper: &str, registry: &str) -> Result<bool, CredentialsError> {
    let output = ask(helper, "erase", registry.as_bytes())?;
    match output.status.success() {
        true => Ok(true),
        false if is_nothing_there(&output) => Ok(false),
        false => Err(failed(helper, registry, &output)),
    }
}

/// The protocol's words for it.
fn is_nothing_there(output: &Output) -> bool {
    String::from_utf8_lossy(&output.stdout).contains("credentials not found")
}

fn failed(helper: &str, registry: &str, output: &Output) -> CredentialsError {
    let said = String::from_utf8_lossy(&output.stdout);
    CredentialsError::HelperFailed {
        program: format!("docker-credential-{helper}"),
        registry: registry.to_owned(),
        output: said.chars().filter(|c| !c.is_control()).take(200).collect(),
    }
}

fn ask(helper: &str, verb: &str, input: &[u8]) -> Result<Output, CredentialsError> {
    let program = program(helper)?;
    let failed = |source| CredentialsError::Helper {
        program: program.clone(),
        source,
    };
    let mut child = Command::new(&program)
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut stdin = child.stdin.take().expect("stdin is piped");
    // A helper that does not read its input says why on its output.
    let _ = stdin.write_all(input);
    drop(stdin);
    child.wait_with_output().map_err(failed)
}
