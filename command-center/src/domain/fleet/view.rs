//! One page of a list.

use std::marker::PhantomData;
use std::time::Duration;

use tokio::time::Instant;

use super::cursor::{By, Cursor, Key};
use super::devices::{Device, Kind};
use super::presence::{DEACTIVATED_BELOW, NEW_BELOW, ONLINE_FROM, RELEASED_BELOW, REVOKED_BELOW};
use super::sql::{Condition, FEW, Sql, prefixes};
use super::{Filter, Order, Page, State};
use crate::base::clock::Moment;
use crate::store::{Connection, Error, Operation, Row, Statement};

/// How many devices are read at a time: a few milliseconds.
const WINDOW: i64 = 1000;

/// How many devices a page reads at most.
const MOST: i64 = 10 * WINDOW;

/// For how long a page is searched, if it is not full before.
const SEARCH: Duration = Duration::from_millis(100);

/// Reads a page.
pub(crate) struct View<D> {
    filter: Filter,
    order: Order,
    /// Where the page begins.
    after: Option<Cursor>,
    /// How many devices it has at most.
    limit: i64,
    /// For how long it is searched: it has the devices that were found by then.
    search: Duration,
    now: Moment,
    of: PhantomData<fn() -> D>,
}

impl<D: Device> View<D> {
    /// A page, unless `after` is no place in such a list.
    pub(crate) fn new(filter: Filter, order: Order, after: Option<Cursor>, limit: i64, now: Moment) -> Option<Self> {
        let view = Self { filter, order, after, limit, search: SEARCH, now, of: PhantomData };
        let fits = view.after.as_ref().is_none_or(|cursor| cursor.by() == view.by());
        fits.then_some(view)
    }

