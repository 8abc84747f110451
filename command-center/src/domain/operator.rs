//! The operator's requests: codes, partners, and lists of the fleet.

mod accounts;
mod acting;
mod devices;
mod keys;
mod names;
mod operations;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

pub use self::accounts::OperatorEntry;
pub use self::acting::Acting;
pub use self::keys::KeyChange;
pub(crate) use self::names::quoted;
use self::operations::{FindCode, ListCodes, ListPartners, ReadOverview};
use super::audit::{Actor, AuditEntry, ReadAudit};
use super::code::ProvisionCode;
use super::history::Of;
use super::opening::{OpenError, open};
use super::permissions::Scope;
use crate::base::clock::{Clock, Moment};
use crate::base::secret::{self, Purpose, ServerSecret};
use crate::config::Config;
use crate::store::{self, Store};

/// How many codes are made in one transaction.
pub const CODES_AT_ONCE: usize = 500;

/// How many rows one page of the codes has.
pub const PAGE: i64 = 1000;

/// Why an operator request failed.
#[derive(Debug, Error)]
pub enum OperatorError {
    /// There is no such partner.
    #[error("there is no partner `{0}`; list partners with `partner list`, add one with `partner add`")]
    UnknownPartner(String),
    /// There is such a partner already, with other data.
    #[error("a partner `{0}` with other data exists already")]
    PartnerExists(String),
    /// There is no such code.
    #[error("there is no such code")]
    UnknownCode,
    /// The code cannot be claimed.
    #[error("the code {id} is {}", state.word())]
    NotPending {
        /// Its handle.
        id: String,
        /// Why it cannot.
        state: CodeState,
    },
    /// The code has been claimed.
    #[error("the code has been claimed by {0}; revoke the appliance to end its access")]
    CodeClaimed(String),
    /// There is no such appliance.
    #[error("there is no such appliance")]
    UnknownAppliance,
    /// There is no such node.
    #[error("there is no such node")]
    UnknownNode,
    /// The key of the device has been revoked.
    #[error("its key has been revoked, which cannot be undone")]
    KeyRevoked,
    /// The appliance has been released from its site.
    #[error("the appliance has been handed over; take it back first")]
    HandedOver,
    /// The appliance has not been released from its site, or has been claimed again since.
    #[error("the appliance has not been handed over, or has been claimed again")]
    NotHandedOver,
    /// There is no such site.
    #[error("there is no such site; list sites with `appliance list --json`, or on the page")]
    UnknownSite,
    /// There is such an operator already.
    #[error("there is an operator of this name already")]
    OperatorExists,
    /// There is no such operator.
    #[error("there is no such operator; list operators with `operator list`")]
    UnknownOperator,
    /// The password cannot be hashed.
    #[error("hashing the password")]
    Hash,
    /// An argument is invalid.
    #[error("{0}")]
    Invalid(&'static str),
    /// The system gives no random bytes.
    #[error("creating a code")]
    Random(#[source] secret::Error),
    /// The database failed.
    #[error("database error: {0}")]
    Database(String),
}

impl OperatorError {
    /// That there is no such device.
    pub(crate) const fn unknown(of: Of) -> Self {
        match of {
            Of::Appliance => Self::UnknownAppliance,
            Of::Node => Self::UnknownNode,
        }
    }
}

impl From<store::Error> for OperatorError {
    fn from(error: store::Error) -> Self {
        Self::Database(crate::base::chain(&error))
    }
}

/// The operator's access to a database, beside any servers that run on it.
#[derive(Debug)]
pub struct Operator {
    store: Arc<Store>,
    secret: ServerSecret,
    clock: Clock,
}

/// The partner whose brand an appliance shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Partner {
    /// Its name in commands and answers: lower-case letters, digits and dashes.
    pub slug: String,
    /// Its name for people.
    pub brand_name: String,
    /// `#RRGGBB`.
    pub primary_color: String,
    /// The URL of its logo.
    pub logo_url: Option<String>,
}

/// The codes to create.
#[derive(Clone, Debug)]
pub struct NewCodes {
    /// The site whose appliances claim them; without it each code creates a site.
    pub site: Option<String>,
    /// The partner whose brand the appliances show.
    pub partner: String,
    /// How long they may be claimed.
    pub expires_in: Duration,
    /// How many.
    pub count: usize,
}

/// A code itself, which can be shown when it was just made, or to those who have it.
#[derive(Clone, Debug)]
pub struct NewCode {
    /// The code itself.
    pub code: ProvisionCode,
    /// Its handle in lists, with which nothing can be claimed.
    pub id: String,
    /// When it ends.
    pub expires_at: Moment,
    /// The name of its site, if it has one before it is claimed.
    pub site: Option<String>,
}

/// The state of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CodeState {
    /// It waits for its appliance.
    Pending,
    /// An appliance has claimed it.
    Claimed,
    /// It was not claimed in time.
    Expired,
    /// The operator took it back.
    Revoked,
}

