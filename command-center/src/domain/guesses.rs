//! Guesses of codes and passwords: counted for each source and in total, in the database, so that neither a restart nor
//! another server process forgets them. In addition, [`Guessers`] counts everything that one address guesses.
//!
//! Clients with a right code are never delayed, even if others at the same address guess: the length of a code is its
//! protection, and the limit on wrong ones only saves work.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::clock::Moment;
use crate::base::refusal::Refusal;
use crate::base::secret::{Purpose, ServerSecret};
use crate::store::{Connection, Error, Operation, values};

/// How long a wrong guess counts.
pub(crate) const WINDOW: Duration = Duration::from_mins(15);

/// Wrong guesses of one source in a window: enough for typing errors.
pub(crate) const PER_SOURCE: i64 = 10;

/// Wrong guesses of all sources in a window: a fleet is installed with fewer, a botnet needs more.
pub(crate) const IN_TOTAL: i64 = 1000;

/// The total is kept in this many rows, so that guesses from different sources do not wait for each other.
const SHARDS: i64 = 16;

/// Where guesses come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// What the database keeps of it.
    hash: String,
    shard: i64,
}

impl Source {
    /// A network, as [`network`] gives it.
    pub(crate) fn network(secret: &ServerSecret, network: IpAddr) -> Self {
        Self::named(secret, &network.to_string())
    }

    /// This source, as far as one account is concerned.
    pub(crate) fn for_account(&self, secret: &ServerSecret, account: &str) -> Self {
        Self::named(secret, &format!("{} {account}", self.hash))
    }

    /// Anything with a name, such as an account whose password is guessed.
    pub(crate) fn named(secret: &ServerSecret, name: &str) -> Self {
        let hash = secret.hash(Purpose::GuessSource, &[name]);
        let shard = i64::from(hash.as_bytes()[0]) % SHARDS;
        Self { hash, shard }
    }
}

/// An address; of IPv6 the network, because a host has as many addresses in it as it likes.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// Wrong credentials of any kind from one network in a window: more than the nodes and people of a site get wrong.
const OF_ANY_KIND: u32 = 100;

/// How many networks [`Guessers`] knows at most.
const NETWORKS: usize = 10_000;

/// Counts what each network guesses of any kind: passwords of any account, the administrator's key, keys of nodes and
/// appliances. The counts are in memory, because a wrong key must not cost a write to the database; each server process
/// has its own.
#[derive(Debug, Default)]
pub(crate) struct Guessers(Mutex<HashMap<IpAddr, (Moment, u32)>>);

impl Guessers {
    /// Refuses if the network has reached the limit.
    pub(crate) fn check(&self, network: IpAddr, now: Moment) -> Result<(), Refusal> {
        match self.counts().get(&network) {
            Some(&(since, count)) if is_current(since, now) && count >= OF_ANY_KIND => Err(wait(since, now)),
            _ => Ok(()),
        }
    }

    /// Counts a guess; refuses if the network had reached the limit.
    pub(crate) fn count(&self, network: IpAddr, now: Moment) -> Result<(), Refusal> {
        let mut counts = self.counts();
        if !counts.contains_key(&network) && counts.len() >= NETWORKS {
            counts.retain(|_, (since, _)| is_current(*since, now));
            // The network with the fewest guesses loses the least if it is forgotten.
            let fewest = counts.iter().min_by_key(|(_, (_, count))| *count).map(|(network, _)| *network);
            if let Some(fewest) = fewest.filter(|_| counts.len() >= NETWORKS) {
                counts.remove(&fewest);
            }
        }
        let (since, count) = counts.entry(network).or_insert((now, 0));
        if !is_current(*since, now) {
            (*since, *count) = (now, 0);
        }
        if *count >= OF_ANY_KIND {
            return Err(wait(*since, now));
        }
        *count += 1;
        Ok(())
    }

