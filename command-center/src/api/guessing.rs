//! The limit on what one network guesses, over all routes: wrong keys are counted here, and passwords by the route that
//! checks them.

use std::sync::Arc;

use axum::extract::{FromRequestParts as _, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::Center;
use super::auth::Network;
use super::refusal::WrongKey;

/// Counts a response that refuses a wrong key. At the limit it is replaced, so that it no longer says whether the key was
/// wrong.
pub(super) async fn limit(State(center): State<Arc<Center>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let Ok(Network(network)) = Network::from_request_parts(&mut parts, &center).await;
    let response = next.run(Request::from_parts(parts, body)).await;
    if response.extensions().get::<WrongKey>().is_none() {
        return response;
    }
    match center.guessers.count(network, center.config.clock.now()) {
        Ok(()) => response,
        Err(refusal) => refusal.into_response(),
    }
}
