//! What the operator does: codes, partners, and a look at the fleet.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

use crate::accounts::{RotateKeys, TOKEN_LIFE};
use crate::api::nodes::{ListNodes, NodeResponse};
use crate::claims::{Claim, site_id};
use crate::clock::{Clock, Moment};
use crate::code::ProvisionCode;
use crate::config::Config;
use crate::secret::{self, Purpose, ServerSecret};
use crate::server::{StartError, open};
use crate::store::{self, Connection, Operation, Row, Store, values};

/// How many codes are made in one transaction.
pub const CODES_AT_ONCE: usize = 500;

/// How many rows one page of a list has.
pub const PAGE: i64 = 1000;

/// Why the operator's wish was not carried out.
#[derive(Debug, Error)]
pub enum OperatorError {
    /// There is no such partner.
    #[error("there is no partner `{0}`; `partner list` shows them, `partner add` makes one")]
    UnknownPartner(String),
    /// There is such a partner already, with other data.
    #[error("there is a partner `{0}` already")]
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
    /// What was given is not what was asked for.
    #[error("{0}")]
    Invalid(&'static str),
    /// The system gives no random bytes.
    #[error("making a code")]
    Random(#[source] secret::Error),
    /// The database failed.
    #[error("the database: {0}")]
    Database(String),
}

impl From<store::Error> for OperatorError {
    fn from(error: store::Error) -> Self {
        Self::Database(crate::chain(&error))
    }
}

/// The operator's access to a database, beside any servers that run on it.
#[derive(Debug)]
pub struct Operator {
    store: std::sync::Arc<Store>,
    secret: ServerSecret,
    clock: Clock,
}

/// Whose brand an appliance shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Partner {
    /// Its name in commands and answers: lower-case letters, digits and dashes.
    pub slug: String,
    /// Its name for people.
    pub brand_name: String,
    /// `#RRGGBB`.
    pub primary_color: String,
    /// Where its logo is.
    pub logo_url: Option<String>,
}

/// What codes are wanted.
#[derive(Clone, Debug)]
pub struct NewCodes {
    /// The site whose appliances claim them; without it each code makes a site of its own.
    pub site: Option<String>,
    /// Whose brand the appliances show.
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

/// What has become of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
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
    /// What has become of it.
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

/// An appliance in a list.
#[derive(Clone, Debug, Serialize)]
pub struct ApplianceEntry {
    /// Its id.
    pub appliance_id: String,
    /// The name of its site.
    pub site: String,
    /// The slug of its partner.
    pub partner: String,
    /// Its hardware address.
    pub mac_address: String,
    /// What it calls itself.
    pub hostname: Option<String>,
    /// How far it is, in its own words.
    pub status: String,
    /// How far it is, in percent.
    pub progress_percent: i64,
    /// What it says about that.
    pub message: Option<String>,
    /// When it was last heard of.
    pub last_seen: Option<String>,
    /// Whether its key has been taken back.
    pub revoked: bool,
}

/// A node in a list.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct NodeEntry(NodeResponse);

impl NodeEntry {
    /// Id, household, room, version, and when it was last heard of.
    pub fn columns(&self) -> [Option<&str>; 5] {
        let NodeResponse { node_id, household_id, room, last_seen_version, last_seen, .. } = &self.0;
        [Some(node_id), Some(household_id), Some(room), last_seen_version.as_deref(), last_seen.as_deref()]
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.0.node_id
    }

