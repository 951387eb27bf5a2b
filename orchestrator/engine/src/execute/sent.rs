//! From what travels to what is worked with, and back: credentials, and what a build tells.

use std::collections::BTreeMap;

use hoist_api::{BuildEvent, OutputStream, RegistryAuth};

pub(crate) fn build_event(event: hoist_build::BuildEvent) -> BuildEvent {
    use hoist_build::BuildEvent as Told;
    match event {
        Told::Warning { text } => BuildEvent::Warning { text },
        Told::Started { step, name } => BuildEvent::Started { step, name },
        Told::Cached { step, name } => BuildEvent::Cached { step, name },
        Told::Output {
            step,
            stream,
            at,
            line,
        } => {
            let stream = match stream {
                hoist_build::OutputStream::Stdout => OutputStream::Stdout,
                hoist_build::OutputStream::Stderr => OutputStream::Stderr,
            };
            BuildEvent::Output {
                step,
                stream,
                at,
                line,
            }
        }
        Told::Transfer {
            step,
            item,
            status,
            current,
            total,
        } => BuildEvent::Transfer {
            step,
            item,
            status,
            current,
            total,
        },
        Told::Done { step, took } => BuildEvent::Done { step, took },
        Told::Failed { step, error } => BuildEvent::Failed { step, error },
    }
}

pub fn credentials(sent: RegistryAuth) -> hoist_image::RegistryAuth {
    let RegistryAuth {
        username,
        password,
        identity_token,
        registry_token,
        server_address,
        trouble,
    } = sent;
    hoist_image::RegistryAuth {
        username,
        password,
        identity_token,
        registry_token,
        server_address,
        trouble,
    }
}

pub fn all_credentials(
    sent: BTreeMap<String, RegistryAuth>,
) -> BTreeMap<String, hoist_image::RegistryAuth> {
    sent.into_iter()
        .map(|(registry, auth)| (registry, credentials(auth)))
        .collect()
}
