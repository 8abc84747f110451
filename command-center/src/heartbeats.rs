//! Heartbeats: by far the most frequent request. One statement checks every key and takes every report of a batch.
//!
//! The first one with a key is durable, because what the key was made from ends with it. What the later ones say is said again
//! soon, and a disk that had to synchronize for each of them would do little else.

use std::collections::{HashMap, HashSet};

use serde_json::json;

use crate::api;
use crate::batch::Batched;
use crate::clock::Moment;
use crate::refusal::Refusal;
use crate::store::{Connection, Error, Operation, Store, values};

/// Which heartbeats of a batch an operation takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keys {
    /// Those whose key was used before.
    Used,
    /// All.
    All,
}

impl Keys {
    /// Those that need not be durable go first, where that makes them cheaper.
    const fn at_first(store: &Store) -> Self {
        if store.has_cheap_writes() { Self::Used } else { Self::All }
    }
}

/// What a node tells of itself; what is absent stays as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) version: Option<String>,
    pub(crate) git_sha: Option<String>,
    pub(crate) install_mode: Option<String>,
    pub(crate) is_busy: Option<bool>,
}

/// A node's heartbeat, its key not yet checked.
#[derive(Clone, Debug)]
pub(crate) struct NodeBeat {
    pub(crate) node_id: String,
    pub(crate) key_hash: String,
    pub(crate) report: Report,
}

impl Batched for NodeBeat {
    type Answer = ();

    async fn write(store: &Store, batch: &[Self], now: Moment) -> Result<Vec<Result<(), Refusal>>, Refusal> {
        let keys = Keys::at_first(store);
        let mut taken = TakeNodes::write(store, batch.iter(), keys, now).await?;
        // Another beat of the batch may have named the same node with another key.
        let is_right = |beat: &Self, taken: &HashMap<_, _>| taken.get(&beat.node_id) == Some(&beat.key_hash);
        let rest = batch.iter().filter(|beat| !is_right(beat, &taken)).collect::<Vec<_>>();
        if keys == Keys::Used && !rest.is_empty() {
            let first = TakeNodes::write(store, rest.into_iter(), Keys::All, now).await?;
            taken.extend(first);
        }
        let judge = |beat| if is_right(beat, &taken) { Ok(()) } else { Err(Refusal::WrongNodeKey) };
        Ok(batch.iter().map(judge).collect())
    }
}

struct TakeNodes {
    /// A JSON array, which both databases can join with a table.
    beats: String,
    keys: Keys,
    now: Moment,
}

impl TakeNodes {
    async fn write<'b>(
        store: &Store,
        batch: impl Iterator<Item = &'b NodeBeat>,
        keys: Keys,
        now: Moment,
    ) -> Result<HashMap<String, String>, Refusal> {
        let beats = batch.map(|NodeBeat { node_id, key_hash, report }| {
            json!({
                "i": node_id,
                "k": key_hash,
                "v": report.version,
                "g": report.git_sha,
                "m": report.install_mode,
                "b": report.is_busy.map(i64::from),
            })
        });
        let beats = serde_json::Value::Array(beats.collect()).to_string();
        store.write(Self { beats, keys, now }).await.map_err(api::refuse)
    }
}

impl Operation for TakeNodes {
    /// The nodes whose key was right, and its hash.
    type Answer = HashMap<String, String>;

    fn is_durable(&self) -> bool {
        self.keys == Keys::All
    }

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Self::Answer, Error> {
        let statement = connection.either(
            "UPDATE nodes
                SET last_seen = $1,
                    key_used_at = COALESCE(nodes.key_used_at, $1),
                    version = COALESCE(beat.value ->> 'v', nodes.version),
                    git_sha = COALESCE(beat.value ->> 'g', nodes.git_sha),
                    install_mode = COALESCE(beat.value ->> 'm', nodes.install_mode),
                    is_busy = COALESCE(beat.value ->> 'b', nodes.is_busy)
               FROM json_each($2) AS beat
              WHERE nodes.node_id = beat.value ->> 'i' AND nodes.key_hash = beat.value ->> 'k'
                AND nodes.deactivated_at IS NULL AND (nodes.key_used_at IS NOT NULL OR $3 = 1)
             RETURNING node_id, key_hash",
            "UPDATE nodes
                SET last_seen = $1,
                    key_used_at = COALESCE(nodes.key_used_at, $1),
                    version = COALESCE(beat.v, nodes.version),
                    git_sha = COALESCE(beat.g, nodes.git_sha),
                    install_mode = COALESCE(beat.m, nodes.install_mode),
                    is_busy = COALESCE(beat.b, nodes.is_busy)
               FROM json_to_recordset($2::json) AS beat(i text, k text, v text, g text, m text, b bigint)
              WHERE nodes.node_id = beat.i AND nodes.key_hash = beat.k
                AND nodes.deactivated_at IS NULL AND (nodes.key_used_at IS NOT NULL OR $3 = 1)
             RETURNING node_id, key_hash",
        );
        let rows = connection.rows(statement, values![self.now, &self.beats, i64::from(self.keys == Keys::All)]).await?;
        rows.iter().map(|row| Ok((row.column(0)?, row.column(1)?))).collect()
    }
}

