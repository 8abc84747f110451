//! What is kept of tables that only grow, and whose rows have numbers that rise with their age.

use std::time::Duration;

use crate::base::clock::Moment;
use crate::store::{Connection, Error, Operation, values};

/// How many rows are deleted in one transaction.
const AT_ONCE: i64 = 5000;

/// What is kept of a table.
#[derive(Debug)]
pub(crate) struct Retention {
    /// Deletes rows: [`delete_oldest`] of the table.
    pub(crate) delete: &'static str,
    /// How long rows are kept, by their column `at`.
    pub(crate) kept: Duration,
    /// How many rows are kept.
    pub(crate) most: i64,
}

/// The statement that deletes the oldest rows of a table: at most `$1`, those from before `$2` and those in excess of `$3`.
macro_rules! delete_oldest {
    ($table:literal) => {
        concat!(
            "DELETE FROM ",
            $table,
            " WHERE number IN (SELECT number FROM ",
            $table,
            " ORDER BY number LIMIT $1) AND (at < $2 OR number <= (SELECT MAX(number) FROM ",
            $table,
            ") - $3)"
        )
    };
}
pub(crate) use delete_oldest;

/// Deletes a part of the rows that are too old or too many.
pub(crate) struct ForgetOldest {
    pub(crate) retention: &'static Retention,
    pub(crate) now: Moment,
}

impl Operation for ForgetOldest {
    /// How many there were.
    type Answer = u64;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<u64, Error> {
        let Retention { delete, kept, most } = self.retention;
        connection.execute(delete, values![AT_ONCE, self.now.before(*kept), *most]).await
    }
}
