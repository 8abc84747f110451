//! Refusals over HTTP: each with its status and its text.

use std::collections::BTreeMap;

use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::openapi::RefOr;
use utoipa::{IntoResponses, ToSchema};

use super::body::LARGEST;
use crate::base::refusal::Refusal;

impl Refusal {
    /// The status, and the text for `detail`.
    pub(crate) fn parts(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "Request validation failed. Please correct the highlighted fields."),
            Self::AuthenticationRequired | Self::NotTheAdministrator => (StatusCode::UNAUTHORIZED, "Authentication required"),
            Self::WrongAdminKey | Self::WrongApplianceKey => (StatusCode::UNAUTHORIZED, "Invalid API key"),
            Self::WrongNodesAdminKey => (StatusCode::UNAUTHORIZED, "Invalid Admin API Key"),
            Self::WrongJwt => (StatusCode::UNAUTHORIZED, "Invalid or expired JWT"),
            Self::BearerMissing => (StatusCode::UNAUTHORIZED, "Missing or invalid Authorization header"),
            Self::BearerExpired => (StatusCode::UNAUTHORIZED, "Token has expired"),
            Self::BearerInvalid => (StatusCode::UNAUTHORIZED, "Invalid token"),
            Self::WrongNodeKey => (StatusCode::UNAUTHORIZED, "Invalid API Key"),
            Self::NotAMember => (StatusCode::FORBIDDEN, "User is not a member of this household"),
            Self::WrongProvisioningToken => (StatusCode::UNAUTHORIZED, "Invalid or expired provisioning token"),
            Self::NodeAlreadyRegistered => (StatusCode::BAD_REQUEST, "Node already registered"),
            Self::NodeNotFound => (StatusCode::NOT_FOUND, "Node not found"),
            Self::AnotherNodes(text) => (StatusCode::FORBIDDEN, text),
            Self::NoKeyWaiting => (StatusCode::NOT_FOUND, "No pending K2 for this request"),
            Self::KeyNotStored(_) => (StatusCode::BAD_GATEWAY, "Node failed to store K2"),
            Self::KeyNotAcknowledged => (
                StatusCode::GATEWAY_TIMEOUT,
                "Node did not acknowledge K2 — it may not be online yet. Try again in a few seconds.",
            ),
            Self::NoBroker => (StatusCode::SERVICE_UNAVAILABLE, "MQTT not available"),
            Self::RequestNotFound => (StatusCode::NOT_FOUND, "Request not found"),
            Self::RequestExpired => (StatusCode::GONE, "Request expired"),
            Self::RequestFulfilled => (StatusCode::CONFLICT, "Request already fulfilled"),
            Self::PushNotFound => (StatusCode::NOT_FOUND, "Config push not found"),
            Self::ResetInFlight { .. } => (StatusCode::CONFLICT, "A factory reset is already in flight for this node."),
            Self::WrongResetToken { by_verification: true } => (StatusCode::NOT_FOUND, "Invalid or expired reset token"),
            Self::WrongResetToken { by_verification: false } => (StatusCode::UNAUTHORIZED, "Invalid or expired reset token"),
            Self::ResetNotFound => (StatusCode::NOT_FOUND, "Factory-reset task not found"),
            Self::WrongResetState => (StatusCode::BAD_REQUEST, "state must be one of: in_progress, success, failed"),
            Self::NoUserKeys => (StatusCode::SERVICE_UNAVAILABLE, "Auth service unavailable"),
            Self::UnknownCode => (StatusCode::NOT_FOUND, "Invalid provision code"),
            Self::CodeClaimed => (StatusCode::BAD_REQUEST, "Provision code already claimed"),
            Self::CodeRevoked { by_partner_route: true } => (StatusCode::BAD_REQUEST, "Provision code already revoked"),
            Self::CodeRevoked { by_partner_route: false } => (StatusCode::BAD_REQUEST, "Provision code is revoked"),
            Self::CodeExpired => (StatusCode::BAD_REQUEST, "Provision code expired"),
            Self::TooManyGuesses { .. } => (StatusCode::TOO_MANY_REQUESTS, "Too many wrong attempts. Try again later."),
            Self::ApplianceNotFound => (StatusCode::NOT_FOUND, "Appliance not found"),
            Self::ApplianceReleased => {
                (StatusCode::GONE, "This appliance has been released from its site. It can be claimed with a new provision code.")
            }
            Self::UserExists => (StatusCode::CONFLICT, "User already exists"),
            Self::UserNotFound => (StatusCode::NOT_FOUND, "User not found"),
            Self::WrongLogin => (StatusCode::UNAUTHORIZED, "Invalid email or password"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "Not allowed"),
            Self::Unprocessable(_) => (StatusCode::UNPROCESSABLE_ENTITY, "Request validation failed"),
            Self::WrongHost => {
                (StatusCode::FORBIDDEN, "This is not a name of the server. Use its public URL, or add the name with --host-name.")
            }
            Self::NotFound => (StatusCode::NOT_FOUND, "Not Found"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "Request body too large"),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "Request body did not arrive in time"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "Database unavailable"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"),
        }
    }
}

