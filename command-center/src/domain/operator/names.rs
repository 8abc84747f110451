//! The display names that operators give to devices. Devices do not learn them.

use super::operations::is_in_scope;
use crate::base::clock::Moment;
use crate::domain::audit::{self, Action, Actor};
use crate::domain::history::Of;
use crate::domain::permissions::Scope;
use crate::store::{self, Connection, Operation, values};

pub(super) struct Rename {
    pub(super) of: Of,
    pub(super) id: String,
    /// None removes the name.
    pub(super) name: Option<String>,
    pub(super) scope: Scope,
    pub(super) actor: Actor,
    pub(super) now: Moment,
}

impl Operation for Rename {
    /// Whether there is such a device in the scope.
    type Answer = bool;

    /// So that the audit names what was renamed, and not what another operator has renamed meanwhile.
    fn subject(&self) -> Option<&str> {
        Some(&self.id)
    }

    async fn run(&self, connection: &mut Connection<'_>) -> Result<bool, store::Error> {
        if !is_in_scope(connection, (self.of, &self.id), &self.scope).await? {
            return Ok(false);
        }
        let (find, rename, action) = match self.of {
            Of::Appliance => (
                "SELECT display_name FROM appliances WHERE appliance_id = $1",
                "UPDATE appliances SET display_name = $2 WHERE appliance_id = $1",
                Action::RenameAppliance,
            ),
            Of::Node => (
                "SELECT display_name FROM nodes WHERE node_id = $1",
                "UPDATE nodes SET display_name = $2 WHERE node_id = $1",
                Action::RenameNode,
            ),
        };
        let Some(row) = connection.row(find, values![&self.id]).await? else { return Ok(false) };
        let old = row.column::<Option<String>>(0)?;
        if old != self.name {
            connection.execute(rename, values![&self.id, &self.name]).await?;
            let detail = format!("from {} to {}", quoted(old.as_deref()), quoted(self.name.as_deref()));
            audit::record(connection, &self.actor, action, &self.id, Some(detail), self.now).await?;
        }
        Ok(true)
    }
}

/// A name in a sentence.
pub(crate) fn quoted(name: Option<&str>) -> String {
    name.map_or_else(|| "no name".to_owned(), |name| format!("“{name}”"))
}
