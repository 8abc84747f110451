//! Heartbeats: by far the most frequent request. Those that arrive together are taken in one transaction: one by one on SQLite,
//! where a statement costs microseconds, and in one statement on PostgreSQL, where it costs a way over the network.
//!
//! The first one with a key is durable, because what the key was made from ends with it. What the later ones say is said again
//! soon, and a disk that had to synchronize for each of them would do little else.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;

use serde::Serialize;

use super::refuse;
use crate::base::clock::Moment;
use crate::base::refusal::Refusal;
use crate::store::{Connection, Error, Operation, Store, values};

/// A heartbeat, its key not yet checked.
pub(crate) trait Beat: Serialize + Send + Sync + 'static {
    /// The answer to its sender.
    type Answer: Clone + Send + Sync + 'static;

    /// Takes one, on SQLite. `None`: it is not taken, and would have to be durable to be decided.
    fn take(
        &self,
        is_durable: bool,
        now: Moment,
        connection: &mut Connection<'_>,
    ) -> impl Future<Output = Result<Option<Result<Self::Answer, Refusal>>, Error>> + Send;

    /// Takes all, on PostgreSQL; `json` is an array of them.
    fn take_all(
        beats: &[Self],
        json: &str,
        now: Moment,
        connection: &mut Connection<'_>,
    ) -> impl Future<Output = Result<Vec<Result<Self::Answer, Refusal>>, Error>> + Send
    where
        Self: Sized;
}

/// Writes a batch of them; one answer for each, in their order.
pub(crate) async fn write<B: Beat>(
    store: &Store,
    batch: Vec<B>,
    now: Moment,
) -> Result<Vec<Result<B::Answer, Refusal>>, Refusal> {
    let beats = Arc::<[B]>::from(batch);
    let mut answers = vec![None; beats.len()];
    // Those that need not be durable go first, where that makes them cheaper.
    for is_durable in [false, true] {
        if is_durable || store.has_cheap_writes() {
            let take = Take { beats: Arc::clone(&beats), answers, is_durable, now };
            answers = store.write(take).await.map_err(refuse)?;
        }
        if answers.iter().all(Option::is_some) {
            break;
        }
    }
    Ok(answers.into_iter().map(|answer| answer.expect("a durable pass decides all")).collect())
}

/// Takes those heartbeats that are not answered yet.
struct Take<B: Beat> {
    beats: Arc<[B]>,
    answers: Vec<Option<Result<B::Answer, Refusal>>>,
    is_durable: bool,
    now: Moment,
}

impl<B: Beat> Operation for Take<B> {
    type Answer = Vec<Option<Result<B::Answer, Refusal>>>;

    fn is_durable(&self) -> bool {
        self.is_durable
    }

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Self::Answer, Error> {
        if let Connection::Postgres(_) = connection {
            let json = serde_json::to_string(&*self.beats).expect("texts and numbers");
            let answers = B::take_all(&self.beats, &json, self.now, connection).await?;
            return Ok(answers.into_iter().map(Some).collect());
        }
        let mut answers = self.answers.clone();
        for (beat, answer) in self.beats.iter().zip(&mut answers) {
            if answer.is_none() {
                *answer = beat.take(self.is_durable, self.now, connection).await?;
            }
        }
        Ok(answers)
    }
}

/// What a node reports about itself; absent fields leave the stored ones unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    pub(crate) version: Option<String>,
    pub(crate) git_sha: Option<String>,
    pub(crate) install_mode: Option<String>,
    pub(crate) is_busy: Option<bool>,
}

/// A node's heartbeat, its key not yet checked.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct NodeBeat {
    pub(crate) node_id: String,
    pub(crate) key_hash: String,
    #[serde(flatten)]
    pub(crate) report: Report,
}

impl Beat for NodeBeat {
    type Answer = ();

    async fn take(
        &self,
        is_durable: bool,
        now: Moment,
        connection: &mut Connection<'_>,
    ) -> Result<Option<Result<(), Refusal>>, Error> {
        let Self { node_id, key_hash, report: Report { version, git_sha, install_mode, is_busy } } = self;
        let statement = "
            UPDATE nodes
               SET last_seen = $1,
                   key_used_at = COALESCE(key_used_at, $1),
                   version = COALESCE($2, version),
                   git_sha = COALESCE($3, git_sha),
                   install_mode = COALESCE($4, install_mode),
                   is_busy = COALESCE($5, is_busy)
             WHERE node_id = $6 AND key_hash = $7
               AND deactivated_at IS NULL AND (key_used_at IS NOT NULL OR $8 = 1)";
        let values =
            values![now, version, git_sha, install_mode, is_busy.map(i64::from), node_id, key_hash, i64::from(is_durable)];
        match connection.execute(statement, values).await? {
            0 if is_durable => Ok(Some(Err(Refusal::WrongNodeKey))),
            0 => Ok(None),
            _ => Ok(Some(Ok(()))),
        }
    }

