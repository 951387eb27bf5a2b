//! The proxies of the engine's environment, as other tools of the field read it.

use reqwest::{NoProxy, Proxy};

/// Never through a proxy, whatever the environment says: a name of this machine means another one there.
const HERE: &str = "localhost,127.0.0.0/8,::1";

/// `HTTP_PROXY` and `HTTPS_PROXY`, each else `ALL_PROXY`, and whom `NO_PROXY` leaves out; in capital or small letters.
/// An error is the name of a variable that holds no address of a proxy.
pub(super) fn of_environment() -> Result<Vec<Proxy>, (&'static str, reqwest::Error)> {
    let direct =
        value("NO_PROXY").map_or_else(|| HERE.to_owned(), |names| format!("{HERE},{names}"));
    let mut proxies = Vec::new();
    for (name, make) in [
        ("HTTP_PROXY", Proxy::http::<String> as fn(String) -> _),
        ("HTTPS_PROXY", Proxy::https),
    ] {
        let (name, address) = match (value(name), value("ALL_PROXY")) {
            (Some(address), _) => (name, address),
            (None, Some(address)) => ("ALL_PROXY", address),
            (None, None) => continue,
        };
        let proxy = make(address).map_err(|error| (name, error))?;
        proxies.push(proxy.no_proxy(NoProxy::from_string(&direct)));
    }
    Ok(proxies)
}

fn value(name: &str) -> Option<String> {
    let read = |name: &str| {
        std::env::var(name)
            .ok()
            .filter(|value| !value.trim().is_empty())
    };
    read(name).or_else(|| read(&name.to_ascii_lowercase()))
}
