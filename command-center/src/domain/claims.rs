//! Claims: a device that knows a provision code becomes an appliance of the code's site.

use super::code::{ProvisionCode, slug};
use super::guesses::{self, Source};
use super::heartbeats;
use super::history::{self, Of};
use super::operator::Partner;
use super::released::refusal_for_foreign_key;
use crate::base::clock::Moment;
use crate::base::refusal::Refusal;
use crate::base::secret::{Purpose, SecretText, ServerSecret};
use crate::store::{Connection, Error, Operation, values};

/// What a device reports about itself when it claims.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    /// In upper case with colons.
    pub(crate) mac_address: String,
    pub(crate) hostname: Option<String>,
    pub(crate) hardware_id: Option<String>,
    pub(crate) public_key: Option<String>,
    /// 128 random bits that the device stored before its first request: a request that repeats them is from the same device.
    pub(crate) claim_id: Option<String>,
}

impl Device {
    /// A hash that is the same in each request of the device, and different for every other device.
    fn fingerprint(&self, secret: &ServerSecret) -> String {
        let optional = |text: &Option<String>| text.as_ref().map_or_else(String::new, |text| format!("={text}"));
        let (hardware, key, claim) = (optional(&self.hardware_id), optional(&self.public_key), optional(&self.claim_id));
        secret.hash(Purpose::ClaimingDevice, &[&self.mac_address, &hardware, &key, &claim])
    }
}

/// The result of a claim.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) site_id: String,
    pub(crate) appliance_id: String,
    pub(crate) partner: Partner,
    pub(crate) api_key: SecretText,
}

/// Claims a code for a device.
///
/// One conditional statement decides which device gets it. A repeated request of the same device gets the same answer,
/// until the device has used its key.
pub(crate) struct Claim {
    pub(crate) code_hash: String,
    pub(crate) device: Device,
    pub(crate) source: Source,
    pub(crate) secret: ServerSecret,
    pub(crate) by_partner_route: bool,
    pub(crate) now: Moment,
}

impl Claim {
    /// What the database keeps of a code.
    pub(crate) fn hash(secret: &ServerSecret, code: &ProvisionCode) -> String {
        secret.hash(Purpose::ProvisionCode, &[code.expose()])
    }

    async fn site(&self, connection: &mut Connection<'_>, partner: &str) -> Result<String, Error> {
        let name = self.device.hostname.as_ref().unwrap_or(&self.device.mac_address);
        let site_id = site_id(&self.secret, name, &[&self.code_hash]);
        let make = "INSERT INTO sites (site_id, name, partner, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
        connection.execute(make, values![&site_id, name, partner, self.now]).await?;
        let remember = "UPDATE provision_codes SET site_id = $2 WHERE code_hash = $1";
        connection.execute(remember, values![&self.code_hash, &site_id]).await?;
        Ok(site_id)
    }

    /// The reason why this device can never claim the code, if there is one.
    async fn lost(&self, connection: &mut Connection<'_>, fingerprint: &str) -> Result<Option<Refusal>, Error> {
        let look = "SELECT claimed_by, revoked_at FROM provision_codes WHERE code_hash = $1";
        let Some(row) = connection.row(look, values![&self.code_hash]).await? else { return Ok(Some(Refusal::UnknownCode)) };
        Ok(match (row.column::<Option<String>>(0)?, row.column::<Option<i64>>(1)?) {
            (Some(claimed_by), _) if claimed_by != fingerprint => Some(Refusal::CodeClaimed),
            (None, Some(_)) => Some(Refusal::CodeRevoked { by_partner_route: self.by_partner_route }),
            _ => None,
        })
    }

    /// Whether this device has claimed the code, and has used its key.
    async fn is_own(&self, connection: &mut Connection<'_>, fingerprint: &str) -> Result<bool, Error> {
        let look = "SELECT 1 FROM provision_codes WHERE code_hash = $1 AND claimed_by = $2";
        Ok(connection.row(look, values![&self.code_hash, fingerprint]).await?.is_some())
    }

    /// Counts a wrong guess and returns the refusal to send.
    async fn refuse(&self, connection: &mut Connection<'_>, refusal: Refusal) -> Result<Refusal, Error> {
        let counted = guesses::count(connection, &self.source, 1, self.now).await?;
        Ok(counted.err().unwrap_or(refusal))
    }
}

