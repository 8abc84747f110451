//! What operators may do: one table of roles and tasks.

use core::fmt;

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

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Installer(Tenant::Partner(slug)) => write!(f, "installer of the partner {slug}"),
            Self::Installer(Tenant::Site(id)) => write!(f, "installer of the site {id}"),
            Self::Viewer | Self::Administrator => f.write_str(self.word()),
        }
    }
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

    /// A role as the database has it: its word, and the partner or the site of an installer. None for what is no role.
    pub(crate) fn read(word: &str, partner: Option<String>, site: Option<String>) -> Option<Self> {
        match (word, partner, site) {
            ("viewer", None, None) => Some(Self::Viewer),
            ("installer", Some(partner), None) => Some(Self::Installer(Tenant::Partner(partner))),
            ("installer", None, Some(site)) => Some(Self::Installer(Tenant::Site(site))),
            ("administrator", None, None) => Some(Self::Administrator),
            _ => None,
        }
    }

    /// The partner and the site of an installer, for [`Role::read`].
    pub(crate) fn columns(&self) -> (Option<String>, Option<String>) {
        match self {
            Self::Installer(Tenant::Partner(slug)) => (Some(slug.clone()), None),
            Self::Installer(Tenant::Site(id)) => (None, Some(id.clone())),
            Self::Viewer | Self::Administrator => (None, None),
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
