//! TLS towards PostgreSQL, over the `rustls` that the server itself uses.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Socket;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect};
use tokio_rustls::TlsConnector;

/// What is verified of the server's certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Verify {
    #[default]
    Nothing,
    Issuer,
    IssuerAndName,
}

/// How TLS is spoken. Certificates and keys are names of PEM files, or such a file's text.
#[derive(Clone, Default)]
pub(super) struct TlsSettings {
    pub(super) verify: Verify,
    /// Trusted besides the authorities of the system.
    pub(super) root_certificates: Option<String>,
    pub(super) client_certificate: Option<String>,
    pub(super) client_key: Option<String>,
}

/// Why TLS cannot be used.
#[derive(Debug, Error)]
pub(crate) enum TlsError {
    /// A file cannot be read, or is not what it should be.
    #[error("reading `{setting}`")]
    File {
        /// The option of the address.
        setting: &'static str,
        /// Why.
        source: pem::Error,
    },
    /// One of both is missing.
    #[error("`sslcert` and `sslkey` must be set together")]
    HalfClient,
    /// The certificates cannot be used.
    #[error("loading the client certificate or the TLS settings")]
    Certificates(#[from] rustls::Error),
    /// There is no authority to trust.
    #[error("loading the root certificates")]
    Roots(#[from] rustls::client::VerifierBuilderError),
}

impl TlsSettings {
    /// What opens TLS on a connection.
    pub(super) fn connector(&self) -> Result<Connector, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            Arc::new(Verifier { issuer: self.issuer(&provider)?, verify: self.verify, provider: Arc::clone(&provider) });
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = config.dangerous().with_custom_certificate_verifier(verifier);
        let config = match (&self.client_certificate, &self.client_key) {
            (None, None) => config.with_no_client_auth(),
            (Some(certificate), Some(key)) => {
                let key = read("sslkey", key).and_then(|key| PrivateKeyDer::from_pem_slice(&key).map_err(file("sslkey")))?;
                config.with_client_auth_cert(certificates("sslcert", certificate)?, key)?
            }
            _ => return Err(TlsError::HalfClient),
        };
        Ok(Connector(TlsConnector::from(Arc::new(config))))
    }

    fn issuer(&self, provider: &Arc<CryptoProvider>) -> Result<Option<Arc<WebPkiServerVerifier>>, TlsError> {
        if self.verify == Verify::Nothing {
            return Ok(None);
        }
        let mut roots = RootCertStore::empty();
        // Some of the system's certificates may be ones that rustls cannot use.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(named) = &self.root_certificates {
            for certificate in certificates("sslrootcert", named)? {
                roots.add(certificate)?;
            }
        }
        Ok(Some(WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build()?))
    }
}

fn file(setting: &'static str) -> impl Fn(pem::Error) -> TlsError {
    move |source| TlsError::File { setting, source }
}

/// The text of a PEM file, or the text itself.
fn read(setting: &'static str, name_or_text: &str) -> Result<Vec<u8>, TlsError> {
    if name_or_text.trim_start().starts_with("-----BEGIN") {
        return Ok(name_or_text.as_bytes().to_vec());
    }
    std::fs::read(name_or_text).map_err(|error| file(setting)(pem::Error::Io(error)))
}

fn certificates(setting: &'static str, name_or_text: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(setting, name_or_text)?;
    CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().map_err(file(setting))
}

/// Verifies as much of a certificate as `sslmode` asks for.
#[derive(Debug)]
struct Verifier {
    /// Absent if nothing is verified.
    issuer: Option<Arc<WebPkiServerVerifier>>,
    verify: Verify,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(issuer) = &self.issuer else { return Ok(ServerCertVerified::assertion()) };
        match issuer.verify_server_cert(certificate, intermediates, name, ocsp_response, now) {
            // The name is verified after the chain.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.verify == Verify::Issuer => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Opens TLS on connections to PostgreSQL.
#[derive(Clone)]
pub(super) struct Connector(TlsConnector);

impl MakeTlsConnect<Socket> for Connector {
    type Stream = TlsStream;
    type TlsConnect = HostConnector;
    type Error = InvalidDnsNameError;

    fn make_tls_connect(&mut self, host: &str) -> Result<HostConnector, InvalidDnsNameError> {
        // A socket on this machine has no name, and never speaks TLS.
        let name = ServerName::try_from(if host.is_empty() { "localhost" } else { host })?.to_owned();
        Ok(HostConnector { connector: self.0.clone(), name })
    }
}

/// Opens TLS with one host.
pub(super) struct HostConnector {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl TlsConnect<Socket> for HostConnector {
    type Stream = TlsStream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TlsStream>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move { self.connector.connect(self.name, socket).await.map(TlsStream) })
    }
}

/// A connection over TLS.
pub(super) struct TlsStream(tokio_rustls::client::TlsStream<Socket>);

impl tokio_postgres::tls::TlsStream for TlsStream {
    /// SCRAM without channel binding: `verify-full` authenticates the server.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