    async fn take_all(
        beats: &[Self],
        json: &str,
        now: Moment,
        connection: &mut Connection<'_>,
    ) -> Result<Vec<Result<(), Refusal>>, Error> {
        let statement = "
            UPDATE nodes
               SET last_seen = $1,
                   key_used_at = COALESCE(nodes.key_used_at, $1),
                   version = COALESCE(beat.version, nodes.version),
                   git_sha = COALESCE(beat.git_sha, nodes.git_sha),
                   install_mode = COALESCE(beat.install_mode, nodes.install_mode),
                   is_busy = COALESCE(beat.is_busy::int, nodes.is_busy)
              FROM json_to_recordset($2::json) AS
                   beat(node_id text, key_hash text, version text, git_sha text, install_mode text, is_busy boolean)
             WHERE nodes.node_id = beat.node_id AND nodes.key_hash = beat.key_hash AND nodes.deactivated_at IS NULL
            RETURNING nodes.node_id, nodes.key_hash";
        let rows = connection.rows(statement, values![now, json]).await?;
        // Another beat of the batch may have named the same node with another key.
        let right =
            rows.iter().map(|row| Ok((row.column(0)?, row.column(1)?))).collect::<Result<HashMap<String, String>, Error>>()?;
        let judge =
            |beat: &Self| if right.get(&beat.node_id) == Some(&beat.key_hash) { Ok(()) } else { Err(Refusal::WrongNodeKey) };
        Ok(beats.iter().map(judge).collect())
    }
}

/// An appliance's heartbeat, its key not yet checked.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ApplianceBeat {
    pub(crate) mac_address: String,
    /// Without it the answer only says whether the appliance is known.
    pub(crate) key_hash: Option<String>,
    pub(crate) hostname: Option<String>,
    pub(crate) ip_address: Option<String>,
}

/// The answer to an appliance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has claimed a code, and its key is right.
    Known { appliance_id: String, site_id: String },
    /// No appliance with this address has claimed a code.
    Unknown,
}

impl Beat for ApplianceBeat {
    type Answer = Standing;

    async fn take(
        &self,
        is_durable: bool,
        now: Moment,
        connection: &mut Connection<'_>,
    ) -> Result<Option<Result<Standing, Refusal>>, Error> {
        let Self { mac_address, key_hash, hostname, ip_address } = self;
        let take = "
            UPDATE appliances
               SET last_seen = $1,
                   key_used_at = COALESCE(key_used_at, $1),
                   hostname = COALESCE($2, hostname),
                   ip_address = COALESCE($3, ip_address)
             WHERE key_hash = $4 AND mac_address = $5
               AND revoked_at IS NULL AND (key_used_at IS NOT NULL OR $6 = 1)
            RETURNING appliance_id, site_id";
        let values = values![now, hostname, ip_address, key_hash, mac_address, i64::from(is_durable)];
        if let Some(row) = connection.row(take, values).await? {
            return Ok(Some(Ok(Standing::Known { appliance_id: row.column(0)?, site_id: row.column(1)? })));
        }
        if !is_durable {
            return Ok(None);
        }
        let known = connection.row("SELECT 1 FROM appliances WHERE mac_address = $1 LIMIT 1", values![mac_address]).await?;
        Ok(Some(if known.is_some() { Err(Refusal::WrongApplianceKey) } else { Ok(Standing::Unknown) }))
    }

    async fn take_all(
        beats: &[Self],
        json: &str,
        now: Moment,
        connection: &mut Connection<'_>,
    ) -> Result<Vec<Result<Standing, Refusal>>, Error> {
        let take = "
            UPDATE appliances
               SET last_seen = $1,
                   key_used_at = COALESCE(appliances.key_used_at, $1),
                   hostname = COALESCE(beat.hostname, appliances.hostname),
                   ip_address = COALESCE(beat.ip_address, appliances.ip_address)
              FROM json_to_recordset($2::json) AS beat(mac_address text, key_hash text, hostname text, ip_address text)
             WHERE appliances.key_hash = beat.key_hash AND appliances.mac_address = beat.mac_address
               AND appliances.revoked_at IS NULL
            RETURNING appliances.mac_address, appliances.key_hash, appliances.appliance_id, appliances.site_id";
        let mut right = HashMap::<(String, Option<String>), Standing>::new();
        for row in connection.rows(take, values![now, json]).await? {
            let standing = Standing::Known { appliance_id: row.column(2)?, site_id: row.column(3)? };
            right.insert((row.column(0)?, Some(row.column(1)?)), standing);
        }
        let ask = "
            SELECT DISTINCT beat.mac_address FROM json_to_recordset($1::json) AS beat(mac_address text)
             WHERE EXISTS (SELECT 1 FROM appliances WHERE appliances.mac_address = beat.mac_address)";
        let standing = |beat: &Self| right.get(&(beat.mac_address.clone(), beat.key_hash.clone())).cloned();
        let standings = beats.iter().map(standing).collect::<Vec<_>>();
        let rows = if standings.iter().all(Option::is_some) { Vec::new() } else { connection.rows(ask, values![json]).await? };
        let known = rows.iter().map(|row| row.column(0)).collect::<Result<HashSet<String>, Error>>()?;
        let judge = |(beat, standing): (&Self, Option<Standing>)| match standing {
            Some(standing) => Ok(standing),
            None if known.contains(&beat.mac_address) => Err(Refusal::WrongApplianceKey),
            None => Ok(Standing::Unknown),
        };
        Ok(beats.iter().zip(standings).map(judge).collect())
    }
}
