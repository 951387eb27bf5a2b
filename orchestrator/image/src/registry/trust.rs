//! Whom a registry's certificate must come from, and the HTTP client that insists on it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, ClientBuilder};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::error::RegistryError;
use super::proxy;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Between two pieces of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const SYSTEM_BUNDLES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// What an administrator put into a host's folder of certs.d.
#[derive(Debug, Default)]
pub(super) struct Trust {
    authorities: Vec<PathBuf>,
    /// Our certificate and its key.
    own: Option<(PathBuf, PathBuf)>,
}

impl Trust {
    /// Reads the first of the folders that knows the host.
    pub(super) fn of_host(host: &str, folders: &[PathBuf]) -> Result<Self, RegistryError> {
        let mut trust = Self::default();
        let Some(folder) = folders
            .iter()
            .map(|folder| folder.join(host))
            .find(|folder| folder.is_dir())
        else {
            return Ok(trust);
        };
        let entries = std::fs::read_dir(&folder).map_err(unusable(host, &folder))?;
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.sort();
        for path in files {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => trust.authorities.push(path),
                Some("cert") => {
                    let key = path.with_extension("key");
                    if !key.exists() {
                        return Err(unusable(host, &path)(io::Error::other(
                            "its key is missing: the same name with .key",
                        )));
                    }
                    trust.own.get_or_insert((path, key));
                }
                _ => {}
            }
        }
        Ok(trust)
    }

    pub(super) fn has_authority(&self) -> bool {
        !self.authorities.is_empty()
    }

    fn identity(&self, name: &str) -> Result<Option<Identity>, RegistryError> {
        let Some((certificate, key)) = &self.own else {
            return Ok(None);
        };
        let read = |path: &Path| std::fs::read(path).map_err(unusable(name, path));
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&read(certificate)?)
            .filter_map(Result::ok)
            .collect();
        let parsed = PrivateKeyDer::from_pem_slice(&read(key)?);
        // The parse error is left out: it may quote the key.
        let parsed =
            parsed.map_err(|_| unusable(name, key)(io::Error::other("it holds no usable key")))?;
        Ok(Some((chain, parsed)))
    }
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn unusable<'a>(registry: &'a str, path: &'a Path) -> impl Fn(io::Error) -> RegistryError + 'a {
    move |source| RegistryError::Certificate {
        registry: registry.to_owned(),
        path: path.display().to_string(),
        source,
    }
}

pub(super) fn client(name: &str, trust: &Trust, lenient: bool) -> Result<Client, RegistryError> {
    let failed = |source| RegistryError::Setup {
        registry: name.to_owned(),
        source,
    };
    builder(name, trust, lenient)?.build().map_err(failed)
}

/// A client for servers that are no registries: the system's authorities, and no redirects of its own.
pub fn web_client() -> Result<ClientBuilder, RegistryError> {
    builder("", &Trust::default(), false)
}

fn builder(name: &str, trust: &Trust, lenient: bool) -> Result<ClientBuilder, RegistryError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let setup = |source| RegistryError::TlsSetup {
        registry: name.to_owned(),
        source,
    };
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(setup)?;
    let builder = if lenient {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    } else {
        builder.with_root_certificates(roots(name, &trust.authorities)?)
    };
    let config = match trust.identity(name)? {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(setup)?,
        None => builder.with_no_client_auth(),
    };
    let proxies = proxy::of_environment().map_err(|(variable, source)| RegistryError::Proxy {
        registry: name.to_owned(),
        variable,
        source,
    })?;
    // What the client would find by itself goes for this machine too.
    let builder = proxies
        .into_iter()
        .fold(Client::builder().no_proxy(), ClientBuilder::proxy);
    Ok(builder
        .tls_backend_preconfigured(config)
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .user_agent(concat!("hoist/", env!("CARGO_PKG_VERSION"))))
}

/// The system's authorities, and those that the administrator gave this registry.
fn roots(name: &str, authorities: &[PathBuf]) -> Result<rustls::RootCertStore, RegistryError> {
    let mut roots = rustls::RootCertStore::empty();
    let bundle = std::env::var_os("SSL_CERT_FILE")
        .map(PathBuf::from)
        .or_else(|| {
            SYSTEM_BUNDLES
                .iter()
                .map(PathBuf::from)
                .find(|path| path.exists())
        });
    for path in bundle.iter().chain(authorities) {
        add_certificates(&mut roots, name, path)?;
    }
    Ok(roots)
}

fn add_certificates(
    roots: &mut rustls::RootCertStore,
    name: &str,
    path: &Path,
) -> Result<(), RegistryError> {
    let bytes = std::fs::read(path).map_err(unusable(name, path))?;
    let certificates = CertificateDer::pem_slice_iter(&bytes).filter_map(Result::ok);
    // A bundle may hold a certificate that rustls does not take; the others count all the same.
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(unusable(name, path)(io::Error::other(
            "it holds no usable certificate",
        )));
    }
    Ok(())
}

/// For registries that the caller listed as insecure.
#[derive(Debug)]
struct AnyCertificate(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
