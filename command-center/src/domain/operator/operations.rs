//! The database operations behind the operator's commands.

use super::{CodeEntry, CodeState, MANY, Overview, PAGE, Partner, SiteEntry};
use crate::base::clock::Moment;
use crate::domain::audit::{self, Action, Actor, ReadAudit};
use crate::store::{self, Connection, Operation, Row, values};

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
    pub(super) actor: Actor,
    pub(super) now: Moment,
    pub(super) expires_at: Moment,
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
    pub(super) actor: Actor,
    pub(super) now: Moment,
}

impl Operation for RevokeCode {
    type Answer = Revoked;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Revoked, store::Error> {
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
    pub(super) now: Moment,
}

impl Operation for ReadOverview {
    type Answer = Overview;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Overview, store::Error> {
        let sites = "
            SELECT s.site_id, s.name, s.partner,
                   (SELECT COUNT(*) FROM (SELECT 1 FROM appliances a WHERE a.site_id = s.site_id LIMIT $2) counted)
              FROM (SELECT site_id, name, partner, created_at FROM sites ORDER BY created_at DESC, site_id LIMIT $1) s
             ORDER BY s.created_at DESC, s.site_id";
        let site = |row: &Row| {
            Ok(SiteEntry { site_id: row.column(0)?, name: row.column(1)?, partner: row.column(2)?, appliances: row.column(3)? })
        };
        let sites = connection.rows(sites, values![SHOWN, MANY]).await?.iter().map(site).collect::<Result<_, store::Error>>()?;
        let codes = concat!(code_columns!(), " ORDER BY c.created_at DESC, c.code_id DESC LIMIT $1");
        let codes = connection.rows(codes, values![SHOWN]).await?;
        let codes = codes.iter().map(|row| CodeEntry::from_row(row, self.now)).collect::<Result<_, _>>()?;
        let partners = ListPartners.run(connection).await?;
        let actions = ReadAudit { before: None, limit: SHOWN }.run(connection).await?;
        Ok(Overview { partners, sites, codes, actions })
    }
}
