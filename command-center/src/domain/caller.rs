//! The caller of a request that manages nodes.

use super::jwt::User;

/// The administrator, or a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    Administrator,
    User(User),
}

impl Caller {
    /// The user's id; the administrator has none.
    pub(crate) fn user_id(&self) -> Option<&str> {
        match self {
            Self::Administrator => None,
            Self::User(user) => Some(&user.id),
        }
    }

    /// Whether the caller may act for the household.
    pub(crate) fn may_act_for(&self, household: &str) -> bool {
        match self {
            Self::Administrator => true,
            Self::User(user) => user.is_member(household),
        }
    }
}
