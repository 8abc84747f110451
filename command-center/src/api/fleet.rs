//! The fleet for operators: counts, lists with filters, and exports.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use http_body_util::channel::{Channel, Sender};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use utoipa::{IntoParams, ToSchema};

use super::Center;
use super::body::{Asked, Segment};
use super::operating::Operating;
use super::refusal::{Detail, ValidationError};
use crate::base::clock::{Moment, parse_duration};
use crate::base::refusal::Refusal;
use crate::domain::fleet::{self, ApplianceEntry, Counts, Device, Entry, Filter, NodeEntry, Order, Page, csv_heading, csv_line};
use crate::domain::operator::OperatorError;
use crate::domain::permissions::{Scope, Task};

/// For how long counts are shown at most. A million devices take some tenths of a second to count.
const COUNTED_FOR: Duration = Duration::from_secs(10);

/// How often counts are counted again that somebody has asked for, so that nobody waits for it.
pub(crate) const RECOUNT: Duration = Duration::from_secs(5);

/// How many devices a page has if nothing else is asked for.
pub(super) const PAGE: usize = 50;

/// The devices of both kinds, by their state.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(super) struct FleetCounts {
    pub(super) appliances: Counts,
    pub(super) nodes: Counts,
}

/// The last counts of each scope, and when they were counted.
#[derive(Debug, Default)]
pub(crate) struct LastCounts(Mutex<HashMap<Scope, (Moment, FleetCounts)>>);

impl LastCounts {
    /// The counts, ten seconds old at most. Requests that come while they are counted wait for that.
    pub(super) async fn read(&self, center: &Center, scope: &Scope) -> Result<FleetCounts, Refusal> {
        let now = center.config.clock.now();
        let mut last = self.0.lock().await;
        last.retain(|_, (counted, _)| now < counted.after(COUNTED_FOR));
        if let Some((_, counts)) = last.get(scope) {
            return Ok(*counts);
        }
        let counts = count(center, scope).await?;
        last.insert(scope.clone(), (now, counts));
        Ok(counts)
    }

    /// Counts the whole fleet again, unless nobody has asked since the server was started. Requests do not wait meanwhile.
    pub(crate) async fn refresh(&self, center: &Center) {
        if !self.0.lock().await.contains_key(&Scope::All) {
            return;
        }
        let now = center.config.clock.now();
        // Why it has failed is logged; the next request that needs new counts tries again.
        if let Ok(counts) = count(center, &Scope::All).await {
            self.0.lock().await.insert(Scope::All, (now, counts));
        }
    }
}

async fn count(center: &Center, scope: &Scope) -> Result<FleetCounts, Refusal> {
    let appliances = center.operator.count::<ApplianceEntry>(scope).await.map_err(|error| refuse(&error))?;
    let nodes = center.operator.count::<NodeEntry>(scope).await.map_err(|error| refuse(&error))?;
    Ok(FleetCounts { appliances, nodes })
}

/// The refusal for an error of a list.
pub(super) fn refuse(error: &OperatorError) -> Refusal {
    match error {
        OperatorError::Invalid(text) => Refusal::Malformed(vec![format!("query: {text}")]),
        error => {
            tracing::warn!(error = %crate::base::chain(error), "reading a list of the fleet failed");
            Refusal::Unavailable
        }
    }
}

/// The number of devices in each state.
#[utoipa::path(
    get,
    path = "/api/v0/admin/fleet",
    tag = "fleet",
    security(("administrator" = []), ("operator" = [])),
    responses(
        (status = 200, body = FleetCounts),
        (status = 401, description = "No credential, or a wrong one", body = Detail),
        (status = 429, description = "Too many wrong credentials; `Retry-After` says when to try again", body = Detail),
        (status = 503, description = "The database cannot be reached", body = Detail),
    )
)]
pub(super) async fn counts(State(center): State<Arc<Center>>, operating: Operating) -> Result<Json<FleetCounts>, Refusal> {
    center.counts.read(&center, &operating.scope(Task::SeeFleet)?).await.map(Json)
}

/// Which devices, in which order. An empty value is none.
#[derive(Clone, Debug, Default, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct FleetQuery {
    /// What an id, a display name, a hardware address or a host name of an appliance begins with, or an id, a display name, a
    /// name or a room of a node.
    pub(super) text: Option<String>,
    /// The id of the site of an appliance.
    pub(super) site: Option<String>,
    /// The partner of an appliance.
    pub(super) partner: Option<String>,
    /// What an appliance reports as its status.
    pub(super) status: Option<String>,
    /// The household of a node.
    pub(super) household: Option<String>,
    /// The version of a node.
    pub(super) version: Option<String>,
    /// The state.
    #[param(inline, value_type = Option<fleet::State>)]
    pub(super) state: Option<String>,
    /// Heard of within this time, such as `1h` or `7d`.
    #[param(pattern = "^[0-9]+[smhdw]$")]
    pub(super) seen_within: Option<String>,
    /// Heard of once, but not within this time.
    #[param(pattern = "^[0-9]+[smhdw]$")]
    pub(super) silent_for: Option<String>,
    /// The order; `newest` if nothing else is asked for.
    #[param(inline, value_type = Option<Order>)]
    pub(super) order: Option<String>,
    /// Where to begin: `next` of the page before.
    pub(super) after: Option<String>,
    /// How many devices at most.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    pub(super) limit: Option<String>,
}

