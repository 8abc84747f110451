//! Which certificates are trusted.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{self, CertificateDer};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{ClientConfig, RootCertStore};

use super::error::Error;
use provisioning_core::domain::UnixTime;

/// A time before the release of this program: that of the source, if the build sets it (reproducible-builds.org), else the
/// beginning of 2026.
pub const RELEASE: UnixTime = UnixTime(match option_env!("SOURCE_DATE_EPOCH") {
    Some(text) => match u64::from_str_radix(text, 10) {
        Ok(seconds) => seconds,
        Err(_) => panic!("SOURCE_DATE_EPOCH is not a number"),
    },
    None => 1_767_225_600,
});

/// The trusted certificate authorities.
///
/// The system's are read from its files rather than built in: a distribution revokes an authority sooner than a
/// device's firmware is rebuilt, what an owner adds with `update-ca-certificates` counts, and they occupy memory
/// only while a connection is made. `SSL_CERT_FILE` and `SSL_CERT_DIR` name other files, as for other programs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// The system's.
    #[default]
    System,
    /// The system's and those in a PEM file, such as one for a command center at home.
    SystemAnd(PathBuf),
    /// Those in a PEM file alone: a network that has a certificate of a public authority still cannot pose as the
    /// command center.
    Only(PathBuf),
}

impl Trust {
    /// Reads the authorities. Blocks on the disk.
    pub(super) fn load(&self, clock: Clock) -> Result<ClientConfig, Error> {
        let mut config = self.authorities().map(with_roots)?;
        config.time_provider = Arc::new(clock);
        Ok(config)
    }

    /// Reads the authorities, for a client that may show a certificate of its own. Blocks on the disk.
    pub fn authorities(&self) -> Result<RootCertStore, Error> {
        let mut roots = RootCertStore::empty();
        match self {
            Self::System => add_system(&mut roots),
            Self::SystemAnd(path) => {
                add_system(&mut roots);
                add_file(&mut roots, path)?;
            }
            Self::Only(path) => add_file(&mut roots, path)?,
        }
        if roots.is_empty() {
            return Err(Error::NoAuthorities);
        }
        Ok(roots)
    }

    /// For connections without TLS: no authority is trusted.
    pub(super) fn none() -> ClientConfig {
        with_roots(RootCertStore::empty())
    }
}

fn with_roots(roots: RootCertStore) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has suites for TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// The time by which certificates are judged: that of the system, but not before a time that has passed. The clock of a
/// device without a battery starts in the past.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    not_before: UnixTime,
}

impl Clock {
    /// A clock that shows the latest of the system's time, that of the release, and another one.
    pub(super) fn new(passed: Option<UnixTime>) -> Self {
        Self { not_before: passed.map_or(RELEASE, |passed| passed.max(RELEASE)) }
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<pki_types::UnixTime> {
        let not_before = pki_types::UnixTime::since_unix_epoch(Duration::from_secs(self.not_before.0));
        Some(DefaultTimeProvider.current_time().map_or(not_before, |time| time.max(not_before)))
    }
}

/// A certificate of the system that cannot be read is left out: the others are as good without it.
fn add_system(roots: &mut RootCertStore) {
    let found = rustls_native_certs::load_native_certs();
    let (added, ignored) = roots.add_parsable_certificates(found.certs);
    tracing::debug!(added, ignored, unreadable = found.errors.len(), "read the system's certificate authorities");
}

/// A configured file is read whole, or not at all.
fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), Error> {
    let mut add = || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut empty = true;
        for certificate in CertificateDer::pem_file_iter(path)? {
            roots.add(certificate?)?;
            empty = false;
        }
        if empty { Err("it has no certificate".into()) } else { Ok(()) }
    };
    add().map_err(|source| Error::Authorities { path: path.into(), source })
}
