//! The operator's requests: codes, partners, and lists of the fleet.

mod devices;
mod operations;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

use self::operations::{AddPartner, CreateCodes, ListCodes, ListPartners, ReadOverview, RevokeCode, Revoked};
use super::accounts::{RotateKeys, TOKEN_LIFE};
use super::claims::{Claim, site_id};
use super::code::ProvisionCode;
use super::opening::{OpenError, open};
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
    /// The code has been claimed.
    #[error("the code has been claimed by {0}; revoke the appliance to end its access")]
    CodeClaimed(String),
    /// There is no such appliance.
    #[error("there is no such appliance")]
    UnknownAppliance,
    /// There is no such node.
    #[error("there is no such node")]
    UnknownNode,
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

/// A code that was just made: the only moment at which it can be shown.
#[derive(Clone, Debug)]
pub struct NewCode {
    /// The code itself.
    pub code: ProvisionCode,
    /// Its handle in lists, with which nothing can be claimed.
    pub id: String,
    /// When it ends.
    pub expires_at: Moment,
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

/// The newest sites and codes, and all partners.
#[derive(Clone, Debug)]
pub struct Overview {
    /// All partners.
    pub partners: Vec<Partner>,
    /// The newest sites.
    pub sites: Vec<SiteEntry>,
    /// The newest codes.
    pub codes: Vec<CodeEntry>,
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

    /// The newest sites and codes, some hundred of each.
    pub async fn overview(&self) -> Result<Overview, OperatorError> {
        Ok(self.store.read(ReadOverview { now: self.clock.now() }).await?)
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

    /// Adds a partner. Adding the same again changes nothing.
    pub async fn add_partner(&self, partner: Partner) -> Result<(), OperatorError> {
        let is_slug = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-';
        if partner.slug.is_empty() || partner.slug.len() > 50 || !partner.slug.chars().all(is_slug) {
            return Err(OperatorError::Invalid("a slug has 1 to 50 lower-case letters, digits and dashes"));
        }
        check_text(&partner.brand_name)?;
        let color = partner.primary_color.strip_prefix('#').unwrap_or_default();
        if color.len() != 6 || !color.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(OperatorError::Invalid("a colour is `#` and six hexadecimal digits"));
        }
        if let Some(url) = &partner.logo_url {
            check_text(url)?;
            if !url.starts_with("https://") {
                return Err(OperatorError::Invalid("a logo URL must start with https://"));
            }
        }
        let slug = partner.slug.clone();
        let added = self.store.write(AddPartner { partner, now: self.clock.now() }).await?;
        if added { Ok(()) } else { Err(OperatorError::PartnerExists(slug)) }
    }

    /// All partners.
    pub async fn partners(&self) -> Result<Vec<Partner>, OperatorError> {
        Ok(self.store.read(ListPartners).await?)
    }

    /// Creates codes in portions of [`CODES_AT_ONCE`]; calls `made` after each with their number so far.
    pub async fn create_codes(
        &self,
        wanted: &NewCodes,
        mut made: impl FnMut(usize) + Send,
    ) -> Result<Vec<NewCode>, OperatorError> {
        if let Some(site) = &wanted.site {
            check_text(site)?;
        }
        let now = self.clock.now();
        let expires_at = now.after(wanted.expires_in);
        let mut codes = Vec::with_capacity(wanted.count);
        while codes.len() < wanted.count {
            let portion = (wanted.count - codes.len()).min(CODES_AT_ONCE);
            let portion = (0..portion).map(|_| self.new_code(expires_at)).collect::<Result<Vec<_>, _>>()?;
            let hashes = portion.iter().map(|new| (Claim::hash(&self.secret, &new.code), new.id.clone())).collect();
            let site = wanted.site.clone().map(|name| {
                let id = site_id(&self.secret, &name, &[&wanted.partner, &name]);
                (id, name)
            });
            let create = CreateCodes { hashes, site, partner: wanted.partner.clone(), now, expires_at };
            if !self.store.write(create).await? {
                return Err(OperatorError::UnknownPartner(wanted.partner.clone()));
            }
            codes.extend(portion);
            made(codes.len());
        }
        Ok(codes)
    }

    fn new_code(&self, expires_at: Moment) -> Result<NewCode, OperatorError> {
        let code = ProvisionCode::random().map_err(OperatorError::Random)?;
        let id = self.code_id(&code);
        Ok(NewCode { code, id, expires_at })
    }

    fn code_id(&self, code: &ProvisionCode) -> String {
        self.secret.hash(Purpose::ProvisionCodeId, &[code.expose()])[..16].to_owned()
    }

    /// One page of the codes, the oldest first, behind the entry of the page before.
    pub async fn codes(&self, after: Option<&CodeEntry>) -> Result<Vec<CodeEntry>, OperatorError> {
        let after = after.map_or_else(String::new, |entry| entry.id.clone());
        Ok(self.store.read(ListCodes { after, now: self.clock.now() }).await?)
    }

    /// Takes back a code, given by itself or by its handle. Doing it twice is once.
    pub async fn revoke_code(&self, code: &str) -> Result<(), OperatorError> {
        let typed = code.trim();
        let handle = typed.to_ascii_lowercase();
        // A handle may read as a code, so both are looked for; that one is another's handle has no chance.
        let hashed = ProvisionCode::parse(typed).map(|code| self.code_id(&code));
        for id in hashed.into_iter().chain([handle]) {
            match self.store.write(RevokeCode { id, now: self.clock.now() }).await? {
                Revoked::Done => return Ok(()),
                Revoked::Claimed(by) => return Err(OperatorError::CodeClaimed(by)),
                Revoked::Unknown => {}
            }
        }
        Err(OperatorError::UnknownCode)
    }

    /// Creates a new key for the tokens of accounts and returns its name. Tokens of the old keys are accepted until they
    /// expire or, with `at_once`, no longer.
    pub async fn rotate_keys(&self, at_once: bool) -> Result<String, OperatorError> {
        let grace = if at_once { Duration::ZERO } else { TOKEN_LIFE };
        Ok(self.store.write(RotateKeys { grace, now: self.clock.now() }).await?)
    }
}

fn check_text(text: &str) -> Result<(), OperatorError> {
    if text.is_empty() || text.chars().nth(200).is_some() || text.chars().any(char::is_control) {
        return Err(OperatorError::Invalid("a name has 1 to 200 characters, none of them a control character"));
    }
    Ok(())
}
