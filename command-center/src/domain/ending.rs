//! How the keys of devices end.

/// How the key of a device has ended. The database has the time of the end (`appliances.revoked_at`, `nodes.deactivated_at`), for
/// which all statements that check a key look, and the number of this (`ending`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// For good.
    Revoked = 0,
    /// Until an operator activates it again.
    Deactivated = 1,
    /// The appliance was released from its site. An operator may take it back until it is claimed again.
    Released = 2,
}

impl Ending {
    /// As the database has it.
    pub(crate) const fn number(self) -> i64 {
        self as i64
    }

    /// From its columns; none, if the key has not ended. What is not known has ended for good.
    pub(crate) fn read(ended_at: Option<i64>, number: i64) -> Option<Self> {
        let is_this = |ending: &Self| ending.number() == number;
        let ending = [Self::Deactivated, Self::Released].into_iter().find(is_this).unwrap_or(Self::Revoked);
        ended_at.map(|_| ending)
    }
}
