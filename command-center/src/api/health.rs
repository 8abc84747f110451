//! Whether the server works.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::Center;
use crate::store::{Connection, Error, Operation, Store};

/// A database that takes longer to say one number is not healthy.
const DEADLINE: Duration = Duration::from_secs(2);

/// Asks the database to write, because one that only reads cannot register anybody.
struct Probe;

impl Operation for Probe {
    type Answer = ();

    async fn run(&self, connection: &mut Connection<'_>) -> Result<(), Error> {
        connection.execute("UPDATE server SET value = value WHERE name = 'fingerprint'", &[]).await?;
        Ok(())
    }
}

/// What the last probe said. Health is public, and a probe costs a write to the disk, so its answer serves for a while.
#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<Option<(Instant, bool)>>);

/// How long an answer serves.
const FRESH: Duration = Duration::from_secs(1);

impl Health {
    async fn is_good(&self, store: &Store) -> bool {
        // Held while probing: those who ask meanwhile share the answer.
        let mut last = self.0.lock().await;
        if let Some((at, good)) = *last
            && at.elapsed() < FRESH
        {
            return good;
        }
        let good = matches!(tokio::time::timeout(DEADLINE, store.write(Probe)).await, Ok(Ok(())));
        *last = Some((Instant::now(), good));
        good
    }
}

/// How the server is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HealthAnswer {
    /// `healthy`, or `unhealthy` if nobody could register.
    status: &'static str,
    /// Always `jarvis-command-center`.
    service: &'static str,
    /// The server's time: UTC, with the zone.
    timestamp: String,
}

/// Whether a node could register: the database is asked to write.
#[utoipa::path(
    get,
    path = "/health",
    tag = "health",
    responses((status = 200, body = HealthAnswer), (status = 503, description = "Nobody could register", body = HealthAnswer))
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
    responses((status = 200, body = HealthAnswer), (status = 503, description = "Nobody could register", body = HealthAnswer))
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