    /// Whether it was heard of in the last minutes.
    pub const fn is_online(&self) -> bool {
        self.0.online
    }
}

impl Operator {
    /// Opens the database of a configuration.
    pub async fn open(config: &Config) -> Result<Self, StartError> {
        let (store, secret) = open(config).await?;
        Ok(Self { store, secret, clock: config.clock.clone() })
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
                return Err(OperatorError::Invalid("a logo's address begins with https://"));
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

    /// Makes codes, in portions of [`CODES_AT_ONCE`]; `made` is told after each how many there are.
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

    /// Takes back an appliance's key.
    pub async fn revoke_appliance(&self, appliance_id: &str) -> Result<(), OperatorError> {
        let revoke = RevokeAppliance { appliance_id: appliance_id.to_owned(), now: self.clock.now() };
        if self.store.write(revoke).await? { Ok(()) } else { Err(OperatorError::UnknownAppliance) }
    }

    /// Makes a new key for the tokens of accounts. Tokens of the old keys are accepted until they end or, if `at_once`, not
    /// any more. The name of the new key.
    pub async fn rotate_keys(&self, at_once: bool) -> Result<String, OperatorError> {
        let grace = if at_once { Duration::ZERO } else { TOKEN_LIFE };
        Ok(self.store.write(RotateKeys { grace, now: self.clock.now() }).await?)
    }

    /// One page of the appliances, behind the entry of the page before.
    pub async fn appliances(&self, after: Option<&ApplianceEntry>) -> Result<Vec<ApplianceEntry>, OperatorError> {
        let after = after.map_or_else(String::new, |entry| entry.appliance_id.clone());
        Ok(self.store.read(ListAppliances { after }).await?)
    }

    /// One page of the nodes, behind the entry of the page before; of one household or of all.
    pub async fn nodes(&self, household: Option<&str>, after: Option<&NodeEntry>) -> Result<Vec<NodeEntry>, OperatorError> {
        let list = ListNodes {
            households: household.map(|household| vec![household.to_owned()]),
            include_inactive: true,
            after: after.map_or_else(String::new, |entry| entry.id().to_owned()),
            now: self.clock.now(),
        };
        Ok(self.store.read(list).await?.into_iter().map(NodeEntry).collect())
    }
}

fn check_text(text: &str) -> Result<(), OperatorError> {
    if text.is_empty() || text.chars().nth(200).is_some() || text.chars().any(char::is_control) {
        return Err(OperatorError::Invalid("a name has 1 to 200 characters, none of them a control character"));
    }
    Ok(())
}

struct AddPartner {
    partner: Partner,
    now: Moment,
}

impl Operation for AddPartner {
    /// Whether there is such a partner.
    type Answer = bool;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<bool, store::Error> {
        let Partner { slug, brand_name, primary_color, logo_url } = &self.partner;
        let add = "INSERT INTO partners (slug, brand_name, primary_color, logo_url, created_at) VALUES ($1, $2, $3, $4, $5)
                   ON CONFLICT (slug) DO NOTHING";
        let added = connection.execute(add, values![slug, brand_name, primary_color, logo_url, self.now]).await?;
        Ok(added > 0 || ListPartners.run(connection).await?.contains(&self.partner))
    }
}

struct ListPartners;

impl Operation for ListPartners {
    type Answer = Vec<Partner>;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Vec<Partner>, store::Error> {
        let list = "SELECT slug, brand_name, primary_color, logo_url FROM partners ORDER BY slug";
        let partner = |row: &Row| {
            Ok(Partner {
                slug: row.column(0)?,
                brand_name: row.column(1)?,
                primary_color: row.column(2)?,
                logo_url: row.column(3)?,
            })
        };
        connection.rows(list, &[]).await?.iter().map(partner).collect()
    }
}

struct CreateCodes {
    /// Hash and handle of each.
    hashes: Vec<(String, String)>,
    /// Id and name.
    site: Option<(String, String)>,
    partner: String,
    now: Moment,
    expires_at: Moment,
}

impl Operation for CreateCodes {
    /// Whether the partner exists.
    type Answer = bool;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<bool, store::Error> {
        let partner = connection.row("SELECT 1 FROM partners WHERE slug = $1", values![&self.partner]).await?;
        if partner.is_none() {
            return Ok(false);
        }
        if let Some((id, name)) = &self.site {
            let make = "INSERT INTO sites (site_id, name, partner, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
            connection.execute(make, values![id, name, &self.partner, self.now]).await?;
        }
        let site = self.site.as_ref().map(|(id, _)| id.clone());
        let create = "INSERT INTO provision_codes (code_hash, code_id, partner, site_id, created_at, expires_at)
                      VALUES ($1, $2, $3, $4, $5, $6)";
        for (hash, id) in &self.hashes {
            connection.execute(create, values![hash, id, &self.partner, &site, self.now, self.expires_at]).await?;
        }
        Ok(true)
    }
}

struct ListCodes {
    after: String,
    now: Moment,
}

impl Operation for ListCodes {
    type Answer = Vec<CodeEntry>;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Vec<CodeEntry>, store::Error> {
        let columns = "
            SELECT c.code_id, c.claimed_at, c.revoked_at, c.expires_at, c.created_at, c.partner, s.name, a.appliance_id
              FROM provision_codes c
              LEFT JOIN sites s ON s.site_id = c.site_id
              LEFT JOIN appliances a ON a.code_hash = c.code_hash
             WHERE $1 = '' OR (c.created_at, c.code_id) > (SELECT p.created_at, p.code_id FROM provision_codes p
                                                            WHERE p.code_id = $1)
             ORDER BY c.created_at, c.code_id LIMIT $2";
        let entry = |row: &Row| {
            let state = if row.column::<Option<i64>>(1)?.is_some() {
                CodeState::Claimed
            } else if row.column::<Option<i64>>(2)?.is_some() {
                CodeState::Revoked
            } else if row.column::<i64>(3)? <= self.now.0 {
                CodeState::Expired
            } else {
                CodeState::Pending
            };
            Ok(CodeEntry {
                id: row.column(0)?,
                state,
                site: row.column(6)?,
                partner: row.column(5)?,
                created_at: Moment(row.column(4)?).zoned(),
                expires_at: Moment(row.column(3)?).zoned(),
                appliance_id: row.column(7)?,
            })
        };
        connection.rows(columns, values![&self.after, PAGE]).await?.iter().map(entry).collect()
    }
}

enum Revoked {
    Done,
    Claimed(String),
    Unknown,
}

struct RevokeCode {
    id: String,
    now: Moment,
}

impl Operation for RevokeCode {
    type Answer = Revoked;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Revoked, store::Error> {
        let revoke = "UPDATE provision_codes SET revoked_at = COALESCE(revoked_at, $2)
                       WHERE code_id = $1 AND claimed_at IS NULL";
        if connection.execute(revoke, values![&self.id, self.now]).await? > 0 {
            return Ok(Revoked::Done);
        }
        let look = "SELECT a.appliance_id FROM provision_codes c LEFT JOIN appliances a ON a.code_hash = c.code_hash
                     WHERE c.code_id = $1";
        Ok(match connection.row(look, values![&self.id]).await? {
            Some(row) => Revoked::Claimed(row.column::<Option<String>>(0)?.unwrap_or_else(|| "an appliance".to_owned())),
            None => Revoked::Unknown,
        })
    }
}

struct RevokeAppliance {
    appliance_id: String,
    now: Moment,
}

impl Operation for RevokeAppliance {
    /// Whether there is such an appliance.
    type Answer = bool;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<bool, store::Error> {
        let revoke = "UPDATE appliances SET revoked_at = COALESCE(revoked_at, $2) WHERE appliance_id = $1";
        Ok(connection.execute(revoke, values![&self.appliance_id, self.now]).await? > 0)
    }
}

struct ListAppliances {
    after: String,
}

impl Operation for ListAppliances {
    type Answer = Vec<ApplianceEntry>;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Vec<ApplianceEntry>, store::Error> {
        let columns = "
            SELECT a.appliance_id, s.name, s.partner, a.mac_address, a.hostname, a.status, a.progress_percent, a.message,
                   a.last_seen, a.revoked_at
              FROM appliances a JOIN sites s ON s.site_id = a.site_id
             WHERE a.appliance_id > $1 ORDER BY a.appliance_id LIMIT $2";
        let entry = |row: &Row| {
            Ok(ApplianceEntry {
                appliance_id: row.column(0)?,
                site: row.column(1)?,
                partner: row.column(2)?,
                mac_address: row.column(3)?,
                hostname: row.column(4)?,
                status: row.column(5)?,
                progress_percent: row.column(6)?,
                message: row.column(7)?,
                last_seen: row.column::<Option<i64>>(8)?.map(|seen| Moment(seen).zoned()),
                revoked: row.column::<Option<i64>>(9)?.is_some(),
            })
        };
        connection.rows(columns, values![&self.after, PAGE]).await?.iter().map(entry).collect()
    }
}
