//! Who may use the API of network care.
//!
//! | caller | without a token in the settings | with one |
//! |---|---|---|
//! | presents the token | – | everything |
//! | on the loopback, without the token | everything | 401 |
//! | in the access point, without the token | everything but the pairing secrets | 401 |
//! | elsewhere, without the token | 403 | 401 |
//!
//! A phone in the access point knows its passphrase, and need not know the pairing code, which does more.

use hyper::HeaderMap;
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue, WWW_AUTHENTICATE};

use super::super::{Arrival, Reply};
use super::{Operation, Token, error};

/// The header that is checked first.
const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-moonhub-provisioning-token");

/// Decides by the token and by the way of a request.
pub(super) struct Guard {
    token: Option<Token>,
}

/// Who has sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// A client with the token, or on the device.
    Owner,
    /// A phone in the access point. As in the other API, it resets the device only while no phone has the session.
    Phone,
}

/// Why a request is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The token is missing or wrong.
    Unauthenticated,
    /// Without a token in the settings, requests from this side are not accepted.
    WrongSide,
    /// Without a token in the settings, the pairing code is shown on the loopback only.
    NotOnLoopback,
}

impl Guard {
    /// An empty token counts as none.
    pub(super) fn new(token: Option<Token>) -> Self {
        Self { token: token.filter(|token| !token.secret.expose().is_empty()) }
    }

    pub(super) fn admit(&self, operation: Operation, arrival: &Arrival, headers: &HeaderMap) -> Result<Caller, Refused> {
        match &self.token {
            Some(token) if !token.is_void() && presented(headers).is_some_and(|given| token.secret.matches(given)) => {
                Ok(Caller::Owner)
            }
            Some(_) => Err(Refused::Unauthenticated),
            None if arrival.on_loopback => Ok(Caller::Owner),
            None if !arrival.in_access_point => Err(Refused::WrongSide),
            None if operation.is_about_pairing() => Err(Refused::NotOnLoopback),
            None => Ok(Caller::Phone),
        }
    }
}

/// The token of a request. If both headers are there, the own one counts.
fn presented(headers: &HeaderMap) -> Option<&str> {
    let own = headers.get(TOKEN_HEADER).and_then(|value| value.to_str().ok()).map(str::trim).filter(|token| !token.is_empty());
    own.or_else(|| {
        let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    })
}

impl From<Refused> for Reply {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unauthenticated => {
                let mut reply = error(StatusCode::UNAUTHORIZED, "provisioning authentication required");
                // RFC 9110, 11.6.1: an answer 401 names a scheme.
                reply.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                reply
            }
            Refused::WrongSide => {
                error(StatusCode::FORBIDDEN, "without a token, this API answers on the device and in its access point only")
            }
            Refused::NotOnLoopback => {
                error(StatusCode::FORBIDDEN, "without a token, the pairing code is shown on the device only")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use provisioning_core::secret::SecretText;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn the_own_header_comes_before_bearer_whose_case_does_not_matter() {
        const OWN: &str = "x-moonhub-provisioning-token";
        assert_eq!(presented(&headers(&[(OWN, " one "), ("authorization", "Bearer two")])), Some("one"));
        assert_eq!(presented(&headers(&[(OWN, ""), ("authorization", "bEARER  two ")])), Some("two"));
        for none in ["Basic two", "Bearer", "two", ""] {
            assert_eq!(presented(&headers(&[("authorization", none)])), None, "{none:?}");
        }
        assert_eq!(presented(&HeaderMap::new()), None);
    }

    #[test]
    fn every_caller_on_every_side_has_its_rule() {
        use super::super::super::{Peer, Port};
        let arrival = |on_loopback, in_access_point| {
            let address = std::net::IpAddr::from([192, 0, 2, 1]);
            Arrival { port: Port::Api, sent_to: address, peer: Peer::of(address), in_access_point, on_loopback, apps: None }
        };
        let (inside, phone, outside) = (arrival(true, false), arrival(false, true), arrival(false, false));
        let right = headers(&[("authorization", "Bearer right")]);
        let wrong = headers(&[("authorization", "Bearer wrong")]);
        let (status, code) = (Operation::Status, Operation::PairingCode);

        let guard = Guard::new(Some(SecretText::new("right".into()).into()));
        for arrival in [&inside, &phone, &outside] {
            for operation in [status, code] {
                assert_eq!(guard.admit(operation, arrival, &right), Ok(Caller::Owner));
                for headers in [&wrong, &HeaderMap::new()] {
                    assert_eq!(guard.admit(operation, arrival, headers), Err(Refused::Unauthenticated));
                }
            }
        }
        let guard = Guard::new(None);
        for headers in [&right, &HeaderMap::new()] {
            assert_eq!(guard.admit(status, &inside, headers), Ok(Caller::Owner));
            assert_eq!(guard.admit(code, &inside, headers), Ok(Caller::Owner));
            assert_eq!(guard.admit(status, &phone, headers), Ok(Caller::Phone));
            for operation in [code, Operation::RenewPairingCode] {
                assert_eq!(guard.admit(operation, &phone, headers), Err(Refused::NotOnLoopback));
            }
            for operation in [status, code] {
                assert_eq!(guard.admit(operation, &outside, headers), Err(Refused::WrongSide));
            }
        }
    }

    #[test]
    fn an_empty_token_admits_nobody_from_outside() {
        let guard = Guard::new(Some(SecretText::new(String::new()).into()));
        assert!(guard.token.is_none());
    }
}
