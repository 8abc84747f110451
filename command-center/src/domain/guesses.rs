//! Guesses of codes and passwords: counted for each source and in total, in the database, so that neither a restart nor
//! another server process forgets them.
//!
//! Only wrong guesses are counted and limited: the holder of a right code is never delayed, whatever others at the same
//! address do.

use std::net::IpAddr;
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
    /// An address; of IPv6 the network, because a host has as many addresses in it as it likes.
    pub(crate) fn address(secret: &ServerSecret, address: IpAddr) -> Self {
        let network = match address.to_canonical() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
            }
        };
        Self::named(secret, &network)
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
    /// The sources that it counts for, and the limit of each in a window.
    pub(crate) limits: [(Source, i64); 2],
    pub(crate) now: Moment,
}

impl Operation for CountGuess {
    /// Whether it may be checked.
    type Answer = Result<(), Refusal>;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Self::Answer, Error> {
        let mut answer = Ok(());
        for (source, limit) in &self.limits {
            let (count, since) = add(connection, source, 1, self.now).await?;
            if count > *limit {
                answer = Err(wait(since, self.now));
            }
        }
        Ok(answer)
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

/// Deletes sources whose window is over.
pub(crate) struct ForgetGuesses {
    pub(crate) now: Moment,
}

impl Operation for ForgetGuesses {
    /// How many there were.
    type Answer = u64;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<u64, Error> {
        let before = self.now.before(WINDOW);
        connection.execute("DELETE FROM guesses WHERE window_start <= $1", values![before]).await
    }
}
