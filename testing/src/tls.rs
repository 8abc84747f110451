//! A certificate authority for tests, and TLS servers with its certificates.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, Certificate, IsCa, Issuer, KeyPair};
pub use rcgen::{CertificateParams, date_time_ymd};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;

use crate::server::{Act, Server};

/// An authority, with its certificate in a file.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: Certificate,
    folder: TempDir,
}

/// Makes a certificate valid from so many seconds from now on.
pub fn valid_in(params: &mut CertificateParams, seconds: u64) {
    #[expect(clippy::disallowed_methods, reason = "a certificate has the wall clock's time in it")]
    let now = SystemTime::now();
    params.not_before = (now + Duration::from_secs(seconds)).into();
}

/// A certificate and its key.
pub struct Identity {
    certificate: Certificate,
    key: KeyPair,
}

impl Authority {
    /// Creates a key and a certificate for it.
    #[expect(clippy::new_without_default, reason = "every call creates another authority; goes when the lint accepts that")]
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names to refuse");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("the system has random numbers");
        let certificate = params.self_signed(&key).expect("a valid certificate");
        let folder = TempDir::new().expect("a temporary folder");
        fs::write(folder.path().join("ca.pem"), certificate.pem()).expect("a writable folder");
        Self { issuer: Issuer::new(params, key), certificate, folder }
    }

    /// The file with the authority's certificate.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Issues a certificate for a name; adjusted by a function before it is signed.
    pub fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = CertificateParams::new(vec![name.into()]).expect("a valid name");
        change(&mut params);
        let key = KeyPair::generate().expect("the system has random numbers");
        let certificate = params.signed_by(&key, &self.issuer).expect("a valid certificate");
        Identity { certificate, key }
    }

    /// The settings of a server with a certificate for that name, changed before it is signed.
    pub fn server_config(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> ServerConfig {
        self.issue(name, change).server_config(WebPkiClientVerifier::no_client_auth())
    }

    /// The same for a server that requires a certificate of this authority from its clients.
    pub fn server_config_for_own_clients(&self, name: &str) -> ServerConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).expect("a valid certificate");
        let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::new(default_provider()));
        self.issue(name, |_| {}).server_config(clients.build().expect("one authority"))
    }

    /// A scripted server with a certificate for that name, changed before it is signed.
    pub async fn server(&self, name: &str, acts: impl Into<Vec<Act>>, change: impl FnOnce(&mut CertificateParams)) -> Server {
        Server::over_tls(self.server_config(name, change), acts).await
    }
}

impl Identity {
    /// The certificate as PEM.
    pub fn certificate_pem(&self) -> String {
        self.certificate.pem()
    }

    /// The private key as PEM.
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    fn server_config(&self, clients: Arc<dyn ClientCertVerifier>) -> ServerConfig {
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).expect("a key that was just made");
        ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has them all")
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![self.certificate.der().clone()], key)
            .expect("the key is that of the certificate")
    }
}