    /// Uncounts a guess that was right.
    pub(crate) fn forgive(&self, network: IpAddr) {
        if let Some((_, count)) = self.counts().get_mut(&network) {
            *count = count.saturating_sub(1);
        }
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, (Moment, u32)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a window that began at `since` still counts. One that begins in the future was started by a wrong clock.
fn is_current(since: Moment, now: Moment) -> bool {
    since > now.before(WINDOW) && since <= now
}

/// Counts `wrong` guesses, 0 or 1, of a source. With 0 it does the same work and changes nothing, so that the time of an
/// answer does not tell what the answer is.
pub(crate) async fn count(
    connection: &mut Connection<'_>,
    source: &Source,
    wrong: i64,
    now: Moment,
) -> Result<Result<(), Refusal>, Error> {
    let of_all = "
        INSERT INTO guess_totals (shard, window_start, wrong) VALUES ($1, $2, $3)
        ON CONFLICT (shard) DO UPDATE SET
            wrong = CASE WHEN guess_totals.window_start <= $4 OR guess_totals.window_start > $2 THEN $3
                         ELSE guess_totals.wrong + $3 END,
            window_start = CASE WHEN guess_totals.window_start <= $4 OR guess_totals.window_start > $2 THEN $2
                                ELSE guess_totals.window_start END";
    let before = now.before(WINDOW);
    let (own, since) = add(connection, source, wrong, now).await?;
    if wrong > 0 && own > PER_SOURCE {
        // Not counted in the total: one source that keeps guessing would otherwise block all others.
        return Ok(Err(wait(since, now)));
    }
    connection.execute(of_all, values![source.shard, now, wrong, before]).await?;
    let sum = "SELECT CAST(COALESCE(SUM(wrong), 0) AS BIGINT) FROM guess_totals WHERE window_start > $1 AND window_start <= $2";
    let all = connection.one(sum, values![before, now]).await?.column::<i64>(0)?;
    if wrong > 0 && all > IN_TOTAL {
        return Ok(Err(wait(since, now)));
    }
    Ok(Ok(()))
}

/// Adds `wrong` to the count of a source; the count, and when its window began.
async fn add(connection: &mut Connection<'_>, source: &Source, wrong: i64, now: Moment) -> Result<(i64, Moment), Error> {
    // A window that begins in the future was written by a clock that was wrong, and counts as past.
    let statement = "
        INSERT INTO guesses (source, window_start, wrong) VALUES ($1, $2, $3)
        ON CONFLICT (source) DO UPDATE SET
            wrong = CASE WHEN guesses.window_start <= $4 OR guesses.window_start > $2 THEN $3 ELSE guesses.wrong + $3 END,
            window_start = CASE WHEN guesses.window_start <= $4 OR guesses.window_start > $2 THEN $2
                                ELSE guesses.window_start END
        RETURNING wrong, window_start";
    let row = connection.one(statement, values![&source.hash, now, wrong, now.before(WINDOW)]).await?;
    Ok((row.column(0)?, Moment(row.column(1)?)))
}

fn wait(since: Moment, now: Moment) -> Refusal {
    let wait = since.after(WINDOW).0.saturating_sub(now.0).max(0);
    // Rounded up, so that a client that waits exactly that long is not too early.
    let seconds = u32::try_from(wait.saturating_add(999) / 1000).unwrap_or(u32::MAX).max(1);
    Refusal::TooManyGuesses { retry_after_seconds: seconds }
}

/// Counts a guess before it is checked, so that one that is aborted counts too.
pub(crate) struct CountGuess {
    /// The sources that it counts for, and the limit of each in a window. It is not counted for those after the first
    /// whose limit is exceeded: one address could otherwise lock an account for all others.
    pub(crate) limits: [(Source, i64); 2],
    pub(crate) now: Moment,
}

impl Operation for CountGuess {
    /// Whether it may be checked.
    type Answer = Result<(), Refusal>;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Self::Answer, Error> {
        for (source, limit) in &self.limits {
            let (count, since) = add(connection, source, 1, self.now).await?;
            if count > *limit {
                return Ok(Err(wait(since, self.now)));
            }
        }
        Ok(Ok(()))
    }
}

/// Uncounts a guess that was right.
pub(crate) struct Forgive {
    pub(crate) sources: [Source; 2],
    pub(crate) now: Moment,
}

impl Operation for Forgive {
    type Answer = ();

    async fn run(&self, connection: &mut Connection<'_>) -> Result<(), Error> {
        for source in &self.sources {
            add(connection, source, -1, self.now).await?;
        }
        Ok(())
    }
}

/// How many sources are stored at most, a few megabytes.
pub(crate) const SOURCES: i64 = 100_000;

/// Deletes sources whose window is over, and the oldest of those that are too many.
pub(crate) struct ForgetGuesses {
    pub(crate) now: Moment,
    /// How many sources are kept at most.
    pub(crate) most: i64,
}

impl Operation for ForgetGuesses {
    /// How many there were.
    type Answer = u64;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<u64, Error> {
        let before = self.now.before(WINDOW);
        let over = connection.execute("DELETE FROM guesses WHERE window_start <= $1", values![before]).await?;
        let count = connection.one("SELECT COUNT(*) FROM guesses", &[]).await?.column::<i64>(0)?;
        if count <= self.most {
            return Ok(over);
        }
        let oldest = "DELETE FROM guesses WHERE source IN (SELECT source FROM guesses ORDER BY window_start LIMIT $1)";
        Ok(over + connection.execute(oldest, values![count - self.most]).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    const NOW: Moment = Moment(1_767_540_600_000);

    #[tokio::test]
    async fn the_oldest_of_too_many_stored_sources_are_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let secret = ServerSecret::open(&folder.path().join("secret")).unwrap();
        let store = Store::open(&crate::store::Database::Sqlite(folder.path().join("center.db"))).await.unwrap();
        let guess = async |name: usize, seconds: u64| {
            let source = Source::named(&secret, &name.to_string());
            let limits = [(source.clone(), 1), (source.for_account(&secret, "account"), 1)];
            store.write(CountGuess { limits, now: NOW.after(Duration::from_secs(seconds)) }).await.unwrap()
        };
        for name in 0..10 {
            assert_eq!(guess(name, name as u64).await, Ok(()));
        }
        let now = NOW.after(Duration::from_secs(10));
        assert_eq!(store.write(ForgetGuesses { now, most: 10 }).await.unwrap(), 10);
        assert!(guess(9, 10).await.is_err(), "the newest is kept");
        assert_eq!(guess(0, 10).await, Ok(()), "the oldest is not");
    }

    #[test]
    fn the_count_of_networks_is_bounded_and_keeps_those_that_guess_most() {
        let guessers = Guessers::default();
        let known = |index: u32| IpAddr::from(index.to_be_bytes());
        for _ in 0..OF_ANY_KIND {
            assert_eq!(guessers.count(known(0), NOW), Ok(()));
        }
        for index in 0..2 * u32::try_from(NETWORKS).unwrap() {
            drop(guessers.count(known(index), NOW));
        }
        assert_eq!(guessers.counts().len(), NETWORKS);
        assert!(guessers.check(known(0), NOW).is_err());
        assert_eq!(guessers.check(known(0), NOW.after(WINDOW)), Ok(()));
    }
}
