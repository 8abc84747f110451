//! The limit on what one network guesses, over all routes: wrong keys are counted here, and passwords by the route that
//! checks them.

use std::net::IpAddr;

use axum::response::{IntoResponse as _, Response};

use super::Center;
use super::refusal::WrongKey;

/// Counts a response that refuses a wrong key to a network. At the limit it is replaced, so that it no longer says whether the
/// key was wrong.
pub(super) fn limit(response: Response, network: IpAddr, center: &Center) -> Response {
    if response.extensions().get::<WrongKey>().is_none() {
        return response;
    }
    match center.guessers.count(network, center.config.clock.now()) {
        Ok(()) => response,
        Err(refusal) => refusal.into_response(),
    }
}
