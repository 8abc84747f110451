//! The caller of a request that manages nodes.

use super::audit::Actor;
use super::jwt::User;

/// The administrator, or a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Whose actions are in the audit.
    Administrator(Actor),
    User(User),
}

impl Caller {
    /// The user's id; the administrator has none.
    pub(crate) fn user_id(&self) -> Option<&str> {
        match self {
            Self::Administrator(_) => None,
            Self::User(user) => Some(&user.id),
        }
    }

    /// The operator, whose actions are recorded; those of users are not.
    pub(crate) const fn operator(&self) -> Option<&Actor> {
        match self {
            Self::Administrator(actor) => Some(actor),
            Self::User(_) => None,
        }
    }

    /// Whether the caller may act for the household.
    pub(crate) fn may_act_for(&self, household: &str) -> bool {
        match self {
            Self::Administrator(_) => true,
            Self::User(user) => user.is_member(household),
        }
    }
}
