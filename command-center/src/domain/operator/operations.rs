//! The database operations behind the operator's commands.

use super::{CodeEntry, CodeState, MANY, Overview, PAGE, Partner, SiteEntry};
use crate::base::clock::Moment;
use crate::domain::audit::{self, Action, Actor, ReadAudit};
use crate::domain::history::Of;
use crate::domain::permissions::{Scope, Tenant};
use crate::store::{self, Connection, Operation, Row, Statement, values};

/// Whether a device is in a scope. Devices that do not exist are in none but [`Scope::All`].
pub(super) async fn is_in_scope(
    connection: &mut Connection<'_>,
    (of, id): (Of, &str),
    scope: &Scope,
) -> Result<bool, store::Error> {
    match (scope, of) {
        (Scope::All, _) => Ok(true),
        // Nodes have no tenant.
        (Scope::Only(_), Of::Node) => Ok(false),
        (Scope::Only(_), Of::Appliance) => {
            let find = "SELECT partner, site_id FROM appliances WHERE appliance_id = $1";
            let Some(row) = connection.row(find, values![id]).await? else { return Ok(false) };
            Ok(scope.has(&row.column::<String>(0)?, Some(&row.column::<String>(1)?)))
        }
    }
}

pub(super) struct AddPartner {
    pub(super) partner: Partner,
    pub(super) actor: Actor,
    pub(super) now: Moment,
}

impl Operation for AddPartner {
    /// Whether there is such a partner.
    type Answer = bool;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<bool, store::Error> {
        let Partner { slug, brand_name, primary_color, logo_url } = &self.partner;
        let add = "INSERT INTO partners (slug, brand_name, primary_color, logo_url, created_at) VALUES ($1, $2, $3, $4, $5)
                   ON CONFLICT (slug) DO NOTHING";
        let added = connection.execute(add, values![slug, brand_name, primary_color, logo_url, self.now]).await?;
        if added > 0 {
            let name = Some(brand_name.clone());
            audit::record(connection, &self.actor, Action::AddPartner, slug, name, self.now).await?;
            return Ok(true);
        }
        Ok(ListPartners.run(connection).await?.contains(&self.partner))
    }
}

pub(super) struct ListPartners;

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

pub(super) struct CreateCodes {
    /// Hash and handle of each.
    pub(super) hashes: Vec<(String, String)>,
    /// Id and name.
    pub(super) site: Option<(String, String)>,
    pub(super) partner: String,
    pub(super) scope: Scope,
    pub(super) actor: Actor,
    pub(super) now: Moment,
    pub(super) expires_at: Moment,
}

impl Operation for CreateCodes {
    /// Whether the partner exists in the scope.
    type Answer = bool;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<bool, store::Error> {
        let partner = connection.row("SELECT 1 FROM partners WHERE slug = $1", values![&self.partner]).await?;
        if partner.is_none() {
            return Ok(false);
        }
        let site = if let Scope::Only(Tenant::Site(own)) = &self.scope {
            // It is theirs already, and may have another name than its id says.
            let find = "SELECT 1 FROM sites WHERE site_id = $1 AND partner = $2";
            if self.site.is_some() || connection.row(find, values![own, &self.partner]).await?.is_none() {
                return Ok(false);
            }
            Some(own.clone())
        } else {
            if !self.scope.has(&self.partner, None) {
                return Ok(false);
            }
            if let Some((id, name)) = &self.site {
                let make =
                    "INSERT INTO sites (site_id, name, partner, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
                connection.execute(make, values![id, name, &self.partner, self.now]).await?;
            }
            self.site.as_ref().map(|(id, _)| id.clone())
        };
        let create = "INSERT INTO provision_codes (code_hash, code_id, partner, site_id, created_at, expires_at)
                      VALUES ($1, $2, $3, $4, $5, $6)";
        for (hash, id) in &self.hashes {
            connection.execute(create, values![hash, id, &self.partner, &site, self.now, self.expires_at]).await?;
        }
        let place = site.unwrap_or_else(|| "a site for each".into());
        let detail = format!("{} until {}, {place}", self.hashes.len(), self.expires_at.zoned());
        audit::record(connection, &self.actor, Action::CreateCodes, &self.partner, Some(detail), self.now).await?;
        Ok(true)
    }
}

pub(super) struct ListCodes {
    pub(super) after: String,
    pub(super) now: Moment,
}

/// The columns of [`CodeEntry::from_row`], in its order.
macro_rules! code_columns {
    () => {
        "SELECT c.code_id, c.claimed_at, c.revoked_at, c.expires_at, c.created_at, c.partner, s.name, a.appliance_id
           FROM provision_codes c
           LEFT JOIN sites s ON s.site_id = c.site_id
           LEFT JOIN appliances a ON a.code_hash = c.code_hash"
    };
}

impl CodeEntry {
    fn from_row(row: &Row, now: Moment) -> Result<Self, store::Error> {
        let state = if row.column::<Option<i64>>(1)?.is_some() {
            CodeState::Claimed
        } else if row.column::<Option<i64>>(2)?.is_some() {
            CodeState::Revoked
        } else if row.column::<i64>(3)? <= now.0 {
            CodeState::Expired
        } else {
            CodeState::Pending
        };
        Ok(Self {
            id: row.column(0)?,
            state,
            site: row.column(6)?,
            partner: row.column(5)?,
            created_at: Moment(row.column(4)?).zoned(),
            expires_at: Moment(row.column(3)?).zoned(),
            appliance_id: row.column(7)?,
        })
    }
}

