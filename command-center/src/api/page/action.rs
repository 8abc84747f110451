//! What an operator does to a device. Each action is confirmed on a page of its own.

use std::sync::Arc;

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::device::address;
use super::{Browser, OwnForm, Place, answer, fail, status};
use crate::api::Center;
use crate::api::body::{Asked, Segments};
use crate::api::html::Value;
use crate::api::operating::Operating;
use crate::base::refusal::Refusal;
use crate::domain::fleet::{Device, State as DeviceState};
use crate::domain::history::Of;
use crate::domain::operator::{KeyChange, OperatorError, quoted};
use crate::domain::permissions::Task;

/// What can be done to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Rename,
    Key(KeyChange),
}

/// The name of [`Action::Rename`].
#[derive(Debug, Deserialize)]
pub(in crate::api) struct NameForm {
    name: Option<String>,
}

impl Action {
    const ALL: [Self; 6] = [
        Self::Rename,
        Self::Key(KeyChange::Deactivate),
        Self::Key(KeyChange::Activate),
        Self::Key(KeyChange::HandOver),
        Self::Key(KeyChange::TakeBack),
        Self::Key(KeyChange::Revoke),
    ];

    /// Those for a kind of devices.
    fn of(of: Of) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |action| match action {
            Self::Rename => true,
            Self::Key(change) => change.is_for(of),
        })
    }

    const fn task(self) -> Task {
        match self {
            Self::Rename => Task::Rename,
            Self::Key(change) => Task::ChangeKey(change),
        }
    }

    /// The last part of its address.
    const fn word(self) -> &'static str {
        match self {
            Self::Rename => "rename",
            Self::Key(KeyChange::Deactivate) => "deactivate",
            Self::Key(KeyChange::Activate) => "activate",
            Self::Key(KeyChange::HandOver) => "hand-over",
            Self::Key(KeyChange::TakeBack) => "take-back",
            Self::Key(KeyChange::Revoke) => "revoke",
        }
    }

    /// Its name on buttons.
    const fn name(self) -> &'static str {
        match self {
            Self::Rename => "Rename",
            Self::Key(KeyChange::Deactivate) => "Deactivate",
            Self::Key(KeyChange::Activate) => "Activate",
            Self::Key(KeyChange::HandOver) => "Hand over",
            Self::Key(KeyChange::TakeBack) => "Take back",
            Self::Key(KeyChange::Revoke) => "Revoke",
        }
    }

    /// What it does, for the operator who confirms it.
    const fn effect(self) -> &'static str {
        match self {
            Self::Rename => "Operators find the device by its display name. The device does not learn it.",
            Self::Key(KeyChange::Deactivate) => "Its key is refused until the device is activated again.",
            Self::Key(KeyChange::Activate) => "Its key is accepted again.",
            Self::Key(KeyChange::HandOver) => {
                "It is released from its site, so that a new owner can claim it. Its key is refused from then on, and it learns why at \
                 its next heartbeat. It can be taken back until it is claimed again."
            }
            Self::Key(KeyChange::TakeBack) => "It belongs to its site again, and its key is accepted.",
            Self::Key(KeyChange::Revoke) => "Its key is refused from then on. This cannot be undone.",
        }
    }

    /// Whether it is offered as a link for a device in this state.
    fn is_link(self, state: DeviceState) -> bool {
        match self {
            // It has a form.
            Self::Rename => false,
            Self::Key(KeyChange::Deactivate) => matches!(state, DeviceState::Online | DeviceState::Silent | DeviceState::New),
            Self::Key(KeyChange::Activate) => state == DeviceState::Deactivated,
            Self::Key(KeyChange::HandOver) => !matches!(state, DeviceState::Released | DeviceState::Revoked),
            Self::Key(KeyChange::TakeBack) => state == DeviceState::Released,
            Self::Key(KeyChange::Revoke) => state != DeviceState::Revoked,
        }
    }
}

/// What the operator may do to a device, as links to the pages that confirm it.
pub(super) fn links<D: Device>(operating: &Operating, device: &D) -> Markup {
    let page = address(Place::of::<D>().path(), device.id());
    let actions = Action::of(D::OF).filter(|action| action.is_link(device.state()) && operating.may(action.task()));
    let actions = actions.collect::<Vec<_>>();
    html! {
        @if !actions.is_empty() {
            nav.pages aria-label="Actions" {
                @for action in actions { a href={ (page) "/" (action.word()) } { (action.name()) } }
            }
        }
    }
}

