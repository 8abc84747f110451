//! How the keys of devices end.

/// How the key of a device has ended. The database has the time of the end (`appliances.revoked_at`, `nodes.deactivated_at`), for
/// which all statements that check a key look, and the number of this (`ending`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// For good.
    Revoked = 0,
    /// Until an operator activates it again.
    Deactivated = 1,
}

impl Ending {
    /// As the database has it.
    pub(crate) const fn number(self) -> i64 {
        self as i64
    }

    /// From its columns; none, if the key has not ended. What is not known has ended for good.
    pub(crate) fn read(ended_at: Option<i64>, number: i64) -> Option<Self> {
        let ending = if number == Self::Deactivated.number() { Self::Deactivated } else { Self::Revoked };
        ended_at.map(|_| ending)
    }
}
