//! The HTTP interface: which route is answered by what.

pub(crate) mod accounts;
pub(crate) mod auth;
pub(crate) mod body;
mod claims;
pub(crate) mod health;
pub(crate) mod nodes;
pub(crate) mod provisioning;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::header::CONTENT_TYPE;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::accounts::Passwords;
use crate::batch::Batches;
use crate::config::Config;
use crate::heartbeats::{ApplianceBeat, NodeBeat};
use crate::refusal::Refusal;
use crate::secret::ServerSecret;
use crate::store::{self, Store};

/// What every handler works with.
#[derive(Debug)]
pub(crate) struct Center {
    pub(crate) config: Config,
    pub(crate) store: Arc<Store>,
    pub(crate) secret: ServerSecret,
    pub(crate) node_beats: Batches<NodeBeat>,
    pub(crate) appliance_beats: Batches<ApplianceBeat>,
    pub(crate) health: health::Health,
    pub(crate) passwords: Passwords,
}

impl Center {
    /// How clients reach this server if it is not said otherwise.
    #[expect(clippy::unused_self, reason = "depends on the configuration of TLS")]
    const fn scheme(&self) -> &'static str {
        "http"
    }
}

/// The routes, and their description.
fn described() -> OpenApiRouter<Arc<Center>> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(health::health))
        .routes(routes!(health::health_of_nodes))
        .routes(routes!(health::ping))
        .routes(routes!(provisioning::mint))
        .routes(routes!(provisioning::register))
        .routes(routes!(nodes::heartbeat))
        .routes(routes!(nodes::mqtt_credentials))
        .routes(routes!(nodes::list))
        .routes(routes!(nodes::one))
        .routes(routes!(claims::claim))
        .routes(routes!(claims::claim_as_partner))
        .routes(routes!(claims::validate))
        .routes(routes!(claims::validate_path))
        .routes(routes!(claims::status))
        .routes(routes!(claims::heartbeat))
        .routes(routes!(claims::configuration))
        .routes(routes!(accounts::create))
        .routes(routes!(accounts::set_password))
        .routes(routes!(accounts::current))
        .routes(routes!(accounts::login))
        .routes(routes!(description))
}

/// The interface as an OpenAPI document, generated from the types of the handlers.
pub fn openapi() -> String {
    let mut text = described().into_openapi().to_pretty_json().expect("the description is JSON");
    text.push('\n');
    text
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Jarvis command center",
        description = "What nodes register with, appliances claim at, and both report to."
    ),
    modifiers(&Credentials)
)]
struct Description;

/// The credentials that the routes name.
struct Credentials;

impl Modify for Credentials {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let header = |text: &str| SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description("X-API-Key", text)));
        let bearer = |text: &str| {
            let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(text)).build();
            SecurityScheme::Http(scheme)
        };
        components.add_security_scheme("administrator", header("The administrator's key."));
        components.add_security_scheme("node", header("A node's id, a colon, and its key."));
        components.add_security_scheme("user", bearer("A token of the auth service."));
        components.add_security_scheme("appliance", bearer("An appliance's key."));
        components.add_security_scheme("account", bearer("A token from `/login`."));
    }
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "health",
    security(("administrator" = [])),
    responses(
        (status = 200, description = "The document", body = serde_json::Value),
        (status = 401, description = "No credential, or a wrong one", body = crate::refusal::Detail),
    )
)]
async fn description(_: auth::Administrator) -> Response {
    ([(CONTENT_TYPE, "application/json")], openapi()).into_response()
}

/// What answers requests.
pub(crate) fn router(center: Arc<Center>) -> Router {
    Router::from(described())
        .fallback(|| async { Refusal::NotFound })
        .method_not_allowed_fallback(|| async { Refusal::MethodNotAllowed })
        .layer(axum::middleware::from_fn(observe))
        // Bodies are read by `body::Body`, which has its own limit and deadline.
        .layer(DefaultBodyLimit::disable())
        .with_state(center)
}

/// One line per request at debug level: the route, never the path, whose segments may be secrets.
async fn observe(request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let route = request.extensions().get::<axum::extract::MatchedPath>().cloned();
    let response = next.run(request).await;
    let route = route.as_ref().map_or("-", |route| route.as_str());
    tracing::debug!(%method, route, status = response.status().as_u16(), "answered");
    response
}

/// Turns what a store says into what a client is told; the journal is told the rest.
pub(crate) fn refuse(error: store::Error) -> Refusal {
    match error {
        store::Error::Refused(refusal) => refusal,
        store::Error::Database(ref cause) if is_fault_of_ours(cause) => {
            tracing::error!(error = %crate::chain(&error), "a statement failed");
            Refusal::Internal
        }
        error => {
            tracing::warn!(error = %crate::chain(&error), "the database is not available");
            Refusal::Unavailable
        }
    }
}

/// Whether a statement was wrong, as opposed to a database that could not carry it out.
fn is_fault_of_ours(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(cause) => cause.kind() != sqlx::error::ErrorKind::Other,
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::Encode(_)
        | sqlx::Error::TypeNotFound { .. } => true,
        _ => false,
    }
}
