//! What an operator does to a device. Each action is confirmed on a page of its own.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use maud::{Markup, html};

use super::device::address;
use super::{Browser, OwnForm, Place, answer, fail, status};
use crate::api::Center;
use crate::api::body::Segments;
use crate::api::html::Value;
use crate::base::refusal::Refusal;
use crate::domain::fleet::{Device, State as DeviceState};
use crate::domain::history::Of;
use crate::domain::operator::OperatorError;

/// What can be done to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Revoke,
}

impl Action {
    const ALL: [Self; 1] = [Self::Revoke];

    /// The last part of its address.
    const fn word(self) -> &'static str {
        match self {
            Self::Revoke => "revoke",
        }
    }

    /// Its name on buttons.
    const fn name(self) -> &'static str {
        match self {
            Self::Revoke => "Revoke",
        }
    }

    /// What it does, for the operator who confirms it.
    const fn effect(self) -> &'static str {
        match self {
            Self::Revoke => "Its key is refused from then on. This cannot be undone.",
        }
    }

    /// Whether it changes a device in this state.
    fn changes(self, state: DeviceState) -> bool {
        match self {
            Self::Revoke => state != DeviceState::Revoked,
        }
    }
}

/// The actions of a device, as links to the pages that confirm them.
pub(super) fn links<D: Device>(device: &D) -> Markup {
    let page = address(Place::of::<D>().path(), device.id());
    let actions = Action::ALL.into_iter().filter(|action| action.changes(device.state())).collect::<Vec<_>>();
    html! {
        @if !actions.is_empty() {
            nav.pages aria-label="Actions" {
                @for action in actions { a href={ (page) "/" (action.word()) } { (action.name()) } }
            }
        }
    }
}

/// The device and the action of an address.
fn parse(path: Result<Segments, Refusal>) -> Result<(String, Action), Refusal> {
    let Segments(id, word) = path?;
    let action = Action::ALL.into_iter().find(|action| action.word() == word).ok_or(Refusal::NotFound)?;
    Ok((id, action))
}

/// `GET /appliances/{id}/{action}` and `GET /nodes/{id}/{action}`: asks for the confirmation.
pub(in crate::api) async fn confirm<D: Device>(
    State(center): State<Arc<Center>>,
    _: Browser,
    path: Result<Segments, Refusal>,
) -> Response {
    match parse(path) {
        Ok((id, action)) => ask::<D>(&center, &id, action, None).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// `POST /appliances/{id}/{action}` and `POST /nodes/{id}/{action}`: does it.
pub(in crate::api) async fn act<D: Device>(
    State(center): State<Arc<Center>>,
    browser: Browser,
    _: OwnForm,
    path: Result<Segments, Refusal>,
) -> Response {
    let (id, action) = match parse(path) {
        Ok(parsed) => parsed,
        Err(refusal) => return refusal.into_response(),
    };
    let acting = center.operator.acting(browser.actor());
    let done = match (action, D::OF) {
        (Action::Revoke, Of::Appliance) => acting.revoke_appliance(&id).await,
        (Action::Revoke, Of::Node) => acting.revoke_node(&id).await,
    };
    match done {
        Ok(()) => Redirect::to(&address(Place::of::<D>().path(), &id)).into_response(),
        Err(error) => ask::<D>(&center, &id, action, Some(&error)).await,
    }
}

/// The page that confirms an action, with the error of the last attempt.
async fn ask<D: Device>(center: &Center, id: &str, action: Action, error: Option<&OperatorError>) -> Response {
    let device = match center.operator.device::<D>(id).await {
        Ok(Some((device, _))) => device,
        Ok(None) => return fail(center, &OperatorError::unknown(D::OF)).await,
        Err(error) => return fail(center, &error).await,
    };
    let status = match error.map_or(Ok(StatusCode::OK), status) {
        Ok(status) => status,
        Err(refusal) => return refusal.into_response(),
    };
    let place = Place::of::<D>();
    let page = address(place.path(), id);
    let content = html! {
        nav aria-label="Up" { a href=(page) { "Back to the device" } }
        h2 { (action.name()) " " (Value(device.id())) "?" }
        @if let Some(error) = error { p.fault role="alert" { (Value(&error.to_string())) } }
        p { (action.effect()) }
        form method="post" action={ (page) "/" (action.word()) } {
            button { (action.name()) }
        }
    };
    answer(center, place, action.name(), &content, status)
}
