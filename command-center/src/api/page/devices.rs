//! Appliances and nodes: a form with filters, the number of devices in each state, and one page of a table.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use url::form_urlencoded::Serializer;

use super::device::address as page_of;
use super::{Browser, NO_BREAK, Place, answer, cells, when};
use crate::api::Center;
use crate::api::body::Asked;
use crate::api::fleet::{FleetCounts, FleetQuery, PAGE, refuse};
use crate::api::html::Value;
use crate::api::operating::Operating;
use crate::base::refusal::Refusal;
use crate::domain::fleet::{ApplianceEntry, Counts, Device, NodeEntry, Order, Page, State as DeviceState};
use crate::domain::permissions::Task;

/// `GET /appliances`
pub(in crate::api) async fn appliances(
    State(center): State<Arc<Center>>,
    Browser(operating): Browser,
    asked: Result<Asked<FleetQuery>, Refusal>,
) -> Response {
    let asked = asked.map(|Asked(asked)| asked).unwrap_or_default();
    let page = match operating.scope(Task::SeeFleet).and_then(|scope| asked.clone().of_appliances(scope)) {
        Ok(query) => center.operator.appliances(&query).await.map_err(|error| refuse(&error)),
        Err(refusal) => Err(refusal),
    };
    let head = ["Appliance", "Site", "Host", "State", "Status", "Progress", "Last seen"];
    list(&center, &operating, &APPLIANCES, &asked, page, &head, appliance).await
}

/// `GET /nodes`
pub(in crate::api) async fn nodes(
    State(center): State<Arc<Center>>,
    Browser(operating): Browser,
    asked: Result<Asked<FleetQuery>, Refusal>,
) -> Response {
    let asked = asked.map(|Asked(asked)| asked).unwrap_or_default();
    let page = match operating.scope(Task::SeeFleet).and_then(|scope| asked.clone().of_nodes(scope)) {
        Ok(query) => center.operator.nodes(&query).await.map_err(|error| refuse(&error)),
        Err(refusal) => Err(refusal),
    };
    let head = ["Node", "Household", "Room", "Name", "State", "Version", "Last seen"];
    list(&center, &operating, &NODES, &asked, page, &head, node).await
}

/// A field of the form: its name in the query, its label, and its value in a query.
type Field = (&'static str, &'static str, fn(&FleetQuery) -> Option<&str>);

/// What differs between the lists.
struct List {
    place: Place,
    /// What the text is searched in.
    searched: &'static str,
    fields: &'static [Field],
    states: &'static [DeviceState],
    counts: fn(&FleetCounts) -> Counts,
}

const APPLIANCES: List = List {
    place: Place::Appliances,
    searched: "Id, display name, address or host name",
    fields: &[
        ("site", "Site", |query| query.site.as_deref()),
        ("partner", "Partner", |query| query.partner.as_deref()),
        ("status", "Status", |query| query.status.as_deref()),
    ],
    states: &DeviceState::ALL,
    counts: |counts| counts.appliances,
};

const NODES: List = List {
    place: Place::Nodes,
    searched: "Id, display name, name or room",
    fields: &[
        ("household", "Household", |query| query.household.as_deref()),
        ("version", "Version", |query| query.version.as_deref()),
    ],
    states: &[DeviceState::Online, DeviceState::Silent, DeviceState::New, DeviceState::Deactivated, DeviceState::Revoked],
    counts: |counts| counts.nodes,
};

/// Times that the form offers.
const TIMES: [(&str, &str); 5] =
    [("15m", "15 minutes"), ("1h", "an hour"), ("1d", "a day"), ("7d", "a week"), ("30d", "30 days")];

/// The orders and their names.
const ORDERS: [(Order, &str); 6] = [
    (Order::Newest, "Newest first"),
    (Order::Oldest, "Oldest first"),
    (Order::Id, "By id"),
    (Order::IdBackwards, "By id, backwards"),
    (Order::LastSeen, "Last seen first"),
    (Order::LongestSilent, "Longest silent first"),
];

