//! Who operates the fleet, and what they may do: every route for operators asks here.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::{Center, auth};
use crate::base::refusal::Refusal;
use crate::domain::audit::Actor;
use crate::domain::operator::Acting;
use crate::domain::permissions::{Role, Scope, Task};

/// The operator who sends a request.
#[derive(Clone, Debug)]
pub(super) struct Operating {
    role: Role,
    actor: Actor,
}

impl FromRequestParts<Arc<Center>> for Operating {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, center: &Arc<Center>) -> Result<Self, Refusal> {
        auth::administrator(parts, center)?;
        let place = auth::network_of(parts, center).to_string();
        Ok(Self { role: Role::Administrator, actor: Actor { name: "administrator".into(), place } })
    }
}

impl Operating {
    /// Where the operator may do something.
    pub(super) fn scope(&self, task: Task) -> Result<Scope, Refusal> {
        self.role.scope(task).ok_or(Refusal::Forbidden)
    }

    /// Whether the operator may do something anywhere.
    pub(super) fn may(&self, task: Task) -> bool {
        self.role.scope(task).is_some()
    }

    /// The operator with the right to do something.
    pub(super) fn acting<'c>(&self, center: &'c Center, task: Task) -> Result<Acting<'c>, Refusal> {
        Ok(center.operator.acting_within(self.actor.clone(), self.scope(task)?))
    }
}