/// The form that leads to the page that confirms another display name.
pub(super) fn rename_form<D: Device>(device: &D) -> Markup {
    let page = address(Place::of::<D>().path(), device.id());
    html! {
        form.filters method="get" action={ (page) "/" (Action::Rename.word()) } {
            label.wide { "Display name" input name="name" value=(Value(device.display_name().unwrap_or_default())) maxlength="200"; }
            button { (Action::Rename.name()) }
        }
    }
}

/// The device and the action of an address.
fn parse(path: Result<Segments, Refusal>, of: Of) -> Result<(String, Action), Refusal> {
    let Segments(id, word) = path?;
    let action = Action::of(of).find(|action| action.word() == word).ok_or(Refusal::NotFound)?;
    Ok((id, action))
}

/// `GET /appliances/{id}/{action}` and `GET /nodes/{id}/{action}`: asks for the confirmation.
pub(in crate::api) async fn confirm<D: Device>(
    State(center): State<Arc<Center>>,
    Browser(operating): Browser,
    path: Result<Segments, Refusal>,
    asked: Result<Asked<NameForm>, Refusal>,
) -> Response {
    match (parse(path, D::OF), asked) {
        (Ok((id, action)), Ok(Asked(form))) => ask::<D>(&center, &operating, &id, action, form, None).await,
        (Err(refusal), _) | (_, Err(refusal)) => refusal.into_response(),
    }
}

/// `POST /appliances/{id}/{action}` and `POST /nodes/{id}/{action}`: does it.
pub(in crate::api) async fn act<D: Device>(
    State(center): State<Arc<Center>>,
    Browser(operating): Browser,
    _: OwnForm,
    path: Result<Segments, Refusal>,
    form: Result<Form<NameForm>, FormRejection>,
) -> Response {
    let (id, action) = match parse(path, D::OF) {
        Ok(parsed) => parsed,
        Err(refusal) => return refusal.into_response(),
    };
    let acting = match operating.acting(&center, action.task()) {
        Ok(acting) => acting,
        Err(refusal) => return refusal.into_response(),
    };
    // Only one of the actions has fields.
    let form = form.map_or(NameForm { name: None }, |Form(form)| form);
    let done = match (action, &form.name) {
        (Action::Key(change), _) => acting.change_key(D::OF, &id, change).await,
        (Action::Rename, Some(name)) => acting.rename(D::OF, &id, name).await,
        (Action::Rename, None) => Err(OperatorError::Invalid("the form has no name")),
    };
    match done {
        Ok(()) => Redirect::to(&address(Place::of::<D>().path(), &id)).into_response(),
        Err(error) => ask::<D>(&center, &operating, &id, action, form, Some(&error)).await,
    }
}

/// The page that confirms an action, with the error of the last attempt.
async fn ask<D: Device>(
    center: &Center,
    operating: &Operating,
    id: &str,
    action: Action,
    form: NameForm,
    error: Option<&OperatorError>,
) -> Response {
    let scope = match operating.scope(action.task()) {
        Ok(scope) => scope,
        Err(refusal) => return refusal.into_response(),
    };
    let device = match center.operator.device::<D>(id, &scope).await {
        Ok(Some((device, _))) => device,
        Ok(None) => return fail(center, operating, &OperatorError::unknown(D::OF)).await,
        Err(error) => return fail(center, operating, &error).await,
    };
    let status = match error.map_or(Ok(StatusCode::OK), status) {
        Ok(status) => status,
        Err(refusal) => return refusal.into_response(),
    };
    let place = Place::of::<D>();
    let page = address(place.path(), id);
    let new_name = form.name.as_deref().map(str::trim).filter(|name| !name.is_empty());
    let content = html! {
        nav aria-label="Up" { a href=(page) { "Back to the device" } }
        h2 { (action.name()) " " (Value(device.id())) "?" }
        @if let Some(error) = error { p.fault role="alert" { (Value(&error.to_string())) } }
        @if action == Action::Rename {
            p { "From " (Value(&quoted(device.display_name()))) " to " (Value(&quoted(new_name))) "." }
        } @else if let Some(name) = device.display_name() {
            p { (Value(&quoted(Some(name)))) }
        }
        p { (action.effect()) }
        form method="post" action={ (page) "/" (action.word()) } {
            @if action == Action::Rename { input type="hidden" name="name" value=(Value(new_name.unwrap_or_default())); }
            button { (action.name()) }
        }
    };
    answer(center, operating, place, action.name(), &content, status)
}