/// A code in a list.
#[derive(Clone, Debug, Serialize)]
pub struct CodeEntry {
    /// Its handle.
    pub id: String,
    /// Its state.
    pub state: CodeState,
    /// The name of its site.
    pub site: Option<String>,
    /// The slug of its partner.
    pub partner: String,
    /// When it was made.
    pub created_at: String,
    /// When it ends.
    pub expires_at: String,
    /// Who claimed it.
    pub appliance_id: Option<String>,
}

impl CodeState {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Claimed => "claimed",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// A site in a list.
#[derive(Clone, Debug, Serialize)]
pub struct SiteEntry {
    /// Its id.
    pub site_id: String,
    /// Its name.
    pub name: String,
    /// The slug of its partner.
    pub partner: String,
    /// How many appliances it has; [`MANY`] stands for more.
    pub appliances: i64,
}

/// How many appliances of a site are counted.
pub const MANY: i64 = 1000;

/// The newest sites, codes and actions, and all partners: those that the operator may see.
#[derive(Clone, Debug)]
pub(crate) struct Overview {
    pub(crate) partners: Vec<Partner>,
    pub(crate) sites: Vec<SiteEntry>,
    pub(crate) codes: Vec<CodeEntry>,
    pub(crate) actions: Vec<AuditEntry>,
}

impl Operator {
    /// Opens the database of a configuration.
    pub async fn open(config: &Config) -> Result<Self, OpenError> {
        let (store, secret) = open(config).await?;
        Ok(Self { store, secret, clock: config.clock.clone() })
    }

    /// Beside a running server, with what it has open.
    pub(crate) const fn beside(store: Arc<Store>, secret: ServerSecret, clock: Clock) -> Self {
        Self { store, secret, clock }
    }

    /// With the right to change something. The audit names `actor` for what is changed.
    pub const fn acting(&self, actor: Actor) -> Acting<'_> {
        Acting::new(self, actor, Scope::All)
    }

    /// With the right to change something in a scope.
    pub(crate) const fn acting_within(&self, actor: Actor, scope: Scope) -> Acting<'_> {
        Acting::new(self, actor, scope)
    }

    /// Actions of operators, the newest first: at most `limit` of those before a number. There is one more than [`PAGE`] at most,
    /// which tells whether another page follows.
    pub async fn audit(&self, before: Option<i64>, limit: usize) -> Result<Vec<AuditEntry>, OperatorError> {
        let limit = i64::try_from(limit).map_or(PAGE, |limit| limit.min(PAGE + 1));
        Ok(self.store.read(ReadAudit { before, limit }).await?)
    }

    /// The newest sites and codes of a scope, and the newest actions if `has_actions`; some hundred of each.
    pub(crate) async fn overview(&self, scope: Scope, has_actions: bool) -> Result<Overview, OperatorError> {
        Ok(self.store.read(ReadOverview { scope, has_actions, now: self.clock.now() }).await?)
    }

    /// Writes a copy of a SQLite database to a new file, while servers run on it.
    pub async fn backup(&self, path: &Path) -> Result<(), OperatorError> {
        match self.store.copy_to(path).await {
            Some(done) => Ok(done?),
            None => Err(OperatorError::Invalid("back up PostgreSQL with its own tools, such as pg_dump")),
        }
    }

    /// Closes the database.
    pub async fn close(self) {
        self.store.close().await;
    }

    /// All partners.
    pub async fn partners(&self) -> Result<Vec<Partner>, OperatorError> {
        Ok(self.store.read(ListPartners).await?)
    }

    /// One page of the codes, the oldest first, behind the entry of the page before.
    pub async fn codes(&self, after: Option<&CodeEntry>) -> Result<Vec<CodeEntry>, OperatorError> {
        let after = after.map_or_else(String::new, |entry| entry.id.clone());
        Ok(self.store.read(ListCodes { after, now: self.clock.now() }).await?)
    }

    /// A code that can be claimed, for those who have it: the database does not.
    pub async fn pending_code(&self, typed: &str) -> Result<NewCode, OperatorError> {
        let code = ProvisionCode::parse(typed).ok_or(OperatorError::UnknownCode)?;
        let id = self.code_id(&code);
        let found = self.store.read(FindCode { id: id.clone(), now: self.clock.now() }).await?;
        let (entry, expires_at) = found.ok_or(OperatorError::UnknownCode)?;
        if entry.state != CodeState::Pending {
            return Err(OperatorError::NotPending { id, state: entry.state });
        }
        Ok(NewCode { code, id, expires_at, site: entry.site })
    }

    /// The handle of a code in lists.
    fn code_id(&self, code: &ProvisionCode) -> String {
        self.secret.hash(Purpose::ProvisionCodeId, &[code.expose()])[..16].to_owned()
    }
}