/// What is given; an empty value is none.
fn given(text: Option<String>) -> Option<String> {
    text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// What is wrong with a query.
#[derive(Default)]
pub(super) struct Faults(pub(super) Vec<String>);

impl Faults {
    /// Reads a parameter, if it is given. Its fault, if it has one, is `expected`.
    pub(super) fn read<T>(
        &mut self,
        name: &str,
        text: Option<String>,
        parse: impl FnOnce(&str) -> Option<T>,
        expected: &str,
    ) -> Option<T> {
        let text = given(text)?;
        let value = parse(&text);
        if value.is_none() {
            self.0.push(format!("query -> {name}: {expected}"));
        }
        value
    }
}

impl FleetQuery {
    /// What it means for one kind of devices, which `place` is the site or the household of.
    fn parse(self, place: Option<String>, scope: Scope) -> Result<fleet::Query, Refusal> {
        let mut faults = Faults::default();
        let state = "Input should be online, silent, new, deactivated, released or revoked";
        let state = faults.read("state", self.state, fleet::State::parse, state);
        let order = faults.read("order", self.order, Order::parse, "Input should be one of the orders");
        let time = "Input should be a number with s, m, h, d or w";
        let seen_within = faults.read("seen_within", self.seen_within, parse_duration, time);
        let silent_for = faults.read("silent_for", self.silent_for, parse_duration, time);
        let limit = |text: &str| text.parse().ok().filter(|limit| (1..=fleet::Query::LARGEST).contains(limit));
        let limit = faults.read("limit", self.limit, limit, "Input should be an integer from 1 to 1000");
        let filter = Filter {
            scope,
            place: given(place),
            partner: given(self.partner),
            state,
            status: given(self.status),
            version: given(self.version),
            seen_within,
            silent_for,
            text: given(self.text),
        };
        let query =
            fleet::Query { filter, order: order.unwrap_or_default(), after: given(self.after), limit: limit.unwrap_or(PAGE) };
        if faults.0.is_empty() { Ok(query) } else { Err(Refusal::Malformed(faults.0)) }
    }

    /// What it means for the appliances of a scope.
    pub(super) fn of_appliances(self, scope: Scope) -> Result<fleet::Query, Refusal> {
        let site = self.site.clone();
        let nothing = [&self.household, &self.version].into_iter().flatten().any(|text| !text.is_empty());
        if nothing { Err(unknown("household and version are for nodes")) } else { self.parse(site, scope) }
    }

    /// What it means for the nodes of a scope.
    pub(super) fn of_nodes(self, scope: Scope) -> Result<fleet::Query, Refusal> {
        let household = self.household.clone();
        let nothing = [&self.site, &self.partner, &self.status].into_iter().flatten().any(|text| !text.is_empty());
        if nothing { Err(unknown("site, partner and status are for appliances")) } else { self.parse(household, scope) }
    }
}

fn unknown(text: &str) -> Refusal {
    Refusal::Malformed(vec![format!("query: {text}")])
}

/// A page of a list of appliances.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AppliancePage {
    /// The appliances.
    appliances: Vec<ApplianceEntry>,
    /// The value of `after` for the next page; null after the last one. A page may have fewer appliances than fit, and another
    /// one follow.
    next: Option<String>,
}

/// A list of appliances.
#[utoipa::path(
    get,
    path = "/api/v0/admin/fleet/appliances",
    tag = "fleet",
    params(FleetQuery),
    security(("administrator" = []), ("operator" = [])),
    responses(
        (status = 200, body = AppliancePage),
        (status = 400, description = "The query is not understood", body = ValidationError),
        (status = 401, description = "No credential, or a wrong one", body = Detail),
        (status = 429, description = "Too many wrong credentials; `Retry-After` says when to try again", body = Detail),
        (status = 503, description = "The database cannot be reached", body = Detail),
    )
)]
pub(super) async fn appliances(
    State(center): State<Arc<Center>>,
    operating: Operating,
    Asked(asked): Asked<FleetQuery>,
) -> Result<Json<AppliancePage>, Refusal> {
    let page = center.operator.appliances(&asked.of_appliances(operating.scope(Task::SeeFleet)?)?).await;
    let Page { entries, next } = page.map_err(|error| refuse(&error))?;
    Ok(Json(AppliancePage { appliances: entries, next }))
}

/// A page of a list of nodes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NodePage {
    /// The nodes.
    nodes: Vec<NodeEntry>,
    /// As in a page of appliances.
    next: Option<String>,
}

