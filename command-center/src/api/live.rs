//! A device as it changes, as server-sent events.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use http_body_util::channel::{Channel, Sender};
use serde::Serialize;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use utoipa::ToSchema;

use super::Center;
use super::body::Segment;
use super::fleet::refuse;
use super::operating::Operating;
use super::refusal::{Detail, ValidationError};
use crate::base::refusal::Refusal;
use crate::domain::fleet::{ApplianceEntry, Device, NodeEntry};
use crate::domain::history::Event;
use crate::domain::operator::OperatorError;
use crate::domain::permissions::{Scope, Task};

/// How many clients may watch devices at one time.
const WATCHERS: usize = 100;

/// How often a device is read for its watchers.
const LOOK: Duration = Duration::from_secs(2);

/// After how many looks without a change a comment is sent: proxies close connections on which nothing comes.
const QUIET_LOOKS: u32 = 7;

/// The clients that watch devices.
#[derive(Debug)]
pub(crate) struct Watchers {
    turns: Arc<Semaphore>,
    stopping: Notify,
}

impl Default for Watchers {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(WATCHERS)), stopping: Notify::new() }
    }
}

impl Watchers {
    /// Ends all streams, which would keep a server from stopping.
    pub(crate) fn stop(&self) {
        self.turns.close();
        self.stopping.notify_waiters();
    }
}

/// An appliance and its history.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ApplianceAnswer {
    #[serde(flatten)]
    appliance: ApplianceEntry,
    /// The last hundred events, the newest first.
    events: Vec<Event>,
}

impl From<(ApplianceEntry, Vec<Event>)> for ApplianceAnswer {
    fn from((appliance, events): (ApplianceEntry, Vec<Event>)) -> Self {
        Self { appliance, events }
    }
}

/// A node and its history.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NodeAnswer {
    #[serde(flatten)]
    node: NodeEntry,
    /// The last hundred events, the newest first.
    events: Vec<Event>,
}

impl From<(NodeEntry, Vec<Event>)> for NodeAnswer {
    fn from((node, events): (NodeEntry, Vec<Event>)) -> Self {
        Self { node, events }
    }
}

/// A server-sent event: a device has changed.
#[derive(Debug, ToSchema)]
pub(super) struct DeviceChange {
    /// The device and its history, as JSON.
    data: String,
}

impl fmt::Display for DeviceChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "data: {}\n\n", self.data)
    }
}

/// One device of a scope and its history.
async fn one<D: Device>(center: &Center, id: &str, scope: &Scope) -> Result<(D, Vec<Event>), Refusal> {
    center.operator.device::<D>(id, scope).await.map_err(|error| refuse(&error))?.ok_or(D::UNKNOWN)
}

/// One appliance, with its history.
#[utoipa::path(
    get,
    path = "/api/v0/admin/fleet/appliances/{appliance_id}",
    tag = "fleet",
    params(("appliance_id" = String, Path, description = "Which appliance")),
    security(("administrator" = []), ("operator" = [])),
    responses(
        (status = 200, body = ApplianceAnswer),
        (status = 400, description = "The path is not text", body = ValidationError),
        (status = 401, description = "No credential, or a wrong one", body = Detail),
        (status = 404, description = "There is no such appliance", body = Detail),
        (status = 429, description = "Too many wrong credentials; `Retry-After` says when to try again", body = Detail),
        (status = 503, description = "The database cannot be reached", body = Detail),
    )
)]
pub(super) async fn appliance(
    State(center): State<Arc<Center>>,
    operating: Operating,
    Segment(id): Segment,
) -> Result<axum::Json<ApplianceAnswer>, Refusal> {
    Ok(axum::Json(one(&center, &id, &operating.scope(Task::SeeFleet)?).await?.into()))
}

/// One node, with its history.
#[utoipa::path(
    get,
    path = "/api/v0/admin/fleet/nodes/{node_id}",
    tag = "fleet",
    params(("node_id" = String, Path, description = "Which node")),
    security(("administrator" = []), ("operator" = [])),
    responses(
        (status = 200, body = NodeAnswer),
        (status = 400, description = "The path is not text", body = ValidationError),
        (status = 401, description = "No credential, or a wrong one", body = Detail),
        (status = 404, description = "There is no such node", body = Detail),
        (status = 429, description = "Too many wrong credentials; `Retry-After` says when to try again", body = Detail),
        (status = 503, description = "The database cannot be reached", body = Detail),
    )
)]
pub(super) async fn node(
    State(center): State<Arc<Center>>,
    operating: Operating,
    Segment(id): Segment,
) -> Result<axum::Json<NodeAnswer>, Refusal> {
    Ok(axum::Json(one(&center, &id, &operating.scope(Task::SeeFleet)?).await?.into()))
}

