//! Everything that a client can be told besides success: a closed list, each with its status and its text.

use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// A refusal. The texts are part of the wire contract: clients compare them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The request does not have the shape that was asked for; one line per fault, such as `body -> room: Field required`.
    Malformed(Vec<String>),
    /// Neither an API key nor a bearer token.
    AuthenticationRequired,
    /// The API key is not the administrator's.
    WrongAdminKey,
    /// The bearer token on the route that mints tokens is not valid any more or never was.
    WrongJwt,
    /// The other routes say more about a bearer token: there is none …
    BearerMissing,
    /// … it is too old …
    BearerExpired,
    /// … it is not one of ours.
    BearerInvalid,
    /// The API key is not this node's.
    WrongNodeKey,
    /// The user does not belong to the household.
    NotAMember,
    /// The provisioning token is unknown, expired, used, or another node's: one text for all, so that nothing is learnt.
    WrongProvisioningToken,
    /// There is such a node already.
    NodeAlreadyRegistered,
    /// There is no such node.
    NodeNotFound,
    /// There is no such route.
    NotFound,
    /// There is such a route, for another method.
    MethodNotAllowed,
    /// The body is larger than any that this server understands.
    TooLarge,
    /// The body did not arrive in time.
    TooSlow,
    /// The database cannot be reached or cannot write; asking again later may help.
    Unavailable,
    /// A fault of the server, of which the journal says more.
    Internal,
}

impl Refusal {
    /// The status, and the text for `detail`.
    pub(crate) fn parts(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "Request validation failed. Please correct the highlighted fields."),
            Self::AuthenticationRequired => (StatusCode::UNAUTHORIZED, "Authentication required"),
            Self::WrongAdminKey => (StatusCode::UNAUTHORIZED, "Invalid API key"),
            Self::WrongJwt => (StatusCode::UNAUTHORIZED, "Invalid or expired JWT"),
            Self::BearerMissing => (StatusCode::UNAUTHORIZED, "Missing or invalid Authorization header"),
            Self::BearerExpired => (StatusCode::UNAUTHORIZED, "Token has expired"),
            Self::BearerInvalid => (StatusCode::UNAUTHORIZED, "Invalid token"),
            Self::WrongNodeKey => (StatusCode::UNAUTHORIZED, "Invalid API Key"),
            Self::NotAMember => (StatusCode::FORBIDDEN, "User is not a member of this household"),
            Self::WrongProvisioningToken => (StatusCode::UNAUTHORIZED, "Invalid or expired provisioning token"),
            Self::NodeAlreadyRegistered => (StatusCode::BAD_REQUEST, "Node already registered"),
            Self::NodeNotFound => (StatusCode::NOT_FOUND, "Node not found"),
            Self::NotFound => (StatusCode::NOT_FOUND, "Not Found"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "Request body too large"),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "Request body did not arrive in time"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "Database unavailable"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"),
        }
    }
}

/// After this many seconds a client may ask a server again that could not reach its database.
const RETRY_AFTER_SECONDS: u16 = 5;

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, text) = self.parts();
        let body = match &self {
            Self::Malformed(faults) => json!({ "error": "validation_error", "message": text, "details": faults }),
            _ => json!({ "detail": text }),
        };
        let mut response = (status, Json(body)).into_response();
        if self == Self::Unavailable {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        response
    }
}
