//! Whether the server works.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Center;

/// The health of the server.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HealthAnswer {
    /// `healthy`, or `unhealthy` if no node could register.
    status: &'static str,
    /// Always `jarvis-command-center`.
    service: &'static str,
    /// The server's time: UTC, with the zone.
    timestamp: String,
}

/// Whether a node could register: tests that the database accepts writes.
#[utoipa::path(
    get,
    path = "/health",
    tag = "health",
    responses((status = 200, body = HealthAnswer), (status = 503, description = "No node could register", body = HealthAnswer))
)]
pub(super) async fn health(State(center): State<Arc<Center>>) -> Response {
    let timestamp = center.config.clock.now().zoned();
    let (status, word) = if center.health.is_good(&center.store).await {
        (StatusCode::OK, "healthy")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "unhealthy")
    };
    let answer = HealthAnswer { status: word, service: "jarvis-command-center", timestamp };
    (status, Json(answer)).into_response()
}

/// The same as `/health`, where the other routes of nodes are.
#[utoipa::path(
    get,
    path = "/api/v0/health",
    tag = "health",
    responses((status = 200, body = HealthAnswer), (status = 503, description = "No node could register", body = HealthAnswer))
)]
pub(super) async fn health_of_nodes(center: State<Arc<Center>>) -> Response {
    health(center).await
}

/// An echo.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PingAnswer {
    /// Always `pong`.
    message: &'static str,
}

/// Whether the server runs at all.
#[utoipa::path(get, path = "/api/v0/ping", tag = "health", responses((status = 200, body = PingAnswer)))]
pub(super) async fn ping() -> Json<PingAnswer> {
    Json(PingAnswer { message: "pong" })
}