/// An appliance's heartbeat, its key not yet checked.
#[derive(Clone, Debug)]
pub(crate) struct ApplianceBeat {
    pub(crate) mac_address: String,
    /// Without it the appliance is only asked about.
    pub(crate) key_hash: Option<String>,
    pub(crate) hostname: Option<String>,
    pub(crate) ip_address: Option<String>,
}

/// What an appliance is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has claimed a code, and its key is right.
    Known { appliance_id: String, site_id: String },
    /// No appliance with this address has claimed a code.
    Unknown,
}

impl Batched for ApplianceBeat {
    type Answer = Standing;

    async fn write(store: &Store, batch: &[Self], now: Moment) -> Result<Vec<Result<Standing, Refusal>>, Refusal> {
        let keys = Keys::at_first(store);
        let mut taken = TakeAppliances::write(store, batch.iter(), keys, now).await?;
        let strangers = batch.iter().filter(|beat| taken.of(beat).is_none()).collect::<Vec<_>>();
        if keys == Keys::Used && !strangers.is_empty() {
            let first = TakeAppliances::write(store, strangers.into_iter(), Keys::All, now).await?;
            taken.right.extend(first.right);
            taken.known = first.known;
        }
        let judge = |beat: &Self| match taken.of(beat) {
            Some((appliance_id, site_id)) => Ok(Standing::Known { appliance_id: appliance_id.clone(), site_id: site_id.clone() }),
            None if taken.known.contains(&beat.mac_address) => Err(Refusal::WrongApplianceKey),
            None => Ok(Standing::Unknown),
        };
        Ok(batch.iter().map(judge).collect())
    }
}

struct TakeAppliances {
    beats: String,
    keys: Keys,
    now: Moment,
}

impl TakeAppliances {
    async fn write<'b>(
        store: &Store,
        batch: impl Iterator<Item = &'b ApplianceBeat>,
        keys: Keys,
        now: Moment,
    ) -> Result<TakenAppliances, Refusal> {
        let beats =
            batch.map(|beat| json!({ "a": beat.mac_address, "k": beat.key_hash, "h": beat.hostname, "p": beat.ip_address }));
        let beats = serde_json::Value::Array(beats.collect()).to_string();
        store.write(Self { beats, keys, now }).await.map_err(api::refuse)
    }
}

struct TakenAppliances {
    /// Appliance and site of each address and key hash that were right.
    right: HashMap<(String, String), (String, String)>,
    /// The addresses of the batch that some appliance has; not asked for if all keys were used before.
    known: HashSet<String>,
}

impl TakenAppliances {
    /// Appliance and site of a heartbeat whose key was right.
    fn of(&self, beat: &ApplianceBeat) -> Option<&(String, String)> {
        self.right.get(&(beat.mac_address.clone(), beat.key_hash.clone()?))
    }
}

impl Operation for TakeAppliances {
    type Answer = TakenAppliances;

    fn is_durable(&self) -> bool {
        self.keys == Keys::All
    }

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Self::Answer, Error> {
        let take = connection.either(
            "UPDATE appliances
                SET last_seen = $1,
                    key_used_at = COALESCE(appliances.key_used_at, $1),
                    hostname = COALESCE(beat.value ->> 'h', appliances.hostname),
                    ip_address = COALESCE(beat.value ->> 'p', appliances.ip_address)
               FROM json_each($2) AS beat
              WHERE appliances.key_hash = beat.value ->> 'k' AND appliances.mac_address = beat.value ->> 'a'
                AND appliances.revoked_at IS NULL AND (appliances.key_used_at IS NOT NULL OR $3 = 1)
             RETURNING mac_address, key_hash, appliance_id, site_id",
            "UPDATE appliances
                SET last_seen = $1,
                    key_used_at = COALESCE(appliances.key_used_at, $1),
                    hostname = COALESCE(beat.h, appliances.hostname),
                    ip_address = COALESCE(beat.p, appliances.ip_address)
               FROM json_to_recordset($2::json) AS beat(a text, k text, h text, p text)
              WHERE appliances.key_hash = beat.k AND appliances.mac_address = beat.a
                AND appliances.revoked_at IS NULL AND (appliances.key_used_at IS NOT NULL OR $3 = 1)
             RETURNING mac_address, key_hash, appliance_id, site_id",
        );
        let mut right = HashMap::new();
        for row in connection.rows(take, values![self.now, &self.beats, i64::from(self.keys == Keys::All)]).await? {
            right.insert((row.column(0)?, row.column(1)?), (row.column(2)?, row.column(3)?));
        }
        if self.keys == Keys::Used {
            return Ok(TakenAppliances { right, known: HashSet::new() });
        }
        let ask = connection.either(
            "SELECT DISTINCT beat.value ->> 'a' FROM json_each($1) AS beat
              WHERE EXISTS (SELECT 1 FROM appliances WHERE mac_address = beat.value ->> 'a')",
            "SELECT DISTINCT beat.a FROM json_to_recordset($1::json) AS beat(a text)
              WHERE EXISTS (SELECT 1 FROM appliances WHERE mac_address = beat.a)",
        );
        let rows = connection.rows(ask, values![&self.beats]).await?;
        let known = rows.iter().map(|row| row.column(0)).collect::<Result<_, _>>()?;
        Ok(TakenAppliances { right, known })
    }
}
