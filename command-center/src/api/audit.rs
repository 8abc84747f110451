//! The audit for operators and their programs.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Center;
use super::body::Asked;
use super::fleet::{Faults, PAGE, refuse};
use super::operating::Operating;
use super::refusal::{Detail, ValidationError};
use crate::base::refusal::Refusal;
use crate::domain::audit::AuditEntry;
use crate::domain::permissions::Task;

/// How many actions a page has at most.
const LARGEST: usize = 1000;

/// Which part of the audit. An empty value is none.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct AuditQuery {
    /// Where to begin: `next` of the page before.
    #[param(pattern = "^[0-9]+$")]
    after: Option<String>,
    /// How many actions at most.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
}

/// A page of the audit.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuditPage {
    /// What operators have done, the newest first.
    actions: Vec<AuditEntry>,
    /// The value of `after` for the next page; null after the last one.
    next: Option<String>,
}

/// What operators have done, the newest first.
#[utoipa::path(
    get,
    path = "/api/v0/admin/audit",
    tag = "fleet",
    params(AuditQuery),
    security(("administrator" = []), ("operator" = [])),
    responses(
        (status = 200, body = AuditPage),
        (status = 400, description = "The query is not understood", body = ValidationError),
        (status = 401, description = "No credential, or a wrong one", body = Detail),
        (status = 403, description = "The operator's role does not permit it", body = Detail),
        (status = 429, description = "Too many wrong credentials; `Retry-After` says when to try again", body = Detail),
        (status = 503, description = "The database cannot be reached", body = Detail),
    )
)]
pub(super) async fn list(
    State(center): State<Arc<Center>>,
    operating: Operating,
    Asked(AuditQuery { after, limit }): Asked<AuditQuery>,
) -> Result<Json<AuditPage>, Refusal> {
    operating.scope(Task::SeeAudit)?;
    let mut faults = Faults::default();
    let after = faults.read("after", after, |text| text.parse().ok(), "Input should be `next` of another page");
    let parse = |text: &str| text.parse().ok().filter(|limit| (1..=LARGEST).contains(limit));
    let limit = faults.read("limit", limit, parse, "Input should be an integer from 1 to 1000").unwrap_or(PAGE);
    if !faults.0.is_empty() {
        return Err(Refusal::Malformed(faults.0));
    }
    // One more tells whether another page follows.
    let mut actions = center.operator.audit(after, limit + 1).await.map_err(|error| refuse(&error))?;
    let is_followed = actions.len() > limit;
    actions.truncate(limit);
    let next = actions.last().filter(|_| is_followed).map(|last| last.number.to_string());
    Ok(Json(AuditPage { actions, next }))
}
