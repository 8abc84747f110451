//! One device, with its history, as it changes.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, PreEscaped, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Browser, LIVE, Place, action, answer, cells, fail, when};
use crate::api::Center;
use crate::api::body::Segment;
use crate::api::html::Value;
use crate::api::operating::Operating;
use crate::base::refusal::Refusal;
use crate::domain::fleet::{Device, Entry, Event};
use crate::domain::operator::OperatorError;
use crate::domain::permissions::Task;

/// `GET /appliances/{id}` and `GET /nodes/{id}`
pub(in crate::api) async fn device<D: Device>(
    State(center): State<Arc<Center>>,
    Browser(operating): Browser,
    id: Result<Segment, Refusal>,
) -> Response {
    let (id, scope) = match (id, operating.scope(Task::SeeFleet)) {
        (Ok(Segment(id)), Ok(scope)) => (id, scope),
        (Err(refusal), _) | (_, Err(refusal)) => return refusal.into_response(),
    };
    match center.operator.device::<D>(&id, &scope).await {
        Ok(Some((device, events))) => show(&center, &operating, &device, &events),
        Ok(None) => fail(&center, &operating, &OperatorError::unknown(D::OF)).await,
        Err(error) => fail(&center, &operating, &error).await,
    }
}

/// The address of the page of a device.
pub(super) fn address(list: &str, id: &str) -> String {
    format!("{list}/{}", utf8_percent_encode(id, NON_ALPHANUMERIC))
}

fn show<D: Device>(center: &Center, operating: &Operating, device: &D, events: &[Event]) -> Response {
    let (place, id) = (Place::of::<D>(), device.id());
    let list = place.path();
    let source = format!("{}/live", address(&format!("/api/v0/admin/fleet{list}"), id));
    let content = html! {
        nav aria-label="Up" { a href=(list) { "All " (place.name().to_lowercase()) } }
        h2 { (Value(device.display_name().unwrap_or(id))) }
        (action::links(operating, device))
        @if operating.may(Task::Rename) { (action::rename_form(device)) }
        div #live data-source=(Value(&source)) {
            (details(device))
            (history(events))
        }
        script { (PreEscaped(LIVE)) }
    };
    answer(center, operating, place, id, &content, StatusCode::OK)
}

/// The fields of a device under their names.
fn details<E: Entry>(entry: &E) -> Markup {
    let values = entry.values();
    html! {
        dl {
            @for (name, value) in E::COLUMNS.iter().zip(&values) {
                @if let Some(value) = value {
                    div {
                        dt { (label(name)) }
                        dd { @if name.ends_with("_at") || *name == "last_seen" { (when(value)) } @else { (Value(value)) } }
                    }
                }
            }
        }
    }
}

/// The name of a column for people.
fn label(name: &str) -> String {
    let mut text = name.replace('_', " ");
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}

fn history(events: &[Event]) -> Markup {
    html! {
        h3 #history { "History" }
        @if events.is_empty() {
            p.empty { "Nothing yet." }
        } @else {
            div.scroll tabindex="0" role="region" aria-labelledby="history" {
                table {
                    thead { tr { th scope="col" { "Time" } th scope="col" { "Event" } th scope="col" { "Detail" } } }
                    tbody {
                        @for event in events { tr { (cells(&[Some(&when(&event.at)), Some(&event.event), event.detail.as_deref()])) } }
                    }
                }
            }
        }
    }
}