    /// What all devices of the list have in common, the most selective first.
    fn conditions(&self) -> Vec<Condition<'_>> {
        let (Kind { place, partner, status, version, .. }, filter) = (D::KIND, &self.filter);
        let columns =
            [(Some(place), &filter.place), (version, &filter.version), (status, &filter.status), (partner, &filter.partner)];
        let mut conditions = Vec::new();
        if let Some((column, value)) = D::KIND.in_scope(&filter.scope) {
            conditions.push(Condition::Is(column, value));
        }
        for (column, value) in columns {
            if let Some(value) = value {
                // Where devices have no such column, none has the value.
                conditions.push(Condition::Is(column.unwrap_or("NULL"), value));
            }
        }
        if let Some(text) = &filter.text {
            conditions.push(Condition::Begins(prefixes(text)));
        }
        conditions.extend(self.standing());
        conditions
    }

    /// What the standing of all devices of the list has in common.
    fn standing(&self) -> Option<Condition<'static>> {
        let of_state = self.filter.state.map(|state| match state {
            State::Released => (i64::MIN, RELEASED_BELOW),
            State::Deactivated => (RELEASED_BELOW, DEACTIVATED_BELOW),
            State::Revoked => (DEACTIVATED_BELOW, REVOKED_BELOW),
            State::New => (REVOKED_BELOW, NEW_BELOW),
            State::Silent => (NEW_BELOW, ONLINE_FROM),
            State::Online => (ONLINE_FROM, i64::MAX),
        });
        let seen_within = self.filter.seen_within.map(|within| (self.now.before(within).0.max(NEW_BELOW), i64::MAX));
        let silent_for = self.filter.silent_for.map(|time| (NEW_BELOW, self.now.before(time).0.saturating_add(1)));
        let ranges = [of_state, seen_within, silent_for].into_iter().flatten();
        ranges.reduce(|one, other| (one.0.max(other.0), one.1.min(other.1))).map(|(from, to)| Condition::Standing(from, to))
    }

    /// What the devices are ordered by. Within the states that have no times, the standing rises with the number, so its index has
    /// them in the order of their age.
    fn by(&self) -> By {
        let Filter { scope, place, partner, status, version, .. } = &self.filter;
        let has_column = scope.tenant().is_some() || [place, partner, status, version].into_iter().any(Option::is_some);
        match (self.order, self.filter.state) {
            (Order::Newest | Order::Oldest, Some(state)) if state != State::Silent && !has_column => By::Standing,
            (Order::Newest | Order::Oldest, _) => By::Age,
            (Order::Id | Order::IdBackwards, _) => By::Id,
            (Order::LastSeen | Order::LongestSilent, _) => By::Standing,
        }
    }

    fn sql<'v>(&self, is_postgres: bool) -> Sql<'v> {
        let mut sql = Sql {
            statement: Statement::new(""),
            kind: D::KIND,
            key: None,
            is_ascending: matches!(self.order, Order::Oldest | Order::Id | Order::LongestSilent),
            is_postgres,
        };
        sql.key = match self.by() {
            By::Age => None,
            By::Id => Some(sql.text(D::KIND.id)),
            By::Standing => Some("d.standing"),
        };
        sql
    }

    /// Whether a condition leaves few devices.
    async fn leaves_few(&self, condition: &Condition<'_>, connection: &mut Connection<'_>) -> Result<bool, Error> {
        let mut sql = self.sql(matches!(connection, Connection::Postgres(_)));
        sql.statement.add("SELECT COUNT(*) FROM (");
        sql.few(condition);
        sql.statement.add(") few");
        let row = connection.query(&sql.statement).await?.into_iter().next().ok_or(Error::NoRow)?;
        Ok(row.column::<i64>(0)? <= FEW)
    }

    /// Where a window ends that begins behind `from`; none if the list ends within it.
    async fn bound(
        &self,
        along: &[&Condition<'_>],
        from: Option<&Cursor>,
        connection: &mut Connection<'_>,
    ) -> Result<Option<Cursor>, Error> {
        let mut sql = self.sql(matches!(connection, Connection::Postgres(_)));
        sql.statement.add("SELECT d.number");
        if let Some(key) = sql.key {
            sql.statement.add(", ").add(key);
        }
        sql.statement.add(" FROM ").add(D::KIND.devices).add(" WHERE 1 = 1");
        for condition in along {
            sql.along(condition, from, None);
        }
        if let Some(from) = from {
            sql.side(from, true, false);
        }
        sql.order();
        sql.statement.add(" LIMIT 1 OFFSET ").value(WINDOW - 1);
        connection.query(&sql.statement).await?.first().map(|row| self.cursor(row, 0)).transpose()
    }

    /// The place of a row, whose columns from `first` on are the number and the key.
    fn cursor(&self, row: &Row, first: usize) -> Result<Cursor, Error> {
        let key = match self.by() {
            By::Age => Key::Age,
            By::Id => Key::Id(row.column(first + 1)?),
            By::Standing => Key::Standing(row.column(first + 1)?),
        };
        Ok(Cursor { number: row.column(first)?, key })
    }

    /// Reads the first `limit` devices between two places.
    async fn read(&self, part: Part<'_>, limit: i64, connection: &mut Connection<'_>) -> Result<Vec<(D, Cursor)>, Error> {
        let Part { few, along, others, from, to } = part;
        let mut sql = self.sql(matches!(connection, Connection::Postgres(_)));
        sql.statement.add("SELECT ").add(D::KIND.columns).add(", d.number");
        if let Some(key) = sql.key {
            sql.statement.add(", ").add(key);
        }
        // The joins are made for the devices of the page only.
        sql.statement.add(" FROM (SELECT d.* FROM ");
        if let Some(few) = few {
            sql.statement.add("(");
            sql.few(few);
            sql.statement.add(") few CROSS JOIN ").add(D::KIND.devices).add(" WHERE d.number = few.number");
        } else {
            sql.statement.add(D::KIND.devices).add(" WHERE 1 = 1");
        }
        for condition in along {
            sql.along(condition, from, to);
        }
        for condition in others {
            sql.condition(condition, false);
        }
        if let Some(from) = from {
            sql.side(from, true, false);
        }
        if let Some(to) = to {
            sql.side(to, false, true);
        }
        sql.order();
        sql.statement.add(" LIMIT ").value(limit).add(") d").add(D::KIND.joins);
        sql.order();
        let rows = connection.query(&sql.statement).await?;
        let number = D::KIND.width;
        rows.iter().map(|row| Ok((D::from_row(row, self.now)?, self.cursor(row, number)?))).collect()
    }
}

/// A part of a list, and how it is read.
#[derive(Clone, Copy)]
struct Part<'p> {
    /// The condition that leaves few devices, which are found by it and sorted.
    few: Option<&'p Condition<'p>>,
    /// The conditions whose index has the order.
    along: &'p [&'p Condition<'p>],
    /// The other conditions.
    others: &'p [&'p Condition<'p>],
    /// The place before it.
    from: Option<&'p Cursor>,
    /// Its last place.
    to: Option<&'p Cursor>,
}

