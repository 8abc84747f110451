//! Places in lists.

use crate::store::Value;

/// A place in a list: the number of a device, and the key of the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(super) number: i64,
    pub(super) key: Key,
}

/// What a list is ordered by before the number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Age,
    Id(String),
    Standing(i64),
}

/// The kinds of [`Key`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Age,
    Id,
    Standing,
}

impl Cursor {
    /// From its text. The three kinds differ by what follows the number.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let end = text.find(['.', '~']).unwrap_or(text.len());
        let (number, rest) = text.split_at(end);
        let key = match rest.chars().next() {
            None => Key::Age,
            Some('.') => Key::Standing(rest[1..].parse().ok()?),
            Some(_) if rest.contains('\0') => return None,
            Some(_) => Key::Id(rest[1..].to_owned()),
        };
        Some(Self { number: number.parse().ok()?, key })
    }

    /// As text, for [`Cursor::parse`].
    pub(super) fn text(&self) -> String {
        match &self.key {
            Key::Age => self.number.to_string(),
            Key::Id(id) => format!("{}~{id}", self.number),
            Key::Standing(standing) => format!("{}.{standing}", self.number),
        }
    }

    pub(super) const fn by(&self) -> By {
        match self.key {
            Key::Age => By::Age,
            Key::Id(_) => By::Id,
            Key::Standing(_) => By::Standing,
        }
    }

    /// The key of the orders by standing.
    pub(super) const fn standing(&self) -> Option<i64> {
        match self.key {
            Key::Standing(standing) => Some(standing),
            Key::Age | Key::Id(_) => None,
        }
    }

    pub(super) fn value(&self) -> Option<Value<'_>> {
        match &self.key {
            Key::Age => None,
            Key::Id(id) => Some(id.into()),
            Key::Standing(standing) => Some((*standing).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        for key in [Key::Age, Key::Id("a.b~c".into()), Key::Standing(-5)] {
            let cursor = Cursor { number: 17, key };
            assert_eq!(Cursor::parse(&cursor.text()), Some(cursor));
        }
        for nothing in ["", "x", "1.x", "~a", "1~\0"] {
            assert_eq!(Cursor::parse(nothing), None, "{nothing}");
        }
    }
}
