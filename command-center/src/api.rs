//! The HTTP interface: the routes and their handlers.

mod accounts;
mod audit;
pub(crate) mod auth;
mod body;
mod claims;
mod config_pushes;
pub(crate) mod fleet;
mod guessing;
mod health;
pub(crate) mod host;
mod households;
mod html;
mod key_relay;
pub(crate) mod live;
pub(crate) mod metrics;
mod nodes;
mod operating;
mod page;
mod provisioning;
mod refusal;
mod resets;
mod settings_requests;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_TYPE, STRICT_TRANSPORT_SECURITY};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use tokio::time::Instant;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::fleet::LastCounts;
use self::host::Names;
use self::live::Watchers;
use self::metrics::Metrics;
use crate::base::refusal::Refusal;
use crate::base::secret::ServerSecret;
use crate::config::Config;
use crate::domain::accounts::Passwords;
use crate::domain::batch::Batches;
use crate::domain::fleet::{ApplianceEntry, NodeEntry};
use crate::domain::guesses::Guessers;
use crate::domain::health::Health;
use crate::domain::heartbeats::{ApplianceBeat, NodeBeat};
use crate::domain::jwks::UserKeys;
use crate::domain::notices::Notices;
use crate::domain::operator::Operator;
use crate::domain::permissions::Scope;
use crate::store::Store;

/// The state that all handlers share.
#[derive(Debug)]
pub(crate) struct Center {
    pub(crate) config: Config,
    pub(crate) store: Arc<Store>,
    pub(crate) secret: ServerSecret,
    pub(crate) node_beats: Batches<NodeBeat>,
    pub(crate) appliance_beats: Batches<ApplianceBeat>,
    pub(crate) health: Health,
    pub(crate) passwords: Passwords,
    pub(crate) guessers: Guessers,
    pub(crate) user_keys: UserKeys,
    pub(crate) notices: Notices,
    pub(crate) names: Names,
    pub(crate) metrics: Metrics,
    pub(crate) operator: Operator,
    pub(crate) counts: LastCounts,
    pub(crate) watchers: Watchers,
}

impl Center {
    /// The scheme of this server's URL, unless a public URL is configured.
    const fn scheme(&self) -> &'static str {
        if self.config.tls.is_some() { "https" } else { "http" }
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
        .routes(routes!(nodes::list, nodes::create))
        .routes(routes!(nodes::one, nodes::change, nodes::delete))
        .routes(routes!(households::smart_home, households::set_smart_home))
        .routes(routes!(key_relay::offer))
        .routes(routes!(key_relay::fetch))
        .routes(routes!(key_relay::acknowledge))
        .routes(routes!(settings_requests::create, settings_requests::pending))
        .routes(routes!(settings_requests::one))
        .routes(routes!(settings_requests::fulfil))
        .routes(routes!(settings_requests::result))
        .routes(routes!(config_pushes::push))
        .routes(routes!(config_pushes::pending))
        .routes(routes!(config_pushes::acknowledge))
        .routes(routes!(resets::start))
        .routes(routes!(resets::report))
        .routes(routes!(resets::verify))
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
        .routes(routes!(fleet::counts))
        .routes(routes!(fleet::appliances))
        .routes(routes!(fleet::nodes))
        .routes(routes!(fleet::export))
        .routes(routes!(live::appliance))
        .routes(routes!(live::live_appliance))
        .routes(routes!(live::node))
        .routes(routes!(live::live_node))
        .routes(routes!(audit::list))
        .routes(routes!(description))
        .routes(routes!(metrics))
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
        let session = "The session of an operator's browser, from `/sign-in`; over TLS the name has the prefix `__Host-`.";
        let cookie = ApiKey::Cookie(ApiKeyValue::with_description("jarvis-session", session));
        components.add_security_scheme("operator", SecurityScheme::ApiKey(cookie));
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
        (status = 401, description = "No credential, or a wrong one", body = refusal::Detail),
        (status = 429, description = "Too many wrong credentials; `Retry-After` says when to try again", body = refusal::Detail),
    )
)]
async fn description(_: auth::Administrator) -> Response {
    ([(CONTENT_TYPE, "application/json")], openapi()).into_response()
}

/// The operator's page.
fn pages() -> Router<Arc<Center>> {
    Router::new()
        .route("/", get(page::show))
        .route("/administrator", get(page::sign_in::by_key))
        .route("/sign-in", get(page::sign_in::form).post(page::sign_in::sign_in))
        .route("/sign-out", post(page::sign_in::sign_out))
        .route("/appliances", get(page::devices::appliances))
        .route("/appliances/{id}", get(page::device::device::<ApplianceEntry>))
        .route(
            "/appliances/{id}/{action}",
            get(page::action::confirm::<ApplianceEntry>).post(page::action::act::<ApplianceEntry>),
        )
        .route("/nodes", get(page::devices::nodes))
        .route("/nodes/{id}", get(page::device::device::<NodeEntry>))
        .route("/nodes/{id}/{action}", get(page::action::confirm::<NodeEntry>).post(page::action::act::<NodeEntry>))
        .route("/codes", post(page::create))
        .route("/codes/revoke", get(page::confirm_revocation).post(page::revoke))
        // For its forms; all other bodies are read by `body::Body`, which has its own limit.
        .layer(DefaultBodyLimit::max(body::LARGEST))
}

/// What answers requests.
pub(crate) fn router(center: Arc<Center>) -> Router {
    Router::from(described())
        .merge(pages())
        .fallback(|| async { Refusal::NotFound })
        .method_not_allowed_fallback(|| async { Refusal::MethodNotAllowed })
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&center), surround))
        .with_state(center)
}

/// Numbers for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "health",
    security(("administrator" = [])),
    responses(
        (status = 200, description = "Prometheus's text format", body = String, content_type = "text/plain"),
        (status = 401, description = "No credential, or a wrong one", body = refusal::Detail),
        (status = 429, description = "Too many wrong credentials; `Retry-After` says when to try again", body = refusal::Detail),
    )
)]
async fn metrics(State(center): State<Arc<Center>>, _: auth::Administrator) -> Response {
    let is_healthy = center.health.is_good(&center.store).await;
    let devices = center.counts.read(&center, &Scope::All).await.ok();
    let text = center.metrics.text(is_healthy, center.config.clock.now(), devices);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

/// What surrounds every handler: the limits, and the count of the answers. They are one layer, because axum allocates for each.
async fn surround(State(center): State<Arc<Center>>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let (parts, body) = request.into_parts();
    let method = parts.method.clone();
    let route = parts.extensions.get::<MatchedPath>().cloned();
    let network = auth::network_of(&parts, &center);
    let mut response = match host::limit(&parts, &center) {
        Ok(()) => guessing::limit(next.run(Request::from_parts(parts, body)).await, network, &center),
        Err(refusal) => refusal.into_response(),
    };
    if center.config.tls.is_some() {
        // A year, RFC 6797: a browser that has seen the server once sends the administrator's key over TLS only.
        response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    // The route, never the path, whose segments may be secrets.
    let route = route.as_ref().map_or("-", MatchedPath::as_str);
    let (status, took) = (response.status().as_u16(), start.elapsed());
    center.metrics.answer(route, &method, status, took);
    tracing::debug!(%method, route, status, ?took, "answered");
    response
}
