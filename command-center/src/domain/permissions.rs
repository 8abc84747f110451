//! What operators may do: one table of roles and tasks.

use super::operator::KeyChange;

/// What an operator may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sees everything of the fleet, and changes nothing.
    Viewer,
    /// Sees and sets up the appliances of one tenant; all others do not exist for this operator.
    Installer(Tenant),
    /// Everything.
    Administrator,
}

/// Whose appliances and codes they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Tenant {
    /// Those of a partner, by its slug.
    Partner(String),
    /// Those of a site, by its id.
    Site(String),
}

/// What operators do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// See devices and their history, count and export them.
    SeeFleet,
    /// See codes and sites.
    SeeCodes,
    /// See what operators have done.
    SeeAudit,
    CreateCodes,
    RevokeCode,
    Rename,
    ChangeKey(KeyChange),
}

impl Role {
    /// Where an operator of this role may do something; none: nowhere. What is not in this table is refused.
    pub(crate) fn scope(&self, task: Task) -> Option<Scope> {
        match (self, task) {
            (Self::Administrator, _) | (Self::Viewer, Task::SeeFleet | Task::SeeCodes) => Some(Scope::All),
            (
                Self::Installer(tenant),
                Task::SeeFleet
                | Task::SeeCodes
                | Task::CreateCodes
                | Task::Rename
                | Task::ChangeKey(KeyChange::Deactivate | KeyChange::Activate),
            ) => Some(Scope::Only(tenant.clone())),
            (Self::Viewer | Self::Installer(_), _) => None,
        }
    }

    /// The word for it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Installer(_) => "installer",
            Self::Administrator => "administrator",
        }
    }
}

/// Which appliances, sites and codes an operator reaches. What is outside of it does not exist for the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scope {
    /// All, and all nodes.
    #[default]
    All,
    /// Those of a tenant. Nodes have none, so it has no nodes.
    Only(Tenant),
}

impl Scope {
    /// Whether an appliance, a site or a code is in it.
    pub(crate) fn has(&self, partner: &str, site: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Only(Tenant::Partner(own)) => own == partner,
            Self::Only(Tenant::Site(own)) => site == Some(own.as_str()),
        }
    }

    /// The tenant that everything in it belongs to.
    pub(crate) const fn tenant(&self) -> Option<&Tenant> {
        match self {
            Self::All => None,
            Self::Only(tenant) => Some(tenant),
        }
    }
}