/// A list of nodes.
#[utoipa::path(
    get,
    path = "/api/v0/admin/fleet/nodes",
    tag = "fleet",
    params(FleetQuery),
    security(("administrator" = []), ("operator" = [])),
    responses(
        (status = 200, body = NodePage),
        (status = 400, description = "The query is not understood", body = ValidationError),
        (status = 401, description = "No credential, or a wrong one", body = Detail),
        (status = 429, description = "Too many wrong credentials; `Retry-After` says when to try again", body = Detail),
        (status = 503, description = "The database cannot be reached", body = Detail),
    )
)]
pub(super) async fn nodes(
    State(center): State<Arc<Center>>,
    operating: Operating,
    Asked(asked): Asked<FleetQuery>,
) -> Result<Json<NodePage>, Refusal> {
    let page = center.operator.nodes(&asked.of_nodes(operating.scope(Task::SeeFleet)?)?).await;
    let Page { entries, next } = page.map_err(|error| refuse(&error))?;
    Ok(Json(NodePage { nodes: entries, next }))
}

/// The format of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Csv,
    JsonLines,
}

/// All appliances of a list as CSV (`appliances.csv`) or as JSON, one object per line (`appliances.jsonl`).
#[utoipa::path(
    get,
    path = "/api/v0/admin/fleet/export/{file}",
    tag = "fleet",
    params(("file" = String, Path, description = "`appliances` or `nodes`, with `.csv` or `.jsonl`", pattern = "^(appliances|nodes)[.](csv|jsonl)$"), FleetQuery),
    security(("administrator" = []), ("operator" = [])),
    responses(
        (
            status = 200,
            description = "The devices; as JSON, one object per line, which is as in the list",
            content((String = "text/csv"), (serde_json::Value = "application/jsonl"))
        ),
        (status = 400, description = "The query is not understood", body = ValidationError),
        (status = 401, description = "No credential, or a wrong one", body = Detail),
        (status = 404, description = "There is no such export", body = Detail),
        (status = 429, description = "Too many wrong credentials; `Retry-After` says when to try again", body = Detail),
        (status = 503, description = "The database cannot be reached", body = Detail),
    )
)]
pub(super) async fn export(
    State(center): State<Arc<Center>>,
    operating: Operating,
    Segment(file): Segment,
    Asked(asked): Asked<FleetQuery>,
) -> Result<Response, Refusal> {
    let scope = operating.scope(Task::SeeFleet)?;
    match file.as_str() {
        "appliances.csv" => stream::<ApplianceEntry>(center, asked.of_appliances(scope)?, Format::Csv, &file).await,
        "appliances.jsonl" => stream::<ApplianceEntry>(center, asked.of_appliances(scope)?, Format::JsonLines, &file).await,
        "nodes.csv" => stream::<NodeEntry>(center, asked.of_nodes(scope)?, Format::Csv, &file).await,
        "nodes.jsonl" => stream::<NodeEntry>(center, asked.of_nodes(scope)?, Format::JsonLines, &file).await,
        _ => Err(Refusal::NotFound),
    }
}

/// An answer that is read from the database while it is sent. What is wrong with the query is found by the first page, before the
/// answer begins.
async fn stream<D: Device>(
    center: Arc<Center>,
    mut query: fleet::Query,
    format: Format,
    file: &str,
) -> Result<Response, Refusal> {
    query.limit = fleet::Query::LARGEST;
    let first = center.operator.devices::<D>(&query).await.map_err(|error| refuse(&error))?;
    let (sender, body) = Channel::<Bytes, OperatorError>::new(1);
    tokio::spawn(write::<D>(center, query, first, format, sender));
    let kind = if format == Format::Csv { "text/csv; charset=utf-8" } else { "application/jsonl" };
    let mut response = ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-store")], Body::new(body)).into_response();
    let name = HeaderValue::from_str(&format!("attachment; filename=\"{file}\"")).expect("one of four names");
    response.headers_mut().insert(CONTENT_DISPOSITION, name);
    Ok(response)
}

/// Writes all pages of a list. It ends when the client does, which reads one page ahead at most.
async fn write<D: Device>(
    center: Arc<Center>,
    mut query: fleet::Query,
    mut page: Page<D>,
    format: Format,
    mut sender: Sender<Bytes, OperatorError>,
) {
    let mut text = if format == Format::Csv { csv_heading::<D>() } else { String::new() };
    loop {
        for entry in &page.entries {
            text.push_str(&line(entry, format));
        }
        if sender.send_data(Bytes::from(std::mem::take(&mut text))).await.is_err() || page.next.is_none() {
            return;
        }
        query.after = page.next;
        page = match center.operator.devices::<D>(&query).await {
            Ok(page) => page,
            // The client finds that the answer is not complete.
            Err(error) => return sender.abort(error),
        };
    }
}

fn line<E: Entry>(entry: &E, format: Format) -> String {
    match format {
        Format::Csv => csv_line(entry),
        Format::JsonLines => format!("{}\n", serde_json::to_string(entry).expect("an entry is JSON")),
    }
}
