//! What the phone app sets for a household.

use crate::store::{Connection, Error, Operation, values};

/// The settings of a household.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SmartHome {
    pub(crate) device_manager: String,
    pub(crate) primary_node_id: String,
    pub(crate) use_external_devices: bool,
}

impl Default for SmartHome {
    fn default() -> Self {
        Self { device_manager: "jarvis_direct".into(), primary_node_id: String::new(), use_external_devices: false }
    }
}

/// Changes to the settings; absent fields leave the stored ones unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) device_manager: Option<String>,
    pub(crate) primary_node_id: Option<String>,
    pub(crate) use_external_devices: Option<bool>,
}

/// Reads the settings of a household.
pub(crate) struct ReadSmartHome {
    pub(crate) household_id: String,
}

impl Operation for ReadSmartHome {
    type Answer = SmartHome;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<SmartHome, Error> {
        let look = "SELECT device_manager, primary_node_id, use_external_devices FROM smart_homes WHERE household_id = $1";
        let Some(row) = connection.row(look, values![&self.household_id]).await? else { return Ok(SmartHome::default()) };
        Ok(SmartHome {
            device_manager: row.column(0)?,
            primary_node_id: row.column(1)?,
            use_external_devices: row.column::<i64>(2)? != 0,
        })
    }
}

/// Changes the settings of a household.
pub(crate) struct ChangeSmartHome {
    pub(crate) household_id: String,
    pub(crate) changes: Changes,
}

impl Operation for ChangeSmartHome {
    type Answer = SmartHome;

    fn subject(&self) -> Option<&str> {
        Some(&self.household_id)
    }

    async fn run(&self, connection: &mut Connection<'_>) -> Result<SmartHome, Error> {
        let stored = ReadSmartHome { household_id: self.household_id.clone() }.run(connection).await?;
        let Changes { device_manager, primary_node_id, use_external_devices } = self.changes.clone();
        let changed = SmartHome {
            device_manager: device_manager.unwrap_or(stored.device_manager),
            primary_node_id: primary_node_id.unwrap_or(stored.primary_node_id),
            use_external_devices: use_external_devices.unwrap_or(stored.use_external_devices),
        };
        let write = "
            INSERT INTO smart_homes (household_id, device_manager, primary_node_id, use_external_devices)
            VALUES ($1, $2, $3, $4)
            ON CONFLICT (household_id) DO UPDATE SET
                device_manager = excluded.device_manager, primary_node_id = excluded.primary_node_id,
                use_external_devices = excluded.use_external_devices";
        let SmartHome { device_manager, primary_node_id, use_external_devices } = &changed;
        let values = values![&self.household_id, device_manager, primary_node_id, i64::from(*use_external_devices)];
        connection.execute(write, values).await?;
        Ok(changed)
    }
}
