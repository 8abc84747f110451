//! Heartbeats: by far the most frequent request. Those that arrive together are taken in one transaction: one by one on SQLite,
//! where a statement costs microseconds, and in one statement on PostgreSQL, where it costs a way over the network.
//!
//! Most say only that a device is alive. They change one row of a narrow table and are not durable: the next one says the same,
//! and a disk that had to synchronize for each of them would do little else. All others are durable: the first one with a key,
//! because what the key was made from ends with it, and those that report something new.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use super::history::{self, Of};
use super::refuse;
use super::released::IssuedKeys;
use crate::base::clock::Moment;
use crate::base::refusal::Refusal;
use crate::store::{Connection, Error, Operation, Row, Store, values};

/// A heartbeat, its key not yet checked.
pub(crate) trait Beat: Sized + Send + Sync + 'static {
    /// The answer to its sender.
    type Answer: Clone + Send + Sync + 'static;

    /// Who sends it.
    fn sender(&self) -> &str;

    /// Takes one, on SQLite. `None`: it is not taken, and would have to be durable to be decided.
    fn take(
        &self,
        is_durable: bool,
        now: Moment,
        connection: &mut Connection<'_>,
    ) -> impl Future<Output = Result<Option<Result<Self::Answer, Refusal>>, Error>> + Send;

    /// Takes those of `beats` that change nothing but the time, on PostgreSQL, in one statement. One answer for each; `None`:
    /// it is not taken.
    fn take_quickly(
        beats: &[&Self],
        now: Moment,
        connection: &mut Connection<'_>,
    ) -> impl Future<Output = Result<Vec<Option<Self::Answer>>, Error>> + Send;

    /// Takes all, on PostgreSQL. One answer for each.
    fn take_all(
        beats: &[&Self],
        now: Moment,
        connection: &mut Connection<'_>,
    ) -> impl Future<Output = Result<Vec<Result<Self::Answer, Refusal>>, Error>> + Send;
}