/// What is wrong, for people.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Detail {
    /// The text.
    detail: String,
}

/// That an appliance has been released from its site: its key is invalid, and what it has of its owner is to be deleted.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Released {
    /// The text for people.
    detail: &'static str,
    /// Always `released`.
    reason: &'static str,
}

/// A request that does not have the expected shape.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ValidationError {
    /// Always `validation_error`.
    error: &'static str,
    /// What is wrong, for people.
    message: &'static str,
    /// One line per fault, such as `body -> room: Field required`.
    details: Vec<String>,
}

/// That a task is under way already.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Conflict {
    detail: TaskInFlight,
}

/// A task that is under way.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskInFlight {
    /// What is wrong, for people.
    message: &'static str,
    /// Which task.
    task_id: String,
    /// How far it is.
    state: String,
}

/// Responses by their status.
type Described = BTreeMap<String, RefOr<utoipa::openapi::Response>>;

/// What every route with a body of at most `LIMIT` bytes may answer.
pub(crate) struct BodyRefusals<const LIMIT: usize = LARGEST>;

impl<const LIMIT: usize> IntoResponses for BodyRefusals<LIMIT> {
    fn responses() -> Described {
        with_limit(AnyBodyRefusals::responses(), LIMIT)
    }
}

/// What routes of appliances with a body may answer further; their clients show `detail` unchanged.
pub(crate) struct PlainBodyRefusals;

impl IntoResponses for PlainBodyRefusals {
    fn responses() -> Described {
        with_limit(AnyPlainBodyRefusals::responses(), LARGEST)
    }
}

/// Names the limit of a body, in bytes, where it is exceeded.
fn with_limit(mut responses: Described, limit: usize) -> Described {
    if let Some(RefOr::T(response)) = responses.get_mut(StatusCode::PAYLOAD_TOO_LARGE.as_str()) {
        response.description = format!("The body is larger than {} KiB.", limit / 1024);
    }
    responses
}

/// [`BodyRefusals`] without the limit.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes what the refusals above are turned into")]
enum AnyBodyRefusals {
    /// The request does not have the expected shape, or the rules do not allow it.
    #[response(status = 400)]
    Malformed(#[to_schema] OneOfRefusals),
    /// The body did not arrive in time.
    #[response(status = 408)]
    TooSlow(#[to_schema] Detail),
    /// The body is too large.
    #[response(status = 413)]
    TooLarge(#[to_schema] Detail),
    /// Too many wrong credentials; `Retry-After` says when to try again.
    #[response(status = 429)]
    TooManyGuesses(#[to_schema] Detail),
    /// The database cannot be reached; `Retry-After` says when to ask again.
    #[response(status = 503)]
    Unavailable(#[to_schema] Detail),
}

/// [`PlainBodyRefusals`] without the limit.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes what the refusals above are turned into")]
enum AnyPlainBodyRefusals {
    /// The body did not arrive in time.
    #[response(status = 408)]
    TooSlow(#[to_schema] Detail),
    /// The body is too large.
    #[response(status = 413)]
    TooLarge(#[to_schema] Detail),
    /// The request does not have the expected shape.
    #[response(status = 422)]
    Unprocessable(#[to_schema] Detail),
    /// Too many wrong credentials; `Retry-After` says when to try again.
    #[response(status = 429)]
    TooManyGuesses(#[to_schema] Detail),
    /// The database cannot be reached; `Retry-After` says when to ask again.
    #[response(status = 503)]
    Unavailable(#[to_schema] Detail),
}

/// What a 400 holds: faults of the shape, or a rule that forbids it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what the refusals above are turned into")]
pub(crate) enum OneOfRefusals {
    /// Faults of the shape.
    Shape(ValidationError),
    /// A rule.
    Rule(Detail),
}

/// After this many seconds a client may ask a server again that could not reach its database.
const RETRY_AFTER_SECONDS: u32 = 5;

/// Marks a response to a wrong key, so that `guessing` counts it.
#[derive(Clone, Copy, Debug)]
pub(super) struct WrongKey;

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, text) = self.parts();
        let detail = |text: &str| (status, Json(Detail { detail: text.to_owned() })).into_response();
        let mut response = match &self {
            Self::Malformed(faults) => {
                let details = faults.clone();
                (status, Json(ValidationError { error: "validation_error", message: text, details })).into_response()
            }
            Self::Unprocessable(text) | Self::KeyNotStored(Some(text)) => detail(text),
            Self::ResetInFlight { task_id, state } => {
                let detail = TaskInFlight { message: text, task_id: task_id.clone(), state: state.clone() };
                (status, Json(Conflict { detail })).into_response()
            }
            Self::ApplianceReleased => (status, Json(Released { detail: text, reason: "released" })).into_response(),
            _ => detail(text),
        };
        if self.is_wrong_key() {
            response.extensions_mut().insert(WrongKey);
        }
        let retry_after = match self {
            Self::Unavailable | Self::NoUserKeys | Self::NoBroker => Some(RETRY_AFTER_SECONDS),
            Self::TooManyGuesses { retry_after_seconds } => Some(retry_after_seconds),
            _ => None,
        };
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
