//! Heartbeats: by far the most frequent request. One statement checks every key and takes every report of a batch.

use std::collections::HashMap;

use serde_json::json;

use crate::api;
use crate::batch::Batched;
use crate::clock::Moment;
use crate::refusal::Refusal;
use crate::store::{Connection, Error, Operation, Store, values};

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
        let beats = batch.iter().map(|Self { node_id, key_hash, report }| {
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
        let taken = store.write(TakeNodes { beats, now }).await.map_err(api::refuse)?;
        let judge = |beat: &Self| match taken.get(&beat.node_id) {
            // Another beat of the batch may have named the same node with another key.
            Some(key_hash) if *key_hash == beat.key_hash => Ok(()),
            _ => Err(Refusal::WrongNodeKey),
        };
        Ok(batch.iter().map(judge).collect())
    }
}

struct TakeNodes {
    /// A JSON array, which both databases can join with a table.
    beats: String,
    now: Moment,
}

impl Operation for TakeNodes {
    /// The nodes whose key was right, and its hash.
    type Answer = HashMap<String, String>;

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
                AND nodes.deactivated_at IS NULL
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
                AND nodes.deactivated_at IS NULL
             RETURNING node_id, key_hash",
        );
        let rows = connection.rows(statement, values![self.now, &self.beats]).await?;
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
        let beats = batch
            .iter()
            .map(|beat| json!({ "a": beat.mac_address, "k": beat.key_hash, "h": beat.hostname, "p": beat.ip_address }));
        let beats = serde_json::Value::Array(beats.collect()).to_string();
        let shown = |beat: &Self| Some((beat.mac_address.clone(), beat.key_hash.clone()?));
        let askers = batch.iter().map(|beat| (beat.mac_address.clone(), shown(beat))).collect();
        let taken = store.write(TakeAppliances { beats, askers, now }).await.map_err(api::refuse)?;
        let judge = |beat: &Self| match shown(beat).and_then(|shown| taken.right.get(&shown)) {
            Some((appliance_id, site_id)) => Ok(Standing::Known { appliance_id: appliance_id.clone(), site_id: site_id.clone() }),
            None if taken.known.contains(&beat.mac_address) => Err(Refusal::WrongApplianceKey),
            None => Ok(Standing::Unknown),
        };
        Ok(batch.iter().map(judge).collect())
    }
}

struct TakeAppliances {
    beats: String,
    /// Each address of the batch, and the address with the key hash that was shown for it.
    askers: Vec<(String, Option<(String, String)>)>,
    now: Moment,
}

struct TakenAppliances {
    /// Appliance and site of each address and key hash that were right.
    right: HashMap<(String, String), (String, String)>,
    /// The addresses of the batch that some appliance has, though not with the key that was shown.
    known: Vec<String>,
}

impl Operation for TakeAppliances {
    type Answer = TakenAppliances;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Self::Answer, Error> {
        let take = connection.either(
            "UPDATE appliances
                SET last_seen = $1,
                    key_used_at = COALESCE(appliances.key_used_at, $1),
                    hostname = COALESCE(beat.value ->> 'h', appliances.hostname),
                    ip_address = COALESCE(beat.value ->> 'p', appliances.ip_address)
               FROM json_each($2) AS beat
              WHERE appliances.key_hash = beat.value ->> 'k' AND appliances.mac_address = beat.value ->> 'a'
                AND appliances.revoked_at IS NULL
             RETURNING mac_address, key_hash, appliance_id, site_id",
            "UPDATE appliances
                SET last_seen = $1,
                    key_used_at = COALESCE(appliances.key_used_at, $1),
                    hostname = COALESCE(beat.h, appliances.hostname),
                    ip_address = COALESCE(beat.p, appliances.ip_address)
               FROM json_to_recordset($2::json) AS beat(a text, k text, h text, p text)
              WHERE appliances.key_hash = beat.k AND appliances.mac_address = beat.a
                AND appliances.revoked_at IS NULL
             RETURNING mac_address, key_hash, appliance_id, site_id",
        );
        let mut right = HashMap::new();
        for row in connection.rows(take, values![self.now, &self.beats]).await? {
            right.insert((row.column(0)?, row.column(1)?), (row.column(2)?, row.column(3)?));
        }
        let is_stranger = |shown: &Option<(String, String)>| !shown.as_ref().is_some_and(|shown| right.contains_key(shown));
        let strangers = self.askers.iter().filter(|(_, shown)| is_stranger(shown));
        let strangers = strangers.map(|(mac_address, _)| json!({ "a": mac_address })).collect::<Vec<_>>();
        if strangers.is_empty() {
            return Ok(TakenAppliances { right, known: Vec::new() });
        }
        let ask = connection.either(
            "SELECT DISTINCT beat.value ->> 'a' FROM json_each($1) AS beat
              WHERE EXISTS (SELECT 1 FROM appliances WHERE mac_address = beat.value ->> 'a')",
            "SELECT DISTINCT beat.a FROM json_to_recordset($1::json) AS beat(a text)
              WHERE EXISTS (SELECT 1 FROM appliances WHERE mac_address = beat.a)",
        );
        let strangers = serde_json::Value::Array(strangers).to_string();
        let rows = connection.rows(ask, values![&strangers]).await?;
        let known = rows.iter().map(|row| row.column(0)).collect::<Result<_, _>>()?;
        Ok(TakenAppliances { right, known })
    }
}
