//! Which devices are silent.
//!
//! Heartbeats change `last_seen` only, which has no index. The server compares it from time to time with `silent_since` in the
//! device's row, which has, and changes that where a device has fallen silent or is heard of again. As long as a device does
//! neither, its row does not change.

use std::marker::PhantomData;

use super::Counts;
use super::devices::Device;
use crate::base::clock::Moment;
use crate::domain::nodes::ONLINE;
use crate::domain::permissions::Scope;
use crate::store::{self, Connection, Operation, Statement, Store, values};

/// The standing of released appliances is below this.
pub(super) const RELEASED_BELOW: i64 = -(3 << 61);

/// The standing of deactivated devices is below this, and not below [`RELEASED_BELOW`].
pub(super) const DEACTIVATED_BELOW: i64 = -(1 << 62);

/// The standing of revoked devices is below this, and not below [`DEACTIVATED_BELOW`].
pub(super) const REVOKED_BELOW: i64 = -(1 << 61);

/// The standing of devices that were never heard of is below this, and not below [`REVOKED_BELOW`].
pub(super) const NEW_BELOW: i64 = 0;

/// The standing of devices that are heard of begins here. That of silent ones is the time when they were last heard of.
pub(super) const ONLINE_FROM: i64 = 1 << 61;

/// `silent_since` of a device that is heard of.
const HEARD_OF: i64 = i64::MAX;

/// How many devices one statement compares: some tens of milliseconds.
const PART: i64 = 20_000;

/// How many rows are changed in one transaction, so that heartbeats do not wait noticeably for it.
const AT_ONCE: i64 = 500;

/// Compares a part of the devices, from a number on. Returns the number where the next part begins; 0 after the last one.
pub(crate) async fn compare<D: Device>(store: &Store, after: i64, now: Moment) -> Result<i64, store::Error> {
    let Some(last) = store.read(EndOfPart::<D> { after, of: PhantomData }).await? else { return Ok(0) };
    let mut after = after;
    while after < last {
        let changed = store.read(Changed::<D> { after, last, now, of: PhantomData }).await?;
        let is_complete = i64::try_from(changed.len()).is_ok_and(|count| count < AT_ONCE);
        after = changed.last().map_or(last, |(number, _)| if is_complete { last } else { *number });
        if !changed.is_empty() {
            store.write(Change::<D> { changed, of: PhantomData }).await?;
        }
    }
    Ok(last)
}

/// The last number of a part.
struct EndOfPart<D> {
    after: i64,
    of: PhantomData<fn() -> D>,
}

impl<D: Device> Operation for EndOfPart<D> {
    type Answer = Option<i64>;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Option<i64>, store::Error> {
        let mut end = Statement::new("SELECT MAX(number) FROM (SELECT number FROM ");
        end.add(D::KIND.presence).add(" WHERE number > ").value(self.after);
        end.add(" ORDER BY number LIMIT ").value(PART).add(") part");
        connection.query(&end).await?.first().ok_or(store::Error::NoRow)?.column(0)
    }
}

/// The devices whose `silent_since` is not what it should be, and what it should be.
struct Changed<D> {
    after: i64,
    last: i64,
    now: Moment,
    of: PhantomData<fn() -> D>,
}

impl<D: Device> Operation for Changed<D> {
    type Answer = Vec<(i64, i64)>;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Vec<(i64, i64)>, store::Error> {
        let mut changed =
            Statement::new("SELECT number, silent FROM (SELECT d.number, d.silent_since, CASE WHEN p.last_seen >= ");
        changed.value(self.now.before(ONLINE)).add(" THEN ").value(HEARD_OF).add(" ELSE p.last_seen END AS silent FROM ");
        changed.add(D::KIND.presence).add(" p JOIN ").add(D::KIND.devices).add(" ON d.number = p.number WHERE p.number > ");
        changed.value(self.after).add(" AND p.number <= ").value(self.last);
        changed.add(") seen WHERE silent <> silent_since ORDER BY number LIMIT ").value(AT_ONCE);
        let rows = connection.query(&changed).await?;
        rows.iter().map(|row| Ok((row.column(0)?, row.column(1)?))).collect()
    }
}

/// Changes them.
struct Change<D> {
    changed: Vec<(i64, i64)>,
    of: PhantomData<fn() -> D>,
}

impl<D: Device> Operation for Change<D> {
    type Answer = ();

    /// What a crash undoes is compared again.
    fn is_durable(&self) -> bool {
        false
    }

    async fn run(&self, connection: &mut Connection<'_>) -> Result<(), store::Error> {
        for (number, silent) in &self.changed {
            connection.execute(D::KIND.silence, values![*silent, *number]).await?;
        }
        Ok(())
    }
}

/// Counts the devices of a scope in each state, as they were compared last.
pub(crate) struct Count<D> {
    scope: Scope,
    of: PhantomData<fn() -> D>,
}

impl<D> Count<D> {
    pub(crate) const fn new(scope: Scope) -> Self {
        Self { scope, of: PhantomData }
    }
}

impl<D: Device> Operation for Count<D> {
    type Answer = Counts;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Counts, store::Error> {
        let mut counts = [0; 6];
        let bounds = [i64::MIN, RELEASED_BELOW, DEACTIVATED_BELOW, REVOKED_BELOW, NEW_BELOW, ONLINE_FROM, i64::MAX];
        for (count, range) in counts.iter_mut().zip(bounds.windows(2)) {
            let mut statement = Statement::new("SELECT COUNT(*) FROM ");
            statement.add(D::KIND.devices).add(" WHERE d.standing >= ").value(range[0]).add(" AND d.standing < ").value(range[1]);
            if let Some((column, value)) = D::KIND.in_scope(&self.scope) {
                statement.add(" AND ").add(column).add(" = ").value(value);
            }
            *count = connection.query(&statement).await?.first().ok_or(store::Error::NoRow)?.column(0)?;
        }
        let [released, deactivated, revoked, new, silent, online] = counts;
        Ok(Counts { online, silent, new, deactivated, released, revoked })
    }
}