/// One appliance, with its history, at the beginning and after each change: server-sent events, whose data are the answer of the
/// route without `/live`.
#[utoipa::path(
    get,
    path = "/api/v0/admin/fleet/appliances/{appliance_id}/live",
    tag = "fleet",
    params(("appliance_id" = String, Path, description = "Which appliance")),
    security(("administrator" = []), ("operator" = [])),
    responses(
        (status = 200, description = "Events", body = DeviceChange, content_type = "text/event-stream"),
        (status = 400, description = "The path is not text", body = ValidationError),
        (status = 401, description = "No credential, or a wrong one", body = Detail),
        (status = 404, description = "There is no such appliance", body = Detail),
        (status = 429, description = "Too many wrong credentials; `Retry-After` says when to try again", body = Detail),
        (status = 503, description = "The database cannot be reached, or too many clients watch", body = Detail),
    )
)]
pub(super) async fn live_appliance(
    State(center): State<Arc<Center>>,
    operating: Operating,
    Segment(id): Segment,
) -> Result<Response, Refusal> {
    watch::<ApplianceEntry, ApplianceAnswer>(center, id, operating).await
}

/// One node, as the route for appliances.
#[utoipa::path(
    get,
    path = "/api/v0/admin/fleet/nodes/{node_id}/live",
    tag = "fleet",
    params(("node_id" = String, Path, description = "Which node")),
    security(("administrator" = []), ("operator" = [])),
    responses(
        (status = 200, description = "Events", body = DeviceChange, content_type = "text/event-stream"),
        (status = 400, description = "The path is not text", body = ValidationError),
        (status = 401, description = "No credential, or a wrong one", body = Detail),
        (status = 404, description = "There is no such node", body = Detail),
        (status = 429, description = "Too many wrong credentials; `Retry-After` says when to try again", body = Detail),
        (status = 503, description = "The database cannot be reached, or too many clients watch", body = Detail),
    )
)]
pub(super) async fn live_node(
    State(center): State<Arc<Center>>,
    operating: Operating,
    Segment(id): Segment,
) -> Result<Response, Refusal> {
    watch::<NodeEntry, NodeAnswer>(center, id, operating).await
}

async fn watch<D, A>(center: Arc<Center>, id: String, operating: Operating) -> Result<Response, Refusal>
where
    D: Device,
    A: From<(D, Vec<Event>)> + Serialize + 'static,
{
    let turn = Arc::clone(&center.watchers.turns).try_acquire_owned().map_err(|_| Refusal::Unavailable)?;
    let first = text(&A::from(one(&center, &id, &operating.scope(Task::SeeFleet)?).await?));
    let (sender, body) = Channel::<Bytes, OperatorError>::new(1);
    tokio::spawn(send::<D, A>(center, id, operating, first, sender, turn));
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")];
    Ok((headers, Body::new(body)).into_response())
}

/// Sends the device when it has changed, until the client or the server ends.
async fn send<D, A>(
    center: Arc<Center>,
    id: String,
    operating: Operating,
    first: String,
    mut sender: Sender<Bytes, OperatorError>,
    _turn: OwnedSemaphorePermit,
) where
    D: Device,
    A: From<(D, Vec<Event>)> + Serialize + 'static,
{
    let stopping = center.watchers.stopping.notified();
    if center.watchers.turns.is_closed() {
        return;
    }
    let sending = async {
        let (mut last, mut quiet) = (String::new(), 0);
        let mut next = Ok(first);
        loop {
            // What cannot be read is a reason for the client to connect again later.
            let Ok(text) = next else { return };
            quiet += 1;
            let message = if text == last {
                (quiet >= QUIET_LOOKS).then(|| ":\n\n".to_owned())
            } else {
                last.clone_from(&text);
                Some(DeviceChange { data: text }.to_string())
            };
            if let Some(message) = message {
                quiet = 0;
                if sender.send_data(message.into()).await.is_err() {
                    return;
                }
            }
            tokio::time::sleep(LOOK).await;
            next = again::<D>(&center, &id, &operating).await.map(|found| self::text(&A::from(found)));
        }
    };
    tokio::select! {
        () = sending => {}
        () = stopping => {}
    }
}

/// The device, if the operator may still see it.
async fn again<D: Device>(center: &Center, id: &str, operating: &Operating) -> Result<(D, Vec<Event>), Refusal> {
    one(center, id, &operating.still(center).await?.scope(Task::SeeFleet)?).await
}

/// As one line.
fn text(answer: &impl Serialize) -> String {
    serde_json::to_string(answer).expect("an answer is JSON")
}
