//! Statements that are put together when they are needed.

use std::fmt::Write as _;

use super::Value;

/// A statement whose text depends on a request. All of it is parts of this program; what comes with a request is a parameter.
pub(crate) struct Statement<'v> {
    pub(super) text: String,
    pub(super) values: Vec<Value<'v>>,
}

impl<'v> Statement<'v> {
    /// A statement that begins with `text`.
    pub(crate) fn new(text: &'static str) -> Self {
        Self { text: text.to_owned(), values: Vec::new() }
    }

    /// Adds a part.
    pub(crate) fn add(&mut self, part: &'static str) -> &mut Self {
        self.text.push_str(part);
        self
    }

    /// Adds a parameter.
    pub(crate) fn value(&mut self, value: impl Into<Value<'v>>) -> &mut Self {
        self.values.push(value.into());
        // Writing to a `String` cannot fail.
        _ = write!(self.text, "${}", self.values.len());
        self
    }
}