/// The id of a site: readable, and distinguished from others of the same name by a part that only the server can compute.
pub(crate) fn site_id(secret: &ServerSecret, name: &str, parts: &[&str]) -> String {
    let tail = secret.hash(Purpose::SiteId, parts);
    format!("{}-{}", slug(name), &tail[..12])
}

impl Operation for Claim {
    /// A refusal is an answer here, because the guess that it was must be kept.
    type Answer = Result<Claimed, Refusal>;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Self::Answer, Error> {
        let fingerprint = self.device.fingerprint(&self.secret);
        // Before the lock, for which guesses should not make others wait.
        if let Some(refusal) = self.lost(connection, &fingerprint).await? {
            return Ok(Err(self.refuse(connection, refusal).await?));
        }
        connection.lock(&self.code_hash).await?;
        let decide = "
            UPDATE provision_codes SET claimed_at = COALESCE(claimed_at, $3), claimed_by = $2
             WHERE code_hash = $1 AND revoked_at IS NULL
               AND ((claimed_at IS NULL AND expires_at > $3)
                    OR (claimed_by = $2
                        AND EXISTS (SELECT 1 FROM appliances
                                     WHERE appliances.code_hash = provision_codes.code_hash
                                       AND appliances.key_used_at IS NULL AND appliances.revoked_at IS NULL)))
            RETURNING partner, site_id";
        let Some(row) = connection.row(decide, values![&self.code_hash, &fingerprint, self.now]).await? else {
            return Ok(Err(match self.lost(connection, &fingerprint).await? {
                Some(refusal) => self.refuse(connection, refusal).await?,
                None if self.is_own(connection, &fingerprint).await? => Refusal::CodeClaimed,
                None => self.refuse(connection, Refusal::CodeExpired).await?,
            }));
        };
        let partner = row.column::<String>(0)?;
        let site_id = match row.column::<Option<String>>(1)? {
            Some(site_id) => site_id,
            None => self.site(connection, &partner).await?,
        };
        let appliance_id = format!("{site_id}-{}", self.device.mac_address);
        let api_key = self.secret.key(Purpose::ApplianceKey, &[&appliance_id, &self.code_hash, &fingerprint]);
        let key_hash = self.secret.hash(Purpose::ApplianceKeyHash, &[api_key.expose()]);
        // A device that comes back to its site with another code, such as after a reinstallation, starts over; its old key
        // becomes invalid. A repeat of the same claim changes nothing.
        let make = "
            INSERT INTO appliances (appliance_id, site_id, code_hash, key_hash, mac_address, hostname, hardware_id, public_key,
                                    claimed_at, partner, status, progress_percent)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'claimed', 0)
            ON CONFLICT (appliance_id) DO UPDATE SET
                code_hash = excluded.code_hash, key_hash = excluded.key_hash, hostname = excluded.hostname,
                hardware_id = excluded.hardware_id, public_key = excluded.public_key, claimed_at = excluded.claimed_at,
                key_used_at = NULL, revoked_at = NULL, ending = 0, status = excluded.status,
                progress_percent = excluded.progress_percent, message = NULL
             WHERE appliances.code_hash <> excluded.code_hash";
        let Device { mac_address, hostname, hardware_id, public_key, .. } = &self.device;
        let values = values![
            &appliance_id,
            &site_id,
            &self.code_hash,
            &key_hash,
            mac_address,
            hostname,
            hardware_id,
            public_key,
            self.now,
            &partner
        ];
        if connection.execute(make, values).await? > 0 {
            history::record(connection, (Of::Appliance, &appliance_id), "claimed", Some(&site_id), self.now).await?;
        }
        let brand = "SELECT brand_name, primary_color, logo_url FROM partners WHERE slug = $1";
        let row = connection.one(brand, values![&partner]).await?;
        let partner =
            Partner { slug: partner, brand_name: row.column(0)?, primary_color: row.column(1)?, logo_url: row.column(2)? };
        Ok(Ok(Claimed { site_id, appliance_id, partner, api_key }))
    }
}

/// Checks a code without claiming it. A wrong one counts like a claim's.
pub(crate) struct Validate {
    pub(crate) code_hash: String,
    pub(crate) source: Source,
    pub(crate) now: Moment,
}

