//! From the name of a registry to the servers that are asked for it.

use reqwest::{Client, StatusCode, Url};
use tokio::sync::Mutex;

use super::Access;
use super::endpoint::Endpoint;
use super::error::RegistryError;
use super::trust::client;

/// Finds out how a registry is spoken to.
pub(super) async fn endpoint(
    registry: &str,
    repository: &str,
    access: &Access,
    scopes: Vec<String>,
) -> Result<Endpoint, RegistryError> {
    let name = registry.to_owned();
    let host = if name == "docker.io" { "registry-1.docker.io" } else { &name };
    let own_certificate = access.certificates.join(&name).join("ca.crt");
    let insecure = access.insecure.contains(&name);
    let lenient = insecure && !own_certificate.exists();
    let client = client(&name, &own_certificate, lenient)?;
    let base = |scheme: &str| {
        Url::parse(&format!("{scheme}://{host}/")).map_err(|error| RegistryError::Protocol {
            registry: name.clone(),
            reason: format!("its name makes no address: {error}"),
        })
    };
    let secure = base("https")?;
    let plain_allowed = (insecure || is_loopback(&secure)) && !own_certificate.exists();
    let base = if plain_allowed { probe(&client, &name, secure, base("http")?).await? } else { secure };
    Ok(Endpoint {
        client,
        repository: repository.to_owned(),
        base,
        auth: access.auth.get(&name).cloned(),
        scopes,
        authorization: Mutex::new(None),
        name,
    })
}

fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    host == "localhost"
        || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// TLS where the registry speaks it, plain HTTP only where it does not.
async fn probe(client: &Client, name: &str, secure: Url, plain: Url) -> Result<Url, RegistryError> {
    let ask = |base: &Url| {
        let url = base.join("v2/").expect("a constant relative path joins any base");
        client.get(url).send()
    };
    let Err(error) = ask(&secure).await else { return Ok(secure) };
    let error = RegistryError::of(name, error);
    if matches!(error, RegistryError::Refused { .. } | RegistryError::UnknownHost { .. }) {
        return Err(error);
    }
    match ask(&plain).await {
        // Go's servers answer plain HTTP on a TLS port with this status; then the TLS error is the one that matters.
        Ok(response) if response.status() == StatusCode::BAD_REQUEST => Err(error),
        Ok(_) => Ok(plain),
        Err(_) => Err(error),
    }
}