impl Operation for ListCodes {
    type Answer = Vec<CodeEntry>;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Vec<CodeEntry>, store::Error> {
        let columns = concat!(
            code_columns!(),
            "
             WHERE $1 = '' OR (c.created_at, c.code_id) > (SELECT p.created_at, p.code_id FROM provision_codes p
                                                            WHERE p.code_id = $1)
             ORDER BY c.created_at, c.code_id LIMIT $2"
        );
        let rows = connection.rows(columns, values![&self.after, PAGE]).await?;
        rows.iter().map(|row| CodeEntry::from_row(row, self.now)).collect()
    }
}

/// Finds a code by its handle.
pub(super) struct FindCode {
    pub(super) id: String,
    pub(super) now: Moment,
}

impl Operation for FindCode {
    /// The code, and when it ends.
    type Answer = Option<(CodeEntry, Moment)>;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Self::Answer, store::Error> {
        let find = concat!(code_columns!(), " WHERE c.code_id = $1");
        let row = connection.row(find, values![&self.id]).await?;
        row.map(|row| Ok((CodeEntry::from_row(&row, self.now)?, Moment(row.column(3)?)))).transpose()
    }
}

pub(super) enum Revoked {
    Done,
    Claimed(String),
    Unknown,
}

pub(super) struct RevokeCode {
    pub(super) id: String,
    pub(super) scope: Scope,
    pub(super) actor: Actor,
    pub(super) now: Moment,
}

impl Operation for RevokeCode {
    type Answer = Revoked;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Revoked, store::Error> {
        let find = "SELECT partner, site_id FROM provision_codes WHERE code_id = $1";
        let Some(row) = connection.row(find, values![&self.id]).await? else { return Ok(Revoked::Unknown) };
        if !self.scope.has(&row.column::<String>(0)?, row.column::<Option<String>>(1)?.as_deref()) {
            return Ok(Revoked::Unknown);
        }
        let revoke = "UPDATE provision_codes SET revoked_at = $2
                       WHERE code_id = $1 AND claimed_at IS NULL AND revoked_at IS NULL";
        if connection.execute(revoke, values![&self.id, self.now]).await? > 0 {
            audit::record(connection, &self.actor, Action::RevokeCode, &self.id, None, self.now).await?;
            return Ok(Revoked::Done);
        }
        let look =
            "SELECT c.claimed_at, a.appliance_id FROM provision_codes c LEFT JOIN appliances a ON a.code_hash = c.code_hash
                     WHERE c.code_id = $1";
        let Some(row) = connection.row(look, values![&self.id]).await? else { return Ok(Revoked::Unknown) };
        Ok(match row.column::<Option<i64>>(0)? {
            Some(_) => Revoked::Claimed(row.column::<Option<String>>(1)?.unwrap_or_else(|| "an appliance".to_owned())),
            None => Revoked::Done,
        })
    }
}

/// How many of each the overview shows.
const SHOWN: i64 = 200;

pub(super) struct ReadOverview {
    /// Whose sites and codes.
    pub(super) scope: Scope,
    /// Whether the actions of operators are read.
    pub(super) has_actions: bool,
    pub(super) now: Moment,
}

/// Adds the condition that a row of a table is in the scope; `site` and `partner` are the columns of its tenants.
fn within<'s>(statement: &mut Statement<'s>, scope: &'s Scope, [partner, site]: [&'static str; 2]) {
    let (column, own) = match scope {
        Scope::All => return,
        Scope::Only(Tenant::Partner(own)) => (partner, own),
        Scope::Only(Tenant::Site(own)) => (site, own),
    };
    statement.add(" WHERE ").add(column).add(" = ").value(own);
}

impl Operation for ReadOverview {
    type Answer = Overview;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Overview, store::Error> {
        let mut sites = Statement::new("SELECT s.site_id, s.name, s.partner, (SELECT COUNT(*) FROM (SELECT 1 FROM appliances a");
        sites.add(" WHERE a.site_id = s.site_id LIMIT ").value(MANY).add(") counted) FROM (SELECT * FROM sites");
        within(&mut sites, &self.scope, ["partner", "site_id"]);
        sites.add(" ORDER BY created_at DESC, site_id LIMIT ").value(SHOWN).add(") s ORDER BY s.created_at DESC, s.site_id");
        let site = |row: &Row| {
            Ok(SiteEntry { site_id: row.column(0)?, name: row.column(1)?, partner: row.column(2)?, appliances: row.column(3)? })
        };
        let sites = connection.query(&sites).await?.iter().map(site).collect::<Result<Vec<_>, store::Error>>()?;
        let mut codes = Statement::new(code_columns!());
        within(&mut codes, &self.scope, ["c.partner", "c.site_id"]);
        codes.add(" ORDER BY c.created_at DESC, c.code_id DESC LIMIT ").value(SHOWN);
        let codes = connection.query(&codes).await?;
        let codes = codes.iter().map(|row| CodeEntry::from_row(row, self.now)).collect::<Result<_, _>>()?;
        let mut partners = ListPartners.run(connection).await?;
        partners.retain(|partner| match &self.scope {
            Scope::All => true,
            Scope::Only(Tenant::Partner(own)) => partner.slug == *own,
            Scope::Only(Tenant::Site(_)) => sites.iter().any(|site| site.partner == partner.slug),
        });
        let actions = if self.has_actions { ReadAudit { before: None, limit: SHOWN }.run(connection).await? } else { Vec::new() };
        Ok(Overview { partners, sites, codes, actions })
    }
}
