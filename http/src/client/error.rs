//! Why an exchange failed.

use std::error::Error as StdError;
use std::io;
use std::iter;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::StatusCode;
use rustls::CertificateError;
use thiserror::Error;

use super::address::Refusal;

/// An exchange that failed. No variant holds anything of what was sent, or of an answer's body.
#[derive(Debug, Error)]
pub enum Error {
    /// The policy refuses the server's address; nothing was sent.
    #[error("the server's address is refused")]
    Address(#[source] AddressRefused),
    /// The system has no certificate authorities.
    #[error("no certificate authority is known: install ca-certificates, or configure one")]
    NoAuthorities,
    /// A file of certificate authorities.
    #[error("reading the certificate authorities in {}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The certificate, or the device's clock.
    #[error("the server's certificate is not yet valid by this device's clock, which may not be set yet")]
    NotYetValid(#[source] reqwest::Error),
    /// Another TLS failure, such as a certificate that is not trusted.
    #[error("speaking TLS with the server")]
    Tls(#[source] reqwest::Error),
    /// No connection, or one that broke.
    #[error("exchanging a request with the server")]
    Unreachable(#[source] reqwest::Error),
    /// The exchange has taken too long.
    #[error("no answer within {} s", .0.as_secs_f32())]
    TimedOut(Duration),
    /// The runtime stops.
    #[error("the program is being stopped")]
    Stopped(#[source] tokio::task::JoinError),
    /// The server speaks another protocol.
    #[error("what answers is not an HTTP server")]
    NotHttp(#[source] reqwest::Error),
    /// The answer's body.
    #[error("the server's answer with {status} is over {limit} bytes")]
    TooLarge {
        /// The answer's status.
        status: StatusCode,
        /// The most that is read, bytes.
        limit: usize,
    },
}

impl Error {
    /// Classifies the failure of an exchange by its causes.
    pub(super) fn exchange(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let mut kind: fn(reqwest::Error) -> Self = Self::Unreachable;
        for cause in causes(&error) {
            if let Some(refused) = cause.downcast_ref::<AddressRefused>() {
                return Self::Address(*refused);
            }
            if let Some(error) = cause.downcast_ref::<rustls::Error>() {
                kind = if is_not_yet_valid(error) { Self::NotYetValid } else { Self::Tls };
            } else if cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
                kind = Self::NotHttp;
            }
        }
        kind(error)
    }

    /// Whether nothing came in time: by the limit of the exchange, or of the system.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::TimedOut(_)) || matches!(self, Self::Unreachable(source) if source.is_timeout())
    }

    /// Whether no connection was made, so that the server has seen nothing of the request.
    pub fn is_before_request(&self) -> bool {
        match self {
            Self::Address(_) | Self::NoAuthorities | Self::Authorities { .. } => true,
            Self::NotYetValid(source) | Self::Tls(source) | Self::Unreachable(source) | Self::NotHttp(source) => {
                source.is_connect()
            }
            Self::TimedOut(_) | Self::Stopped(_) | Self::TooLarge { .. } => false,
        }
    }

    /// The text of the deepest cause, for people who know what was tried.
    pub fn root(&self) -> String {
        let mut deepest: &dyn StdError = self;
        while let Some(cause) = deepest.source() {
            deepest = cause;
        }
        deepest.to_string()
    }
}

/// An address that the policy does not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not connecting to {address}: {why}")]
pub struct AddressRefused {
    /// The address.
    pub address: IpAddr,
    /// Which rule it breaks.
    pub why: Refusal,
}

fn is_not_yet_valid(error: &rustls::Error) -> bool {
    use CertificateError::{NotValidYet, NotValidYetContext};
    matches!(error, rustls::Error::InvalidCertificate(NotValidYet | NotValidYetContext { .. }))
}

/// An error and what is below it. An `io::Error` names the cause of what it wraps as its own, and would hide what it wraps.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    iter::successors(Some(error), |&error| match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped as &(dyn StdError + 'static)),
        None => error.source(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_behind_io_errors_are_found() {
        let refused = AddressRefused { address: [127, 0, 0, 1].into(), why: Refusal::Loopback };
        let source = Box::new(io::Error::other(io::Error::other(refused)));
        let error = Error::Authorities { path: "/ca.pem".into(), source };
        assert_eq!(error.root(), "not connecting to 127.0.0.1: it is a loopback address");
        assert!(causes(&error).any(<dyn StdError>::is::<AddressRefused>));
    }
}