/// A code that can be claimed.
#[derive(Debug)]
pub(crate) struct Valid {
    pub(crate) site: Option<String>,
    pub(crate) brand_name: String,
    pub(crate) primary_color: String,
}

impl Operation for Validate {
    type Answer = Result<Valid, Refusal>;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Self::Answer, Error> {
        let look = "
            SELECT c.claimed_at, c.revoked_at, c.expires_at, s.name, p.brand_name, p.primary_color
              FROM provision_codes c JOIN partners p ON p.slug = c.partner LEFT JOIN sites s ON s.site_id = c.site_id
             WHERE c.code_hash = $1";
        let found = match connection.row(look, values![&self.code_hash]).await? {
            None => Err(Refusal::UnknownCode),
            Some(row) if row.column::<Option<i64>>(0)?.is_some() => Err(Refusal::CodeClaimed),
            Some(row) if row.column::<Option<i64>>(1)?.is_some() => Err(Refusal::CodeRevoked { by_partner_route: false }),
            Some(row) if row.column::<i64>(2)? <= self.now.0 => Err(Refusal::CodeExpired),
            Some(row) => Ok(Valid { site: row.column(3)?, brand_name: row.column(4)?, primary_color: row.column(5)? }),
        };
        let counted = guesses::count(connection, &self.source, i64::from(found.is_err()), self.now).await?;
        Ok(counted.and(found))
    }
}

/// Stores the progress that an appliance reports.
pub(crate) struct SetStatus {
    pub(crate) appliance_id: String,
    pub(crate) key_hash: String,
    pub(crate) status: String,
    pub(crate) progress_percent: i64,
    pub(crate) message: Option<String>,
    pub(crate) now: Moment,
}

impl Operation for SetStatus {
    type Answer = ();

    async fn run(&self, connection: &mut Connection<'_>) -> Result<(), Error> {
        let Self { appliance_id, key_hash, status, progress_percent, message, now } = self;
        let known = "SELECT status, message FROM appliances WHERE appliance_id = $1 AND key_hash = $2 AND revoked_at IS NULL";
        if let Some(row) = connection.row(known, values![appliance_id, key_hash]).await?
            && (row.column::<String>(0)? != *status || row.column::<Option<String>>(1)? != *message)
        {
            let detail = message.as_ref().map_or_else(|| status.clone(), |message| format!("{status}: {message}"));
            history::record(connection, (Of::Appliance, appliance_id), "status", Some(&detail), *now).await?;
        }
        let note = "
            UPDATE appliances
               SET status = $3, progress_percent = $4, message = $5, key_used_at = COALESCE(key_used_at, $6)
             WHERE appliance_id = $1 AND key_hash = $2 AND revoked_at IS NULL
            RETURNING number";
        let values = values![appliance_id, key_hash, status, *progress_percent, message, *now];
        if let Some(row) = connection.row(note, values).await? {
            return heartbeats::see_appliance(row.column(0)?, *now, connection).await;
        }
        Err(refusal_for_foreign_key(connection, key_hash).await?.into())
    }
}

/// Reads the configuration of an appliance.
pub(crate) struct Configuration {
    pub(crate) appliance_id: String,
    pub(crate) key_hash: String,
    pub(crate) now: Moment,
}

/// The site of an appliance.
#[derive(Debug)]
pub(crate) struct Configured {
    pub(crate) site_id: String,
    pub(crate) site: String,
}

impl Operation for Configuration {
    type Answer = Configured;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Configured, Error> {
        let look = "
            SELECT a.site_id, s.name, a.key_used_at FROM appliances a JOIN sites s ON s.site_id = a.site_id
             WHERE a.appliance_id = $1 AND a.key_hash = $2 AND a.revoked_at IS NULL";
        let Some(row) = connection.row(look, values![&self.appliance_id, &self.key_hash]).await? else {
            return Err(refusal_for_foreign_key(connection, &self.key_hash).await?.into());
        };
        if row.column::<Option<i64>>(2)?.is_none() {
            let note = "UPDATE appliances SET key_used_at = $3
                         WHERE appliance_id = $1 AND key_hash = $2 AND key_used_at IS NULL";
            connection.execute(note, values![&self.appliance_id, &self.key_hash, self.now]).await?;
        }
        Ok(Configured { site_id: row.column(0)?, site: row.column(1)? })
    }
}
