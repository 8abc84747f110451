//! The HTTP interface: which route is answered by what.

pub(crate) mod auth;
pub(crate) mod body;
mod claims;
pub(crate) mod health;
pub(crate) mod nodes;
pub(crate) mod provisioning;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::{get, post};

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
}

impl Center {
    /// How clients reach this server if it is not said otherwise.
    #[expect(clippy::unused_self, reason = "depends on the configuration of TLS")]
    const fn scheme(&self) -> &'static str {
        "http"
    }
}

/// The routes.
pub(crate) fn router(center: Arc<Center>) -> Router {
    Router::new()
        .route("/health", get(health::health))
        .route("/api/v0/health", get(health::health))
        .route("/api/v0/ping", get(health::ping))
        .route("/api/v0/provisioning/token", post(provisioning::mint))
        .route("/api/v0/nodes/register", post(provisioning::register))
        .route("/api/v0/admin/nodes/heartbeat", post(nodes::heartbeat))
        .route("/api/v0/node/mqtt-credentials", get(nodes::mqtt_credentials))
        .route("/api/v0/admin/nodes", get(nodes::list))
        .route("/api/v0/admin/nodes/{node_id}", get(nodes::one))
        .route("/api/provision/claim", post(claims::claim))
        .route("/api/partners/claim", post(claims::claim_as_partner))
        .route("/api/provision/validate", post(claims::validate))
        .route("/api/provision/validate/{code}", get(claims::validate_path))
        .route("/api/provision/status", post(claims::status))
        .route("/api/provision/heartbeat", post(claims::heartbeat))
        .route("/api/provision/config/{appliance_id}", get(claims::configuration))
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