impl<D: Device> Operation for View<D> {
    type Answer = Page<D>;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Page<D>, Error> {
        let begin = Instant::now();
        let conditions = self.conditions();
        let mut few = None;
        for condition in &conditions {
            if self.leaves_few(condition, connection).await? {
                few = Some(condition);
                break;
            }
        }
        let is_along = |condition: &&Condition<'_>| match condition {
            Condition::Is(..) => self.by() == By::Age && conditions.first() == Some(*condition),
            Condition::Standing(..) => self.by() == By::Standing,
            Condition::Begins(_) => false,
        };
        let rest = conditions.iter().filter(|condition| few != Some(*condition));
        let (along, others) = rest.partition::<Vec<_>, _>(|condition| few.is_none() && is_along(condition));
        let mut from = self.after.clone();
        let mut entries = Vec::new();
        for _ in 0..MOST / WINDOW {
            let is_whole = few.is_some() || others.is_empty();
            let to = if is_whole { None } else { self.bound(&along, from.as_ref(), connection).await? };
            let missing = self.limit - i64::try_from(entries.len()).expect("a page is short");
            let part = Part { few, along: &along, others: &others, from: from.as_ref(), to: to.as_ref() };
            // One more tells whether another page follows.
            entries.extend(self.read(part, missing + 1, connection).await?);
            let limit = usize::try_from(self.limit).expect("a page is short");
            if entries.len() > limit {
                entries.truncate(limit);
                from = entries.last().map(|(_, cursor)| cursor.clone());
                break;
            }
            from = to;
            if from.is_none() || begin.elapsed() >= self.search {
                break;
            }
        }
        let next = from.map(|cursor| cursor.text());
        Ok(Page { entries: entries.into_iter().map(|(entry, _)| entry).collect(), next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fleet::NodeEntry;
    use crate::store::{Database, Store};

    /// Inserts 6,000 nodes: a half of one version, the others in one room, and one of both.
    struct Insert;

    impl Operation for Insert {
        type Answer = ();

        async fn run(&self, connection: &mut Connection<'_>) -> Result<(), Error> {
            let insert = "
                WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6000)
                INSERT INTO nodes (node_id, household_id, room, version, user_name, voice_mode, key_hash, registered_at)
                SELECT 'node-' || i, 'home', CASE WHEN i <= 3000 THEN 'attic' ELSE 'hall' END,
                       CASE WHEN i >= 3000 THEN '1.1.0' ELSE '1.0.0' END, 'default', 'brief', 'key-' || i, i FROM n";
            connection.execute(insert, &[]).await?;
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_page_that_takes_too_long_ends_and_the_next_one_continues() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&Database::Sqlite(folder.path().join("center.db"))).await.unwrap();
        store.write(Insert).await.unwrap();
        for order in Order::ALL {
            let (mut found, mut pages, mut after) = (Vec::new(), 0, None);
            loop {
                let filter = Filter { version: Some("1.1.0".into()), text: Some("attic".into()), ..Filter::default() };
                let mut view = View::<NodeEntry>::new(filter, order, after, 50, Moment(0)).unwrap();
                view.search = Duration::ZERO;
                let page = store.read(view).await.unwrap();
                pages += 1;
                found.extend(page.entries.iter().map(|node| node.id().to_owned()));
                let Some(next) = page.next else { break };
                after = Cursor::parse(&next);
            }
            assert_eq!(found, ["node-3000"], "{order:?}");
            assert!(pages >= 3, "{order:?}: {pages}");
        }
    }

    #[tokio::test]
    async fn a_place_of_another_list_does_not_lead_out_of_this_one() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&Database::Sqlite(folder.path().join("center.db"))).await.unwrap();
        store.write(Insert).await.unwrap();
        for (order, state, standing) in
            [(Order::LongestSilent, State::Online, i64::MIN), (Order::LastSeen, State::Revoked, i64::MAX)]
        {
            let after = Cursor { number: 1, key: Key::Standing(standing) };
            let filter = Filter { state: Some(state), text: Some("attic".into()), ..Filter::default() };
            let view = View::<NodeEntry>::new(filter, order, Some(after), 50, Moment(0)).unwrap();
            assert!(store.read(view).await.unwrap().entries.is_empty(), "{order:?}");
        }
    }
}