async fn list<D>(
    center: &Center,
    operating: &Operating,
    list: &List,
    asked: &FleetQuery,
    page: Result<Page<D>, Refusal>,
    head: &[&str],
    row: impl Fn(&D) -> Markup,
) -> Response {
    let counts = match operating.scope(Task::SeeFleet) {
        Ok(scope) => center.counts.read(center, &scope).await,
        Err(refusal) => Err(refusal),
    };
    let counts = match counts {
        Ok(counts) => (list.counts)(&counts),
        Err(refusal) => return refusal.into_response(),
    };
    let (page, fault, status) = match page {
        Ok(page) => (page, None, StatusCode::OK),
        Err(Refusal::Malformed(faults)) => {
            (Page { entries: Vec::new(), next: None }, Some(faults.join("; ")), StatusCode::BAD_REQUEST)
        }
        Err(refusal) => return refusal.into_response(),
    };
    let content = html! {
        h2 { (list.place.name()) }
        (states(list, asked, counts))
        (form(list, asked))
        @if let Some(fault) = fault { p.fault role="alert" { (Value(&fault)) } }
        @else { (table(list, asked, &page, head, row)) }
    };
    answer(center, operating, list.place, list.place.name(), &content, status)
}

/// The address of a list, with this query.
fn address(path: &str, query: &FleetQuery) -> String {
    let FleetQuery { text, site, partner, status, household, version, state, seen_within, silent_for, order, after, limit } =
        query;
    let pairs = [
        ("text", text),
        ("site", site),
        ("partner", partner),
        ("status", status),
        ("household", household),
        ("version", version),
        ("state", state),
        ("seen_within", seen_within),
        ("silent_for", silent_for),
        ("order", order),
        ("after", after),
        ("limit", limit),
    ];
    let mut serializer = Serializer::new(String::new());
    for (name, value) in pairs {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            serializer.append_pair(name, value);
        }
    }
    let query = serializer.finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// The number of devices in each state, as links to them.
fn states(list: &List, asked: &FleetQuery, counts: Counts) -> Markup {
    let to = |state: Option<DeviceState>| {
        let state = state.map(|state| state.word().to_owned());
        address(list.place.path(), &FleetQuery { state, after: None, ..asked.clone() })
    };
    let is_shown =
        |state: Option<DeviceState>| asked.state.as_deref().filter(|word| !word.is_empty()) == state.map(DeviceState::word);
    let all = [None].into_iter().chain(list.states.iter().copied().map(Some));
    html! {
        nav.states aria-label="By state" {
            ul {
                @for state in all {
                    li {
                        a href=(Value(&to(state))) aria-current=[is_shown(state).then_some("true")] {
                            strong { (grouped(state.map_or_else(|| counts.all(), |state| counts.of(state)))) }
                            " " (state.map_or("all", DeviceState::word))
                        }
                    }
                }
            }
        }
    }
}

