//! Why a request failed: for the journal, and for the phone.

use std::time::Duration;

use jarvis_http::client;
use reqwest::StatusCode;
use thiserror::Error;

use provisioning_core::fault::Fault;
use provisioning_core::machine::Refused;

/// A failed request. No variant contains data from the request or from an answer's body.
#[derive(Debug, Error)]
pub(super) enum Error {
    #[error(transparent)]
    Exchange(#[from] client::Error),
    #[error("the command center answered {status}")]
    Status { status: StatusCode, retry_after: Option<Duration> },
    #[error("the command center's answer with {status} does not contain node_id and node_key: {problem}")]
    Answer { status: StatusCode, problem: String },
}

impl Error {
    /// The fault for the phone.
    pub(super) fn refused(&self) -> Refused {
        use client::Error as Exchange;
        let none = |fault| Refused { fault, status: None, retry_after: None };
        let answered = |fault, status: StatusCode, retry_after| Refused { fault, status: Some(status.as_u16()), retry_after };
        match self {
            Self::Exchange(Exchange::Address(_)) => none(Fault::AddressRefused),
            Self::Exchange(Exchange::NoAuthorities | Exchange::Authorities { .. } | Exchange::Tls(_)) => none(Fault::TlsFailed),
            Self::Exchange(Exchange::NotYetValid(_)) => none(Fault::ClockNotSet),
            Self::Exchange(Exchange::Unreachable(_) | Exchange::TimedOut(_) | Exchange::Stopped(_)) => {
                none(Fault::CommandCenterUnreachable)
            }
            Self::Exchange(Exchange::NotHttp(_)) => none(Fault::CommandCenterAnswer),
            Self::Exchange(Exchange::TooLarge { status, .. }) | Self::Answer { status, .. } => {
                answered(Fault::CommandCenterAnswer, *status, None)
            }
            Self::Status { status, retry_after } => answered(fault_of(*status), *status, *retry_after),
        }
    }
}

/// The fault of a status that is not a success.
fn fault_of(status: StatusCode) -> Fault {
    match status.as_u16() {
        401 => Fault::TokenRejected,
        // An overloaded command center has not refused the node.
        429 | 500.. => Fault::CommandCenterFailed,
        300..=499 => Fault::CommandCenterRefused,
        _ => Fault::CommandCenterAnswer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_has_the_fault_that_says_whether_to_retry() {
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
}
