//! Statements about devices: conditions, places and orders.

use super::cursor::Cursor;
use super::devices::{Expression, Kind};
use crate::store::Statement;

/// A filter that leaves at most this many devices is read in whole and sorted.
pub(super) const FEW: i64 = 2000;

/// A condition on a device.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Condition<'f> {
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
pub(super) fn prefixes(text: &str) -> Vec<(String, String)> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.chars().filter(|character| !matches!(character, ':' | '-')).collect::<String>();
    let is_address = (3..=12).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let pairs = digits.as_bytes().chunks(2).map(String::from_utf8_lossy).collect::<Vec<_>>().join(":");
    let address = Some(pairs).filter(|pairs| is_address && *pairs != text);
    [Some(text), address].into_iter().flatten().map(|prefix| (prefix.clone(), behind(&prefix))).collect()
}

/// A statement about devices of one kind, in one order.
pub(super) struct Sql<'v> {
    pub(super) statement: Statement<'v>,
    pub(super) kind: Kind,
    pub(super) key: Option<&'static str>,
    pub(super) is_ascending: bool,
    pub(super) is_postgres: bool,
}

impl<'v> Sql<'v> {
    pub(super) const fn text(&self, expression: Expression) -> &'static str {
        if self.is_postgres { expression.postgres } else { expression.sqlite }
    }

    /// Adds a condition. If no index is to be used for it, it is one of an expression that no index has.
    pub(super) fn condition(&mut self, condition: &'v Condition<'v>, by_index: bool) {
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
    pub(super) fn along(&mut self, condition: &'v Condition<'v>, from: Option<&Cursor>, to: Option<&Cursor>) {
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
    pub(super) fn few(&mut self, condition: &'v Condition<'v>) {
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
    pub(super) fn side(&mut self, cursor: &'v Cursor, is_behind: bool, includes_it: bool) {
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

    pub(super) fn order(&mut self) {
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
