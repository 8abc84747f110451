//! What has happened to devices, bounded in age and size.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use super::retention::{Retention, delete_oldest};
use crate::base::clock::Moment;
use crate::store::{Connection, Error, values};

/// Events of all devices are kept for 400 days, and about two gigabytes of them with their index.
pub(crate) static RETENTION: Retention =
    Retention { delete: delete_oldest!("device_events"), kept: Duration::from_hours(400 * 24), most: 10_000_000 };

/// How many events of one device are kept.
const PER_DEVICE: i64 = 100;

/// A kind of device; the database tells their events apart by its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    Appliance,
    Node,
}

impl Of {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Appliance => "appliance",
            Self::Node => "node",
        }
    }
}

/// Something that has happened to a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Event {
    /// When.
    pub at: String,
    /// What: `claimed`, `registered`, `status`, `version`, `reset`, `deactivated`, `activated`,
    /// `released`, `taken back` or `revoked`.
    pub event: String,
    /// The site, the status and its message, or the version.
    pub detail: Option<String>,
}

/// Records an event, in the transaction of what it is about.
pub(crate) async fn record(
    connection: &mut Connection<'_>,
    (of, device_id): (Of, &str),
    event: &str,
    detail: Option<&str>,
    now: Moment,
) -> Result<(), Error> {
    let insert = "INSERT INTO device_events (kind, device_id, at, event, detail) VALUES ($1, $2, $3, $4, $5)";
    let detail = detail.map(str::to_owned);
    connection.execute(insert, values![of.word(), device_id, now, event, &detail]).await?;
    trim(connection, of, device_id).await
}

/// Deletes the oldest events of a device that has too many: one that reports something else all the time must not displace the
/// history of others.
pub(crate) async fn trim(connection: &mut Connection<'_>, of: Of, device_id: &str) -> Result<(), Error> {
    let oldest = "
        DELETE FROM device_events
         WHERE kind = $1 AND device_id = $2
           AND number <= (SELECT number FROM device_events WHERE kind = $1 AND device_id = $2
                           ORDER BY number DESC LIMIT 1 OFFSET $3)";
    connection.execute(oldest, values![of.word(), device_id, PER_DEVICE]).await?;
    Ok(())
}

/// Reads the events of a device, the newest first.
pub(crate) async fn read(connection: &mut Connection<'_>, of: Of, device_id: &str) -> Result<Vec<Event>, Error> {
    let list = "SELECT at, event, detail FROM device_events WHERE kind = $1 AND device_id = $2 ORDER BY number DESC LIMIT $3";
    let rows = connection.rows(list, values![of.word(), device_id, PER_DEVICE]).await?;
    let event =
        |row: &crate::store::Row| Ok(Event { at: Moment(row.column(0)?).zoned(), event: row.column(1)?, detail: row.column(2)? });
    rows.iter().map(event).collect()
}