/// Writes a batch of them; one answer for each, in their order.
pub(crate) async fn write<B: Beat>(
    store: &Store,
    batch: Vec<B>,
    now: Moment,
) -> Result<Vec<Result<B::Answer, Refusal>>, Refusal> {
    let beats = Arc::<[B]>::from(batch);
    let mut answers = vec![None; beats.len()];
    for is_durable in [false, true] {
        let take = Take { beats: Arc::clone(&beats), answers, is_durable, now };
        answers = store.write(take).await.map_err(refuse)?;
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

impl<B: Beat> Take<B> {
    async fn on_postgres(&self, connection: &mut Connection<'_>) -> Result<Vec<Option<Result<B::Answer, Refusal>>>, Error> {
        let mut answers = self.answers.clone();
        let mut open = (0..).zip(&*self.beats).filter(|(index, _)| answers[*index].is_none()).collect::<Vec<(usize, &B)>>();
        // Batches lock rows in the same order, so that two with the same senders wait for each other, but never in a circle.
        open.sort_unstable_by_key(|(_, beat)| beat.sender());
        let (places, beats) = open.into_iter().unzip::<_, _, Vec<_>, Vec<_>>();
        let taken = if self.is_durable {
            B::take_all(&beats, self.now, connection).await?.into_iter().map(Some).collect()
        } else {
            B::take_quickly(&beats, self.now, connection).await?.into_iter().map(|answer| answer.map(Ok)).collect::<Vec<_>>()
        };
        for (place, answer) in places.into_iter().zip(taken) {
            answers[place] = answer;
        }
        Ok(answers)
    }
}

impl<B: Beat> Operation for Take<B> {
    type Answer = Vec<Option<Result<B::Answer, Refusal>>>;

    fn is_durable(&self) -> bool {
        self.is_durable
    }

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Self::Answer, Error> {
        if let Connection::Postgres(_) = connection {
            return self.on_postgres(connection).await;
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

/// A column of a batch, as an array for PostgreSQL.
fn column<'b, B, T>(beats: &[&'b B], of: impl Fn(&'b B) -> T) -> Vec<T> {
    beats.iter().map(|beat| of(beat)).collect()
}

/// The index that a row begins with: PostgreSQL counts from 1.
fn place(row: &Row) -> Result<usize, Error> {
    let place = row.column::<i64>(0)? - 1;
    Ok(usize::try_from(place).expect("arrays are counted from 1"))
}

/// What a node reports about itself; absent fields leave the stored ones unchanged.
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

/// The heartbeats of a batch of nodes, as a relation for PostgreSQL.
macro_rules! node_beats {
    () => {
        "unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[]) WITH ORDINALITY
             AS beat (node_id, key_hash, version, git_sha, install_mode, is_busy, place)"
    };
}

/// The parameters of [`node_beats`], with `$1`.
macro_rules! node_values {
    ($beats:expr, $now:expr) => {
        values![
            $now,
            &column($beats, |beat| Some(beat.node_id.as_str())),
            &column($beats, |beat| Some(beat.key_hash.as_str())),
            &column($beats, |beat| beat.report.version.as_deref()),
            &column($beats, |beat| beat.report.git_sha.as_deref()),
            &column($beats, |beat| beat.report.install_mode.as_deref()),
            &column($beats, |beat| beat.report.is_busy.map(i64::from)),
        ]
    };
}

impl Beat for NodeBeat {
    type Answer = ();

    fn sender(&self) -> &str {
        &self.node_id
    }

    async fn take(
        &self,
        is_durable: bool,
        now: Moment,
        connection: &mut Connection<'_>,
    ) -> Result<Option<Result<(), Refusal>>, Error> {
        let Self { node_id, key_hash, report: Report { version, git_sha, install_mode, is_busy } } = self;
        let values = values![now, version, git_sha, install_mode, is_busy.map(i64::from), node_id, key_hash];
        if !is_durable {
            let see = "
                UPDATE node_presence SET last_seen = $1
                 WHERE number = (SELECT number FROM nodes
                                  WHERE node_id = $6 AND key_hash = $7 AND deactivated_at IS NULL AND key_used_at IS NOT NULL
                                    AND version IS COALESCE($2, version) AND git_sha IS COALESCE($3, git_sha)
                                    AND install_mode IS COALESCE($4, install_mode) AND is_busy = COALESCE($5, is_busy))";
            return Ok((connection.execute(see, values).await? > 0).then_some(Ok(())));
        }
        let renew = "
            INSERT INTO device_events (kind, device_id, at, event, detail)
            SELECT 'node', node_id, $1, 'version', $2 FROM nodes
             WHERE node_id = $3 AND key_hash = $4 AND deactivated_at IS NULL AND version IS NOT COALESCE($2, version)";
        if connection.execute(renew, values![now, version, node_id, key_hash]).await? > 0 {
            history::trim(connection, Of::Node, node_id).await?;
        }
        let note = "
            UPDATE nodes
               SET key_used_at = COALESCE(key_used_at, $1),
                   version = COALESCE($2, version),
                   git_sha = COALESCE($3, git_sha),
                   install_mode = COALESCE($4, install_mode),
                   is_busy = COALESCE($5, is_busy)
             WHERE node_id = $6 AND key_hash = $7 AND deactivated_at IS NULL
            RETURNING number";
        let Some(row) = connection.row(note, values).await? else { return Ok(Some(Err(Refusal::WrongNodeKey))) };
        let see = "INSERT INTO node_presence (number, last_seen) VALUES ($1, $2)
                   ON CONFLICT (number) DO UPDATE SET last_seen = excluded.last_seen";
        connection.execute(see, values![row.column::<i64>(0)?, now]).await?;
        Ok(Some(Ok(())))
    }

    async fn take_quickly(beats: &[&Self], now: Moment, connection: &mut Connection<'_>) -> Result<Vec<Option<()>>, Error> {
        let see = concat!(
            "UPDATE node_presence SET last_seen = $1
               FROM ",
            node_beats!(),
            " JOIN nodes ON nodes.node_id = beat.node_id
              WHERE node_presence.number = nodes.number
                AND nodes.key_hash = beat.key_hash AND nodes.deactivated_at IS NULL AND nodes.key_used_at IS NOT NULL
                AND nodes.version IS NOT DISTINCT FROM COALESCE(beat.version, nodes.version)
                AND nodes.git_sha IS NOT DISTINCT FROM COALESCE(beat.git_sha, nodes.git_sha)
                AND nodes.install_mode IS NOT DISTINCT FROM COALESCE(beat.install_mode, nodes.install_mode)
                AND nodes.is_busy = COALESCE(beat.is_busy, nodes.is_busy)
             RETURNING beat.place"
        );
        let mut answers = vec![None; beats.len()];
        for row in connection.rows(see, node_values!(beats, now)).await? {
            answers[place(&row)?] = Some(());
        }
        Ok(answers)
    }

    async fn take_all(beats: &[&Self], now: Moment, connection: &mut Connection<'_>) -> Result<Vec<Result<(), Refusal>>, Error> {
        let note = concat!(
            "WITH noted AS (
                UPDATE nodes
                   SET key_used_at = COALESCE(nodes.key_used_at, $1),
                       version = COALESCE(beat.version, nodes.version),
                       git_sha = COALESCE(beat.git_sha, nodes.git_sha),
                       install_mode = COALESCE(beat.install_mode, nodes.install_mode),
                       is_busy = COALESCE(beat.is_busy, nodes.is_busy)
                  FROM ",
            node_beats!(),
            "    WHERE nodes.node_id = beat.node_id AND nodes.key_hash = beat.key_hash AND nodes.deactivated_at IS NULL
                RETURNING beat.place, nodes.number, nodes.node_id
             ), seen AS (
                INSERT INTO node_presence (number, last_seen) SELECT number, $1 FROM noted
                ON CONFLICT (number) DO UPDATE SET last_seen = excluded.last_seen
             ), renewed AS (
                INSERT INTO device_events (kind, device_id, at, event, detail)
                SELECT 'node', nodes.node_id, $1, 'version', beat.version
                  FROM noted JOIN ",
            node_beats!(),
            "  ON beat.place = noted.place JOIN nodes ON nodes.number = noted.number
                 WHERE nodes.version IS DISTINCT FROM COALESCE(beat.version, nodes.version)
                RETURNING device_id
             )
             SELECT place, EXISTS (SELECT 1 FROM renewed WHERE device_id = noted.node_id) FROM noted"
        );
        let mut right = HashMap::new();
        let mut renewed = Vec::new();
        for row in connection.rows(note, node_values!(beats, now)).await? {
            let beat = beats[place(&row)?];
            right.insert(beat.node_id.as_str(), beat.key_hash.as_str());
            if row.column(1)? {
                renewed.push(beat.node_id.as_str());
            }
        }
        for node_id in renewed {
            history::trim(connection, Of::Node, node_id).await?;
        }
        // Of several with the right key one was taken; another may have named the same node with another key.
        let judge = |beat: &&Self| match right.get(beat.node_id.as_str()) {
            Some(key_hash) if *key_hash == beat.key_hash => Ok(()),
            _ => Err(Refusal::WrongNodeKey),
        };
        Ok(beats.iter().map(judge).collect())
    }
}

/// An appliance's heartbeat, its key not yet checked.
#[derive(Clone, Debug)]
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
    /// No appliance with this address has claimed a code, or all have been released from their sites.
    Unknown,
}

/// Stores when an appliance was last heard of, given its number.
pub(super) async fn see_appliance(number: i64, now: Moment, connection: &mut Connection<'_>) -> Result<(), Error> {
    let see = "INSERT INTO appliance_presence (number, last_seen) VALUES ($1, $2)
               ON CONFLICT (number) DO UPDATE SET last_seen = excluded.last_seen";
    connection.execute(see, values![number, now]).await?;
    Ok(())
}

impl Standing {
    /// From the columns after the place.
    fn known(row: &Row) -> Result<Self, Error> {
        Ok(Self::Known { appliance_id: row.column(1)?, site_id: row.column(2)? })
    }
}

impl ApplianceBeat {
    /// The answer if its key is not valid.
    fn without_key(&self, issued: &IssuedKeys) -> Result<Standing, Refusal> {
        issued.refusal(&self.mac_address, self.key_hash.as_deref()).map_or(Ok(Standing::Unknown), Err)
    }
}

/// The heartbeats of a batch of appliances, as a relation for PostgreSQL.
macro_rules! appliance_beats {
    () => {
        "unnest($2::text[], $3::text[], $4::text[], $5::text[]) WITH ORDINALITY
             AS beat (mac_address, key_hash, hostname, ip_address, place)"
    };
}

/// The parameters of [`appliance_beats`], with `$1`.
macro_rules! appliance_values {
    ($beats:expr, $now:expr) => {
        values![
            $now,
            &column($beats, |beat| Some(beat.mac_address.as_str())),
            &column($beats, |beat| beat.key_hash.as_deref()),
            &column($beats, |beat| beat.hostname.as_deref()),
            &column($beats, |beat| beat.ip_address.as_deref()),
        ]
    };
}

impl Beat for ApplianceBeat {
    type Answer = Standing;

    fn sender(&self) -> &str {
        &self.mac_address
    }

    async fn take(
        &self,
        is_durable: bool,
        now: Moment,
        connection: &mut Connection<'_>,
    ) -> Result<Option<Result<Standing, Refusal>>, Error> {
        let Self { mac_address, key_hash, hostname, ip_address } = self;
        if !is_durable {
            let find = "
                SELECT number, appliance_id, site_id FROM appliances
                 WHERE key_hash = $1 AND mac_address = $2 AND revoked_at IS NULL AND key_used_at IS NOT NULL
                   AND hostname IS COALESCE($3, hostname) AND ip_address IS COALESCE($4, ip_address)";
            let Some(row) = connection.row(find, values![key_hash, mac_address, hostname, ip_address]).await? else {
                return Ok(None);
            };
            let see = "UPDATE appliance_presence SET last_seen = $2 WHERE number = $1";
            let seen = connection.execute(see, values![row.column::<i64>(0)?, now]).await?;
            return if seen > 0 { Ok(Some(Ok(Standing::known(&row)?))) } else { Ok(None) };
        }
        let note = "
            UPDATE appliances
               SET key_used_at = COALESCE(key_used_at, $1),
                   hostname = COALESCE($2, hostname),
                   ip_address = COALESCE($3, ip_address)
             WHERE key_hash = $4 AND mac_address = $5 AND revoked_at IS NULL
            RETURNING number, appliance_id, site_id";
        let values = values![now, hostname, ip_address, key_hash, mac_address];
        if let Some(row) = connection.row(note, values).await? {
            see_appliance(row.column(0)?, now, connection).await?;
            return Ok(Some(Ok(Standing::known(&row)?)));
        }
        let issued = "SELECT mac_address, key_hash, revoked_at, ending FROM appliances WHERE mac_address = $1";
        let issued = IssuedKeys::read(&connection.rows(issued, values![mac_address]).await?)?;
        Ok(Some(self.without_key(&issued)))
    }

    async fn take_quickly(beats: &[&Self], now: Moment, connection: &mut Connection<'_>) -> Result<Vec<Option<Standing>>, Error> {
        let see = concat!(
            "UPDATE appliance_presence SET last_seen = $1
               FROM ",
            appliance_beats!(),
            " JOIN appliances ON appliances.key_hash = beat.key_hash
              WHERE appliance_presence.number = appliances.number
                AND appliances.mac_address = beat.mac_address
                AND appliances.revoked_at IS NULL AND appliances.key_used_at IS NOT NULL
                AND appliances.hostname IS NOT DISTINCT FROM COALESCE(beat.hostname, appliances.hostname)
                AND appliances.ip_address IS NOT DISTINCT FROM COALESCE(beat.ip_address, appliances.ip_address)
             RETURNING beat.place, appliances.appliance_id, appliances.site_id"
        );
        let mut answers = vec![None; beats.len()];
        for row in connection.rows(see, appliance_values!(beats, now)).await? {
            answers[place(&row)?] = Some(Standing::known(&row)?);
        }
        Ok(answers)
    }

    async fn take_all(
        beats: &[&Self],
        now: Moment,
        connection: &mut Connection<'_>,
    ) -> Result<Vec<Result<Standing, Refusal>>, Error> {
        let note = concat!(
            "WITH noted AS (
                UPDATE appliances
                   SET key_used_at = COALESCE(appliances.key_used_at, $1),
                       hostname = COALESCE(beat.hostname, appliances.hostname),
                       ip_address = COALESCE(beat.ip_address, appliances.ip_address)
                  FROM ",
            appliance_beats!(),
            "    WHERE appliances.key_hash = beat.key_hash AND appliances.mac_address = beat.mac_address
                   AND appliances.revoked_at IS NULL
                RETURNING beat.place, appliances.appliance_id, appliances.site_id, appliances.number
             ), seen AS (
                INSERT INTO appliance_presence (number, last_seen) SELECT number, $1 FROM noted
                ON CONFLICT (number) DO UPDATE SET last_seen = excluded.last_seen
             )
             SELECT place, appliance_id, site_id FROM noted"
        );
        let mut right = HashMap::new();
        for row in connection.rows(note, appliance_values!(beats, now)).await? {
            let beat = beats[place(&row)?];
            right.insert((&beat.mac_address, &beat.key_hash), Standing::known(&row)?);
        }
        let standings = column(beats, |beat| right.get(&(&beat.mac_address, &beat.key_hash)).cloned());
        let ask = "SELECT mac_address, key_hash, revoked_at, ending FROM appliances WHERE mac_address = ANY($1::text[])";
        let rows = if standings.iter().all(Option::is_some) {
            Vec::new()
        } else {
            connection.rows(ask, values![&column(beats, |beat| Some(beat.mac_address.as_str()))]).await?
        };
        let issued = IssuedKeys::read(&rows)?;
        let judge = |(beat, standing): (&&Self, Option<Standing>)| standing.map_or_else(|| beat.without_key(&issued), Ok);
        Ok(beats.iter().zip(standings).map(judge).collect())
    }
}
