//! Why a try failed: for the journal, and for the phone.

use std::error::Error as StdError;
use std::fmt::Write;
use std::io;
use std::iter;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::StatusCode;
use rustls::CertificateError;
use thiserror::Error;

use super::address::Refusal;
use provisioning_core::fault::Fault;
use provisioning_core::machine::Refused;

/// A try that failed. None holds anything of what was sent, or of an answer's body.
#[derive(Debug, Error)]
pub(crate) enum Error {
    #[error("the command center's address is refused")]
    Address(#[source] AddressRefused),
    #[error("no certificate authority is known: install ca-certificates, or configure one")]
    NoAuthorities,
    #[error("reading the certificate authorities in {}", path.display())]
    Authorities { path: PathBuf, source: Box<dyn StdError + Send + Sync> },
    #[error("the command center's certificate is not yet valid by this device's clock, which may never have been set")]
    NotYetValid(#[source] reqwest::Error),
    #[error("speaking TLS with the command center")]
    Tls(#[source] reqwest::Error),
    #[error("exchanging a request with the command center")]
    Unreachable(#[source] reqwest::Error),
    #[error("no answer within {} s", .0.as_secs_f32())]
    TimedOut(Duration),
    #[error("the program is being stopped")]
    Stopped(#[source] tokio::task::JoinError),
    #[error("what answers is not an HTTP server")]
    NotHttp(#[source] reqwest::Error),
    #[error("the command center answered {status}")]
    Status { status: StatusCode, retry_after: Option<Duration> },
    #[error("the command center's answer with {status} is over {limit} bytes")]
    TooLarge { status: StatusCode, limit: usize },
    #[error("the command center's answer with {status} does not hold node_id and node_key: {problem}")]
    Answer { status: StatusCode, problem: &'static str },
}

impl Error {
    /// Tells what an exchange failed of by what is below its error.
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

    /// What the phone is told.
    pub(super) fn refused(&self) -> Refused {
        let none = |fault| Refused { fault, status: None, retry_after: None };
        let answered = |fault, status: StatusCode, retry_after| Refused { fault, status: Some(status.as_u16()), retry_after };
        match self {
            Self::Address(_) => none(Fault::AddressRefused),
            Self::NoAuthorities | Self::Authorities { .. } | Self::NotYetValid(_) | Self::Tls(_) => none(Fault::TlsFailed),
            Self::Unreachable(_) | Self::TimedOut(_) | Self::Stopped(_) => none(Fault::CommandCenterUnreachable),
            Self::NotHttp(_) => none(Fault::CommandCenterAnswer),
            Self::TooLarge { status, .. } | Self::Answer { status, .. } => answered(Fault::CommandCenterAnswer, *status, None),
            Self::Status { status, retry_after } => answered(fault_of(*status), *status, *retry_after),
        }
    }

    /// Nothing came in time: from the other side, or in the eyes of the system.
    pub(crate) fn is_timeout(&self) -> bool {
        matches!(self, Self::TimedOut(_)) || matches!(self, Self::Unreachable(source) if source.is_timeout())
    }

    /// The deepest cause, for whoever knows what was tried.
    pub(crate) fn root(&self) -> String {
        causes(self).last().map(ToString::to_string).expect("an error is the first of its causes")
    }

    /// The error and everything below it, on one line.
    pub(crate) fn chain(&self) -> String {
        let mut line = String::new();
        let mut last = String::new();
        for cause in causes(self) {
            // An error that wraps another often repeats its text.
            let text = cause.to_string();
            if text != last {
                let separator = if line.is_empty() { "" } else { ": " };
                write!(line, "{separator}{text}").expect("a String takes everything");
            }
            last = text;
        }
        line
    }
}

/// An address that the policy does not let through.
#[derive(Clone, Copy, Debug, Error)]
#[error("not connecting to {address}: {why}")]
pub(crate) struct AddressRefused {
    pub(super) address: IpAddr,
    pub(super) why: Refusal,
}

/// The fault of a status that is not a success.
fn fault_of(status: StatusCode) -> Fault {
    match status.as_u16() {
        401 => Fault::TokenRejected,
        // A command center that asks for patience has not refused.
        429 | 500.. => Fault::CommandCenterFailed,
        300..=499 => Fault::CommandCenterRefused,
        _ => Fault::CommandCenterAnswer,
    }
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
    fn a_status_has_the_fault_that_tells_whether_to_try_again() {
        for (status, fault) in [
            (204, Fault::CommandCenterAnswer),
            (302, Fault::CommandCenterRefused),
            (400, Fault::CommandCenterRefused),
            (401, Fault::TokenRejected),
            (403, Fault::CommandCenterRefused),
            (409, Fault::CommandCenterRefused),
            (429, Fault::CommandCenterFailed),
            (500, Fault::CommandCenterFailed),
            (502, Fault::CommandCenterFailed),
            (599, Fault::CommandCenterFailed),
        ] {
            assert_eq!(fault_of(StatusCode::from_u16(status).expect("a status")), fault, "{status}");
        }
    }

    #[test]
    fn the_chain_names_every_cause_once() {
        let refused = AddressRefused { address: [127, 0, 0, 1].into(), why: Refusal::Loopback };
        let source = Box::new(io::Error::other(io::Error::other(refused)));
        let error = Error::Authorities { path: "/ca.pem".into(), source };
        assert_eq!(
            error.chain(),
            "reading the certificate authorities in /ca.pem: not connecting to 127.0.0.1: it is a loopback address"
        );
        assert!(causes(&error).any(<dyn StdError>::is::<AddressRefused>));
    }
}
