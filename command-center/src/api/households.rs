//! What the phone app reads and sets for a household.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::Center;
use super::body::{Body, Fields, FromFields, Segment};
use super::refusal::{BodyRefusals, Detail, ValidationError};
use crate::base::refusal::Refusal;
use crate::domain::caller::Caller;
use crate::domain::nodes::{ListNodes, NodeView};
use crate::domain::refuse;
use crate::domain::smart_home::{ChangeSmartHome, Changes, ReadSmartHome, SmartHome};

/// The settings of a household, and its nodes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SmartHomeAnswer {
    /// What manages the devices of the household.
    device_manager: String,
    /// The node that the household prefers; empty without one.
    primary_node_id: String,
    /// Whether devices of other systems are used.
    use_external_devices: bool,
    /// The nodes that are registered.
    nodes: Vec<HouseholdNode>,
}

/// A node of a household.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HouseholdNode {
    /// Which node it is.
    node_id: String,
    /// The room that the node is in.
    room: String,
    /// Whether it was heard of in the last fifteen minutes.
    online: bool,
    /// When it was last heard of: UTC, with the zone.
    last_seen: Option<String>,
}

impl From<NodeView> for HouseholdNode {
    fn from(NodeView { node_id, room, online, last_seen, .. }: NodeView) -> Self {
        Self { node_id, room, online, last_seen }
    }
}

/// The settings of a household, and its nodes: with this the app verifies that a node has registered.
#[utoipa::path(
    get,
    path = "/api/v0/households/{household}/smart-home/config",
    tag = "nodes",
    params(("household" = String, Path, description = "Which household")),
    security(("administrator" = []), ("user" = [])),
    responses(
        (status = 200, body = SmartHomeAnswer),
        (status = 400, description = "The path is not text", body = ValidationError),
        (status = 401, description = "No credential, or a wrong one", body = Detail),
        (status = 403, description = "The user does not belong to the household", body = Detail),
        (status = 429, description = "Too many wrong credentials; `Retry-After` says when to try again", body = Detail),
        (status = 503, description = "The database cannot be reached", body = Detail),
    )
)]
pub(super) async fn smart_home(
    State(center): State<Arc<Center>>,
    caller: Caller,
    Segment(household_id): Segment,
) -> Result<Json<SmartHomeAnswer>, Refusal> {
    if !caller.may_act_for(&household_id) {
        return Err(Refusal::NotAMember);
    }
    let settings = center.store.read(ReadSmartHome { household_id: household_id.clone() }).await.map_err(refuse)?;
    answer(&center, household_id, settings).await
}

/// Changes to the settings of a household; absent fields stay as they are.
#[derive(Debug, ToSchema)]
pub(super) struct SmartHomeRequest {
    /// What manages the devices of the household.
    #[schema(max_length = 1024, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    device_manager: Option<String>,
    /// The node that the household prefers; empty for none.
    #[schema(max_length = 1024, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    primary_node_id: Option<String>,
    /// Whether devices of other systems are used.
    use_external_devices: Option<bool>,
}

impl FromFields for SmartHomeRequest {
    fn from_fields(fields: &mut Fields) -> Self {
        Self {
            device_manager: fields.optional_text("device_manager"),
            primary_node_id: fields.optional_text("primary_node_id"),
            use_external_devices: fields.optional_flag("use_external_devices"),
        }
    }
}

/// Changes the settings of a household.
#[utoipa::path(
    put,
    path = "/api/v0/households/{household}/smart-home/config",
    tag = "nodes",
    params(("household" = String, Path, description = "Which household")),
    request_body = SmartHomeRequest,
    security(("administrator" = []), ("user" = [])),
    responses(
        (status = 200, body = SmartHomeAnswer),
        (status = 401, description = "No credential, or a wrong one", body = Detail),
        (status = 403, description = "The user does not belong to the household", body = Detail),
        BodyRefusals,
    )
)]
pub(super) async fn set_smart_home(
    State(center): State<Arc<Center>>,
    caller: Caller,
    Segment(household_id): Segment,
    Body(request): Body<SmartHomeRequest>,
) -> Result<Json<SmartHomeAnswer>, Refusal> {
    if !caller.may_act_for(&household_id) {
        return Err(Refusal::NotAMember);
    }
    let SmartHomeRequest { device_manager, primary_node_id, use_external_devices } = request;
    let changes = Changes { device_manager, primary_node_id, use_external_devices };
    let change = ChangeSmartHome { household_id: household_id.clone(), changes };
    let settings = center.store.write(change).await.map_err(refuse)?;
    answer(&center, household_id, settings).await
}

async fn answer(center: &Center, household_id: String, settings: SmartHome) -> Result<Json<SmartHomeAnswer>, Refusal> {
    let (households, now) = (Some(vec![household_id]), center.config.clock.now());
    let list = ListNodes { households, include_inactive: false, after: String::new(), now };
    let nodes = center.store.read(list).await.map_err(refuse)?;
    let SmartHome { device_manager, primary_node_id, use_external_devices } = settings;
    let nodes = nodes.into_iter().map(HouseholdNode::from).collect();
    Ok(Json(SmartHomeAnswer { device_manager, primary_node_id, use_external_devices, nodes }))
}
