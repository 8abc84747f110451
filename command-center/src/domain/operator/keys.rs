//! The ends of devices' keys, and what undoes them.

use super::OperatorError;
use crate::base::clock::Moment;
use crate::domain::audit::{self, Action, Actor};
use crate::domain::ending::Ending;
use crate::domain::history::{Of, record};
use crate::store::{self, Connection, Operation, values};

/// What an operator does with the key of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyChange {
    /// It is refused until it is activated again.
    Deactivate,
    /// Ends its deactivation.
    Activate,
    /// It is refused for good.
    Revoke,
}

impl KeyChange {
    /// How a key that has ended like this has ended after the change; none for a valid key.
    const fn apply(self, ending: Option<Ending>) -> Result<Option<Ending>, OperatorError> {
        match (self, ending) {
            (Self::Revoke, _) => Ok(Some(Ending::Revoked)),
            (_, Some(Ending::Revoked)) => Err(OperatorError::KeyRevoked),
            (Self::Deactivate, _) => Ok(Some(Ending::Deactivated)),
            (Self::Activate, _) => Ok(None),
        }
    }

    /// What the history of the device calls it.
    const fn event(self) -> &'static str {
        match self {
            Self::Deactivate => "deactivated",
            Self::Activate => "activated",
            Self::Revoke => "revoked",
        }
    }

    const fn action(self, of: Of) -> Action {
        match (self, of) {
            (Self::Deactivate, Of::Appliance) => Action::DeactivateAppliance,
            (Self::Deactivate, Of::Node) => Action::DeactivateNode,
            (Self::Activate, Of::Appliance) => Action::ActivateAppliance,
            (Self::Activate, Of::Node) => Action::ActivateNode,
            (Self::Revoke, Of::Appliance) => Action::RevokeAppliance,
            (Self::Revoke, Of::Node) => Action::RevokeNode,
        }
    }
}

pub(super) struct ChangeKey {
    pub(super) of: Of,
    pub(super) id: String,
    pub(super) change: KeyChange,
    pub(super) actor: Actor,
    pub(super) now: Moment,
}

impl Operation for ChangeKey {
    type Answer = Result<(), OperatorError>;

    fn subject(&self) -> Option<&str> {
        Some(&self.id)
    }

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Self::Answer, store::Error> {
        let Self { of, id, change, actor, now } = self;
        let (find, set) = match of {
            Of::Appliance => (
                "SELECT revoked_at, ending FROM appliances WHERE appliance_id = $1",
                "UPDATE appliances SET revoked_at = $2, ending = $3 WHERE appliance_id = $1",
            ),
            Of::Node => (
                "SELECT deactivated_at, ending FROM nodes WHERE node_id = $1",
                "UPDATE nodes SET deactivated_at = $2, ending = $3 WHERE node_id = $1",
            ),
        };
        let Some(row) = connection.row(find, values![id]).await? else { return Ok(Err(OperatorError::unknown(*of))) };
        let before = Ending::read(row.column(0)?, row.column(1)?);
        let after = match change.apply(before) {
            Ok(after) => after,
            Err(error) => return Ok(Err(error)),
        };
        if after != before {
            let (ended_at, number) = (after.map(|_| now.0), after.map_or(0, Ending::number));
            connection.execute(set, values![id, ended_at, number]).await?;
            record(connection, (*of, id), change.event(), None, *now).await?;
            audit::record(connection, actor, change.action(*of), id, None, *now).await?;
        }
        Ok(Ok(()))
    }
}
