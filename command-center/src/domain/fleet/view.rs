//! One page of a list.

use std::marker::PhantomData;
use std::time::Duration;

use tokio::time::Instant;

use super::cursor::{By, Cursor, Key};
use super::devices::{Device, Expression, Kind};
use super::presence::{DEACTIVATED_BELOW, NEW_BELOW, ONLINE_FROM, RELEASED_BELOW, REVOKED_BELOW};
use super::{Filter, Order, Page, State};
use crate::base::clock::Moment;
use crate::store::{Connection, Error, Operation, Row, Statement};

/// A filter that leaves at most this many devices is read in whole and sorted.
const FEW: i64 = 2000;

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

/// A condition on a device.
#[derive(Clone, PartialEq, Eq)]
enum Condition<'f> {
    /// A column has this value.
    Is(&'static str, &'f str),
    /// The standing is in this range, without its end.
    Standing(i64, i64),
    /// One of the searched texts begins with one of these.
    Begins(Vec<(String, String)>),
}

/// The first text, in the order of the bytes, that is behind all that begin with `prefix`.
fn behind(prefix: &str) -> String {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        if let Some(next) = (last..=char::MAX).nth(1) {
            text.push(next);
            break;
        }
    }
    text
}

/// What to search for a text: the text itself and, if it may be the beginning of a hardware address that was typed without its
/// colons, the address as it is stored.
fn prefixes(text: &str) -> Vec<(String, String)> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.chars().filter(|character| !matches!(character, ':' | '-')).collect::<String>();
    let is_address = (3..=12).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let pairs = digits.as_bytes().chunks(2).map(String::from_utf8_lossy).collect::<Vec<_>>().join(":");
    let address = Some(pairs).filter(|pairs| is_address && *pairs != text);
    [Some(text), address].into_iter().flatten().map(|prefix| (prefix.clone(), behind(&prefix))).collect()
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
        let Filter { place, partner, status, version, .. } = &self.filter;
        let has_column = [place, partner, status, version].into_iter().any(Option::is_some);
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

/// A statement about devices of one kind, in one order.
struct Sql<'v> {
    statement: Statement<'v>,
    kind: Kind,
    key: Option<&'static str>,
    is_ascending: bool,
    is_postgres: bool,
}

impl<'v> Sql<'v> {
    const fn text(&self, expression: Expression) -> &'static str {
        if self.is_postgres { expression.postgres } else { expression.sqlite }
    }

    /// Adds a condition. If no index is to be used for it, it is one of an expression that no index has.
    fn condition(&mut self, condition: &'v Condition<'v>, by_index: bool) {
        let (text, number) = if by_index { ("", "") } else { (" || ''", " + 0") };
        match condition {
            Condition::Is(column, value) => {
                self.statement.add(" AND ").add(column).add(text).add(" = ").value(*value);
            }
            Condition::Standing(from, to) => {
                for (than, bound) in [(" >= ", from), (" < ", to)] {
                    self.statement.add(" AND d.standing").add(number).add(than).value(*bound);
                }
            }
            Condition::Begins(prefixes) => {
                let mut before = " AND (";
                for (expression, prefix) in product(self.kind.texts, prefixes) {
                    self.statement.add(before);
                    self.begins(*expression, prefix, text);
                    before = " OR ";
                }
                self.statement.add(")");
            }
        }
    }

    /// Adds a condition whose index has the order, on devices between two places. Where a place bounds the standing more narrowly, it
    /// is the only bound: of two, SQLite ends a search by the first one, and would read the whole index behind the place.
    fn along(&mut self, condition: &'v Condition<'v>, from: Option<&Cursor>, to: Option<&Cursor>) {
        let Condition::Standing(lower, upper) = condition else { return self.condition(condition, true) };
        let (before, behind) = if self.is_ascending { (from, to) } else { (to, from) };
        if before.and_then(Cursor::standing).is_none_or(|standing| standing < *lower) {
            self.statement.add(" AND d.standing >= ").value(*lower);
        }
        if behind.and_then(Cursor::standing).is_none_or(|standing| standing >= *upper) {
            self.statement.add(" AND d.standing < ").value(*upper);
        }
    }

    fn begins(&mut self, expression: Expression, (from, to): &'v (String, String), suffix: &'static str) {
        let column = self.text(expression);
        self.statement.add("(").add(column).add(suffix).add(" >= ").value(from);
        self.statement.add(" AND ").add(column).add(suffix).add(" < ").value(to).add(")");
    }

    /// Adds a statement that finds the devices with a condition by its index, if they are few.
    fn few(&mut self, condition: &'v Condition<'v>) {
        let kind = self.kind;
        let Condition::Begins(prefixes) = condition else {
            self.statement.add("SELECT d.number FROM ").add(kind.devices).add(" WHERE 1 = 1");
            self.condition(condition, true);
            self.statement.add(" LIMIT ").value(FEW + 1);
            return;
        };
        let mut before = "";
        for (expression, prefix) in product(kind.texts, prefixes) {
            self.statement.add(before).add("SELECT number FROM (SELECT d.number FROM ").add(kind.devices).add(" WHERE ");
            self.begins(*expression, prefix, "");
            self.statement.add(" LIMIT ").value(FEW + 1).add(") one");
            before = " UNION ";
        }
    }

    /// Adds the condition that a device is on one side of a place. Few devices share a key, so their numbers are compared last.
    fn side(&mut self, cursor: &'v Cursor, is_behind: bool, includes_it: bool) {
        let (or_than, than) = if is_behind == self.is_ascending { (" >= ", " > ") } else { (" <= ", " < ") };
        let number_than = if includes_it { or_than } else { than };
        if let (Some(key), Some(value)) = (self.key, cursor.value()) {
            self.statement.add(" AND ").add(key).add(or_than).value(value);
            self.statement.add(" AND (").add(key).add(" <> ").value(value).add(" OR d.number").add(number_than);
            self.statement.value(cursor.number).add(")");
        } else {
            self.statement.add(" AND d.number").add(number_than).value(cursor.number);
        }
    }

    fn order(&mut self) {
        let direction = if self.is_ascending { "" } else { " DESC" };
        self.statement.add(" ORDER BY ");
        if let Some(key) = self.key {
            self.statement.add(key).add(direction).add(", ");
        }
        self.statement.add("d.number").add(direction);
    }
}

/// Each text with each prefix.
fn product<'p>(
    texts: &'static [Expression],
    prefixes: &'p [(String, String)],
) -> impl Iterator<Item = (&'static Expression, &'p (String, String))> {
    texts.iter().flat_map(move |text| prefixes.iter().map(move |prefix| (text, prefix)))
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

    #[test]
    fn a_range_has_all_texts_that_begin_with_its_prefix() {
        assert_eq!(behind("ab"), "ac");
        assert_eq!(behind("a\u{d7ff}"), "a\u{e000}");
        assert_eq!(behind("a\u{10ffff}"), "b");
    }

    #[test]
    fn an_address_may_be_typed_without_colons() {
        let searched = |text| prefixes(text).into_iter().map(|(from, _)| from).collect::<Vec<_>>();
        assert_eq!(searched("843A5"), ["843a5", "84:3a:5"]);
        assert_eq!(searched("84-3A"), ["84-3a", "84:3a"]);
        assert_eq!(searched("84:3a"), ["84:3a"]);
        assert_eq!(searched("clinic"), ["clinic"]);
    }
}
