//! Tokens, and the registrations they allow.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Center;
use super::auth::Minter;
use super::body::{Body, Fields, FromFields};
use super::refusal::{BodyRefusals, Detail};
use crate::base::refusal::Refusal;
use crate::base::secret::{self, Purpose};
use crate::domain::refuse;
use crate::domain::registration::{Mint, Register, Registered, TOKEN_LIFE};

/// A request for permission to register a node.
#[derive(Debug, ToSchema)]
pub(super) struct MintRequest {
    /// The household that the node will belong to.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^:\x00-\x1f\x7f-\x9f]*$")]
    household_id: String,
    /// The room that the node will be in, unless the node reports one.
    #[schema(max_length = 1024, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    room: Option<String>,
    /// What people call it.
    #[schema(max_length = 1024, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    name: Option<String>,
    /// The node. The token then replaces the unused tokens of this node.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^:\x00-\x1f\x7f-\x9f]*$")]
    node_id: Option<String>,
}

impl FromFields for MintRequest {
    fn from_fields(fields: &mut Fields) -> Self {
        Self {
            household_id: fields.id("household_id"),
            room: fields.optional_text("room"),
            name: fields.optional_text("name"),
            node_id: fields.optional_id("node_id"),
        }
    }
}

/// A permission to register one node.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MintAnswer {
    /// `prov_` and 43 url-safe characters; shown once.
    token: String,
    /// The node that may register with it.
    node_id: String,
    /// When it ends: UTC, with the zone `Z`.
    expires_at: String,
    /// How long it is valid, in seconds.
    expires_in: u64,
}

/// Makes a permission to register one node.
#[utoipa::path(
    post,
    path = "/api/v0/provisioning/token",
    tag = "nodes",
    request_body = MintRequest,
    security(("administrator" = []), ("user" = [])),
    responses(
        (status = 201, body = MintAnswer),
        (status = 401, description = "No credential, or a wrong one", body = Detail),
        (status = 403, description = "The user does not belong to the household", body = Detail),
        BodyRefusals,
    )
)]
pub(super) async fn mint(
    State(center): State<Arc<Center>>,
    Minter(caller): Minter,
    Body(request): Body<MintRequest>,
) -> Result<(StatusCode, Json<MintAnswer>), Refusal> {
    if !caller.may_act_for(&request.household_id) {
        return Err(Refusal::NotAMember);
    }
    let now = center.config.clock.now();
    let secret = secret::random_text().map_err(|error| {
        tracing::error!(error = %crate::base::chain(&error), "creating a provisioning token failed");
        Refusal::Internal
    })?;
    let token = format!("prov_{}", secret.expose());
    let operation = Mint {
        token_hash: center.secret.hash(Purpose::ProvisioningToken, &[&token]),
        is_refresh: request.node_id.is_some(),
        node_id: request.node_id.unwrap_or_else(|| Uuid::new_v4().to_string()),
        household_id: request.household_id,
        room: request.room,
        name: request.name,
        now,
        caller,
    };
    let node_id = operation.node_id.clone();
    center.store.write(operation).await.map_err(refuse)?;
    tracing::info!(node_id, "created a provisioning token");
    let expires_at = now.after(TOKEN_LIFE).utc();
    Ok((StatusCode::CREATED, Json(MintAnswer { token, node_id, expires_at, expires_in: TOKEN_LIFE.as_secs() })))
}

/// A node that has a token.
#[derive(Debug, ToSchema)]
pub(super) struct RegisterRequest {
    /// Which node it is.
    #[schema(max_length = 1024, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    node_id: String,
    /// Its permission.
    #[schema(max_length = 1024, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    provisioning_token: String,
    /// The room that the node is in.
    #[schema(max_length = 1024, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    room: Option<String>,
}

impl FromFields for RegisterRequest {
    fn from_fields(fields: &mut Fields) -> Self {
        Self {
            node_id: fields.text("node_id"),
            provisioning_token: fields.text("provisioning_token"),
            room: fields.optional_text("room").filter(|room| !room.is_empty()),
        }
    }
}

/// The identity and the key of a registered node.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RegisterAnswer {
    /// Which node it is.
    node_id: String,
    /// The room that the node is in: as the node reported, as the token contains, or `default`.
    room: String,
    /// The user whose voice it answers to.
    user: String,
    /// How verbose its voice is.
    voice_mode: String,
    /// Its key: 43 url-safe characters.
    node_key: String,
    /// The household that it is part of: the token's.
    household_id: String,
}

/// Registers a node.
///
/// The token is the permission, and identifies the request: a repeated request gets the same answer until the node
/// first uses its key. After that the token is invalid.
#[utoipa::path(
    post,
    path = "/api/v0/nodes/register",
    tag = "nodes",
    request_body = RegisterRequest,
    responses(
        (status = 201, body = RegisterAnswer),
        (status = 401, description = "The token is unknown, expired, used, or another node's", body = Detail),
        BodyRefusals,
    )
)]
pub(super) async fn register(
    State(center): State<Arc<Center>>,
    Body(request): Body<RegisterRequest>,
) -> Result<(StatusCode, Json<RegisterAnswer>), Refusal> {
    let token_hash = center.secret.hash(Purpose::ProvisioningToken, &[&request.provisioning_token]);
    let node_key = center.secret.node_key(&request.node_id, &token_hash);
    let key_hash = center.secret.node_key_hash(&request.node_id, node_key.expose());
    let operation =
        Register { node_id: request.node_id, token_hash, key_hash, room: request.room, now: center.config.clock.now() };
    let registered = center.store.write(operation).await.map_err(refuse)?;
    tracing::info!(node_id = registered.node_id, "registered a node");
    let Registered { node_id, room, user, voice_mode, household_id } = registered;
    let node_key = node_key.expose().to_owned();
    Ok((StatusCode::CREATED, Json(RegisterAnswer { node_id, room, user, voice_mode, node_key, household_id })))
}
