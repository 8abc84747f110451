//! The ends of devices' keys, and what undoes them.

use super::OperatorError;
use super::operations::is_in_scope;
use crate::base::clock::Moment;
use crate::domain::audit::{self, Action, Actor};
use crate::domain::ending::Ending;
use crate::domain::history::{Of, record};
use crate::domain::permissions::Scope;
use crate::store::{self, Connection, Operation, values};

/// What an operator does with the key of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyChange {
    /// It is refused until it is activated again.
    Deactivate,
    /// Ends its deactivation.
    Activate,
    /// It is refused, and the appliance released from its site: it learns that, and may be claimed again.
    HandOver,
    /// Undoes that, unless the appliance has been claimed again.
    TakeBack,
    /// It is refused for good.
    Revoke,
}

impl KeyChange {
    /// Whether it can be done with the key of such a device. Nodes have no sites.
    pub(crate) const fn is_for(self, of: Of) -> bool {
        matches!(of, Of::Appliance) || !matches!(self, Self::HandOver | Self::TakeBack)
    }

    /// How a key that has ended like this has ended after the change; none for a valid key.
    const fn apply(self, ending: Option<Ending>) -> Result<Option<Ending>, OperatorError> {
        match (self, ending) {
            (Self::Revoke, _) => Ok(Some(Ending::Revoked)),
            (_, Some(Ending::Revoked)) => Err(OperatorError::KeyRevoked),
            (Self::HandOver, _) => Ok(Some(Ending::Released)),
            (Self::TakeBack, Some(Ending::Released)) => Ok(None),
            (Self::TakeBack, _) => Err(OperatorError::NotHandedOver),
            (_, Some(Ending::Released)) => Err(OperatorError::HandedOver),
            (Self::Deactivate, _) => Ok(Some(Ending::Deactivated)),
            (Self::Activate, _) => Ok(None),
        }
    }

    /// What the history of the device calls it.
    const fn event(self) -> &'static str {
        match self {
            Self::Deactivate => "deactivated",
            Self::Activate => "activated",
            Self::HandOver => "released",
            Self::TakeBack => "taken back",
            Self::Revoke => "revoked",
        }
    }

    const fn action(self, of: Of) -> Action {
        match (self, of) {
            (Self::Deactivate, Of::Appliance) => Action::DeactivateAppliance,
            (Self::Deactivate, Of::Node) => Action::DeactivateNode,
            (Self::Activate, Of::Appliance) => Action::ActivateAppliance,
            (Self::Activate, Of::Node) => Action::ActivateNode,
            (Self::HandOver, _) => Action::HandOver,
            (Self::TakeBack, _) => Action::TakeBack,
            (Self::Revoke, Of::Appliance) => Action::RevokeAppliance,
            (Self::Revoke, Of::Node) => Action::RevokeNode,
        }
    }
}

pub(super) struct ChangeKey {
    pub(super) of: Of,
    pub(super) id: String,
    pub(super) change: KeyChange,
    pub(super) scope: Scope,
    pub(super) actor: Actor,
    pub(super) now: Moment,
}

impl Operation for ChangeKey {
    type Answer = Result<(), OperatorError>;

    fn subject(&self) -> Option<&str> {
        Some(&self.id)
    }

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Self::Answer, store::Error> {
        let Self { of, id, change, scope, actor, now } = self;
        if !is_in_scope(connection, (*of, id), scope).await? {
            return Ok(Err(OperatorError::unknown(*of)));
        }
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
        if *change == KeyChange::TakeBack && is_claimed_again(id, connection).await? {
            return Ok(Err(OperatorError::NotHandedOver));
        }
        if after != before {
            let (ended_at, number) = (after.map(|_| now.0), after.map_or(0, Ending::number));
            connection.execute(set, values![id, ended_at, number]).await?;
            record(connection, (*of, id), change.event(), None, *now).await?;
            audit::record(connection, actor, change.action(*of), id, None, *now).await?;
        }
        Ok(Ok(()))
    }
}

/// Whether the device of a released appliance has claimed a code of another site later. A claim at its own site ends the release.
/// Only times of claims are compared, which servers have noted; the operator's machine may have another time.
async fn is_claimed_again(appliance_id: &str, connection: &mut Connection<'_>) -> Result<bool, store::Error> {
    let claimed = "
        SELECT 1 FROM appliances released JOIN appliances other ON other.mac_address = released.mac_address
         WHERE released.appliance_id = $1 AND other.appliance_id <> $1 AND other.claimed_at >= released.claimed_at LIMIT 1";
    Ok(connection.row(claimed, values![appliance_id]).await?.is_some())
}
