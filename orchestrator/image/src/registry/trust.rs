//! Whom a registry's certificate must come from, and the HTTP client that insists on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, ClientBuilder};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use super::error::RegistryError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Between two pieces of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const SYSTEM_BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

pub(super) fn client(name: &str, own_certificate: &Path, lenient: bool) -> Result<Client, RegistryError> {
    let failed = |source| RegistryError::Setup { registry: name.to_owned(), source };
    builder(name, own_certificate, lenient)?.build().map_err(failed)
}

/// A client for servers that are no registries: the system's authorities, and no redirects of its own.
pub fn web_client() -> Result<ClientBuilder, RegistryError> {
    builder("", Path::new(""), false)
}

fn builder(name: &str, own_certificate: &Path, lenient: bool) -> Result<ClientBuilder, RegistryError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let setup = |source| RegistryError::TlsSetup { registry: name.to_owned(), source };
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(setup)?;
    let config = if lenient {
        let verifier = Arc::new(AnyCertificate(provider));
        builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
    } else {
        builder.with_root_certificates(roots(name, own_certificate)?).with_no_client_auth()
    };
    Ok(Client::builder()
        .tls_backend_preconfigured(config)
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .user_agent(concat!("hoist/", env!("CARGO_PKG_VERSION"))))
}

/// The system's authorities, and the one that the administrator gave this registry.
fn roots(name: &str, own_certificate: &Path) -> Result<rustls::RootCertStore, RegistryError> {
    let mut roots = rustls::RootCertStore::empty();
    let bundle = std::env::var_os("SSL_CERT_FILE")
        .map(PathBuf::from)
        .or_else(|| SYSTEM_BUNDLES.iter().map(PathBuf::from).find(|path| path.exists()));
    if let Some(bundle) = bundle {
        add_certificates(&mut roots, name, &bundle)?;
    }
    if own_certificate.exists() {
        add_certificates(&mut roots, name, own_certificate)?;
    }
    Ok(roots)
}

fn add_certificates(roots: &mut rustls::RootCertStore, name: &str, path: &Path) -> Result<(), RegistryError> {
    let failed =
        |source| RegistryError::Certificate { registry: name.to_owned(), path: path.display().to_string(), source };
    let bytes = std::fs::read(path).map_err(failed)?;
    let certificates = CertificateDer::pem_slice_iter(&bytes).filter_map(Result::ok);
    // A bundle may hold a certificate that rustls does not take; the others count all the same.
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(failed(std::io::Error::other("it holds no usable certificate")));
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