/// A number with a thin space after each thousand.
fn grouped(number: i64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

fn form(list: &List, asked: &FleetQuery) -> Markup {
    let is = |value: &Option<String>, word: &str| value.as_deref() == Some(word);
    let times = |value: &Option<String>| {
        html! {
            option value="" { "any time" }
            @for (word, name) in TIMES { option value=(word) selected[is(value, word)] { (name) } }
        }
    };
    html! {
        search {
            form.filters method="get" action=(list.place.path()) {
                label.wide { "Begins with" input type="search" name="text" value=(Value(asked.text.as_deref().unwrap_or_default()))
                    placeholder=(list.searched) maxlength="200"; }
                @for (name, label, value) in list.fields {
                    label { (label) input name=(name) value=(Value(value(asked).unwrap_or_default())) maxlength="200"; }
                }
                label {
                    "State"
                    select name="state" {
                        option value="" { "any" }
                        @for state in list.states {
                            option value=(state.word()) selected[is(&asked.state, state.word())] { (state.word()) }
                        }
                    }
                }
                label { "Seen within" select name="seen_within" { (times(&asked.seen_within)) } }
                label { "Silent for" select name="silent_for" { (times(&asked.silent_for)) } }
                label {
                    "Order"
                    select name="order" {
                        @for (order, name) in ORDERS {
                            option value=(order.word()) selected[is(&asked.order, order.word())] { (name) }
                        }
                    }
                }
                button { "Show" }
            }
        }
    }
}

fn table<D>(list: &List, asked: &FleetQuery, page: &Page<D>, head: &[&str], row: impl Fn(&D) -> Markup) -> Markup {
    let all = FleetQuery { after: None, limit: None, ..asked.clone() };
    let export = |kind: &str| address(&format!("/api/v0/admin/fleet/export{}.{kind}", list.place.path()), &all);
    let next = page.next.clone().map(|after| address(list.place.path(), &FleetQuery { after: Some(after), ..asked.clone() }));
    let limit = asked.limit.as_deref().and_then(|limit| limit.parse().ok()).unwrap_or(PAGE);
    // Devices that fit may follow, but have not been found in the time that a page has.
    let is_unfinished = next.is_some() && page.entries.len() < limit;
    html! {
        @if is_unfinished {
            p.empty role="status" { @if page.entries.is_empty() { "None" } @else { "Only these" } " found so far; the search can be continued." }
        }
        @if page.entries.is_empty() {
            @if !is_unfinished { p.empty { "No " (list.place.name().to_lowercase()) " fit." } }
        } @else {
            div.scroll tabindex="0" role="region" aria-label=(list.place.name()) {
                table {
                    thead { tr { @for column in head { th scope="col" { (column) } } } }
                    tbody { @for entry in &page.entries { tr { (row(entry)) } } }
                }
            }
        }
        nav.pages aria-label="Pages" {
            @if asked.after.as_deref().is_some_and(|after| !after.is_empty()) { a href=(Value(&address(list.place.path(), &all))) { "First page" } }
            @if let Some(next) = next { a rel="next" href=(Value(&next)) { @if is_unfinished { "Continue the search" } @else { "Next page" } } }
            span.export { "Export: " a href=(Value(&export("csv"))) { "CSV" } " " a href=(Value(&export("jsonl"))) { "JSON lines" } }
        }
    }
}

/// The state, as a word with a colour beside it.
fn badge(state: DeviceState) -> Markup {
    html! { td { span class={ "state " (state.word()) } { (state.word()) } } }
}

/// A device, as a link to its page: its id, under its display name if it has one.
fn link<D: Device>(device: &D) -> Markup {
    let (id, name) = (device.id(), device.display_name());
    html! {
        th scope="row" {
            a href=(page_of(Place::of::<D>().path(), id)) { (Value(name.unwrap_or(id))) }
            @if name.is_some() { div.quiet { (Value(id)) } }
        }
    }
}

fn appliance(entry: &ApplianceEntry) -> Markup {
    let seen = entry.last_seen.as_deref().map(when);
    let percent = entry.progress_percent;
    let message = entry.message.as_deref().unwrap_or_default();
    html! {
        (link(entry))
        (cells(&[Some(&entry.site), entry.hostname.as_deref()]))
        (badge(entry.state))
        (cells(&[Some(&entry.status)]))
        td { progress max="100" value=(percent) aria-label="Progress" {} (NO_BREAK) (percent) (NO_BREAK) "% " (Value(message)) }
        (cells(&[seen.as_deref()]))
    }
}

fn node(entry: &NodeEntry) -> Markup {
    let [room, name, version, seen] = entry.details();
    html! {
        (link(entry))
        (cells(&[Some(entry.household()), room, name]))
        (badge(entry.state))
        (cells(&[version, seen.map(when).as_deref()]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567"]);
    }
}
